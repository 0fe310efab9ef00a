"""An arm at rest at a place, and waypoints, as tests of guidance and teaching want them."""

import numpy as np

from rl.transforms import pose
from rl.types import Observation, RobotState, Waypoint

DOWN = np.diag([1.0, -1.0, -1.0])
SCALE = np.array([0.01, 0.01, 0.01, 0.06, 0.06, 0.06])
"""Translation [m] and rotation [rad] of a unit action."""


def at(x: float, y: float, z: float, *, force_z: float = 0.0, opening: float = 0.0) -> Observation:
    T = pose(np.array([x, y, z]), DOWN)
    robot = RobotState(
        T_base_tcp=T, twist=np.zeros(6), wrench=np.array([0, 0, force_z, 0, 0, 0.0]), gripper_opening=opening
    )
    return Observation(images={}, state=np.zeros(19, np.float32), robot=robot, T_base_ref=T, step=0)


def waypoint(x: float, y: float, z: float, *, opening: float = 0.0, **kwargs) -> Waypoint:
    return Waypoint(T_base_tcp=pose(np.array([x, y, z]), DOWN), gripper_opening=opening, **kwargs)
