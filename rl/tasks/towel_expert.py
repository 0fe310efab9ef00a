"""The scripted expert of towel folding."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rl.tasks.base import TOOL_DOWN
from rl.tasks.towel_folding import TowelFolding
from rl.transforms import pose, pose_difference
from rl.types import FloatArray, Observation


class TowelExpert:
    """Goes down onto the corner, closes, carries it over on an arc, opens, goes up; picks up what it lost.

    Never stands still but to close the fingers: of a teacher that waits, a policy learns to wait.
    """

    grasp_xy_m = 0.008
    """Distance of the TCP from the corner in x and y below which the fingers close, [m]..."""
    grasp_z_m = 0.016
    """...and its height above the corner, [m]: it goes on down while they close."""
    closed = 0.15
    """Opening below which the fingers have closed: a real hand takes 0.8 s to get there."""
    arc_m = 0.12
    """Largest height of the corner above the board on its way, [m]: low, the towel is dragged along."""
    arc_slope = 1.2
    """Height over the distance that is left: the way down."""
    release_xy_m = 0.025
    """Distance of the corner from the opposite one in x and y below which the fingers open, [m]..."""
    release_z_m = 0.035
    """...and its height above the board, [m]."""

    def __init__(self, task: TowelFolding) -> None:
        self._task = task

    def __call__(self, observation: Observation, truth: Mapping[str, FloatArray]) -> npt.NDArray[np.float32]:
        """Return the next action, shape (7,), in [-1, 1]."""
        robot = observation.robot
        tcp, corner, goal = robot.T_base_tcp[:3, 3], truth["corner_grasp"], truth["corner_goal"]
        lies = float(np.linalg.norm(corner - goal)) < self._task.success_distance_m
        if robot.gripper_opening > 0.5 and not lies:
            position, opening = self._approach(tcp, corner)
        elif robot.gripper_opening <= 0.5 and float(np.linalg.norm(corner - tcp)) < 0.03:
            position, opening = self._carry(tcp, corner, goal)
            if robot.gripper_opening > self.closed:
                position = observation.T_base_ref[:3, 3]
        else:  # done, or something else is held
            position, opening = tcp + [0.0, 0.0, 0.05], 1.0
        scale = self._task.action_scale
        action = pose_difference(observation.T_base_ref, pose(position, TOOL_DOWN)) / scale
        action[:2] /= max(1.0, float(np.max(np.abs(action[:2]))))  # straight on, not along the axis that is nearer
        return np.append(np.clip(action, -1.0, 1.0), opening).astype(np.float32)

    def _approach(self, tcp: FloatArray, corner: FloatArray) -> tuple[FloatArray, float]:
        """Return where to go with open fingers, and the gripper command."""
        off = float(np.linalg.norm(corner[:2] - tcp[:2]))
        above = min(0.06, 3.0 * max(0.0, off - 0.015))
        on_it = off < self.grasp_xy_m and tcp[2] - corner[2] < self.grasp_z_m
        lowest = self._task.workspace.lower[2]
        return np.append(corner[:2], max(corner[2] + above, lowest)), -1.0 if on_it else 1.0

    def _carry(self, tcp: FloatArray, corner: FloatArray, goal: FloatArray) -> tuple[FloatArray, float]:
        """Return where to go with the corner, and the gripper command."""
        away = goal[:2] - corner[:2]
        distance = float(np.linalg.norm(away))
        height = corner[2] - goal[2]
        drop = distance < self.release_xy_m and height < self.release_z_m
        arc = min(self.arc_m, self.arc_slope * distance)
        return np.append(tcp[:2] + away, tcp[2] + arc + 0.005 - height), 1.0 if drop else -1.0
