"""Where each camera is: board, poses, solution, and the file that keeps it."""

from rl.calibration.board import CharucoBoard
from rl.calibration.file import CameraCalibration
from rl.calibration.solve import Solution, calibrate
from rl.calibration.views import CalibrationError, View, coverage

__all__ = ["CalibrationError", "CameraCalibration", "CharucoBoard", "Solution", "View", "calibrate", "coverage"]
