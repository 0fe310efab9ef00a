"""Where each camera is: board, poses, solution, and the file that keeps it."""

from rl.robots.calibration.board import CharucoBoard
from rl.robots.calibration.solve import Solution, calibrate
from rl.robots.calibration.views import CalibrationError, View, coverage
from rl.robots.cameras.calibration import CameraCalibration

__all__ = ["CalibrationError", "CameraCalibration", "CharucoBoard", "Solution", "View", "calibrate", "coverage"]
