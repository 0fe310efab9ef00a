"""Cameras: RealSense, recordings, emulated and rendered ones, behind one driver."""

from rl.robots.base import CameraDriver, CameraFrame, CameraInfo
from rl.robots.cameras.opening import open_camera
from rl.robots.cameras.rig import CameraRig

__all__ = ["CameraDriver", "CameraFrame", "CameraInfo", "CameraRig", "open_camera"]
