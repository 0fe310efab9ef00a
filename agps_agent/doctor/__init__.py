"""What must be true before a run: this machine, and the robot station in front of it. Nothing here moves the arm."""
