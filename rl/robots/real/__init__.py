"""A task on the arm of a station, whatever the arm is: resets, watchdog, straight lines, and what the arm lacks."""
