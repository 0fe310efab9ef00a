"""The Franka Research 3 through franky: arm, gripper, watchdog, resets and the backend over them."""
