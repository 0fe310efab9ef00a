"""Where each camera is: board, poses, solution, and the file that keeps it."""

from rl.calibration.file import CameraCalibration

__all__ = ["CameraCalibration"]
