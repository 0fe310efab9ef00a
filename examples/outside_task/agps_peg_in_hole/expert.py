"""The scripted expert of peg in hole: it knows where the hole is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rl.tasks.base import TOOL_DOWN
from rl.transforms import pose, pose_difference
from rl.types import FloatArray, Observation

if TYPE_CHECKING:
    from agps_peg_in_hole.task import PegInHole


class PegExpert:
    """Goes above the hole, aligns, goes in, pushes home.

    Its target always lies ahead: of a teacher that waits, a policy learns to wait.
    """

    hover_m = 0.004
    """Height of the tip above the rim where it aligns, [m]."""
    push_m = 0.010
    """Longest vertical step inside, [m]."""

    def __init__(self, task: "PegInHole") -> None:
        self._task = task
        self.gate_m = task.clearance_m + task.lead_in_m
        """Distance of the tip from the axis below which it goes in, [m]: what the rim forgives."""
        self.slow_m = min(0.008, 8.0 * self.gate_m)
        """Longest vertical step near the rim, [m]."""

    def __call__(self, observation: Observation, truth: Mapping[str, FloatArray]) -> npt.NDArray[np.float32]:
        """Return the next action, shape (6,), in [-1, 1]."""
        scale = self._task.action_scale
        offset = truth["peg_tip"] - truth["hole"]
        off_axis, height = float(np.linalg.norm(offset[:2])), float(offset[2])
        inside, low = height < -0.001, height < self.hover_m + 0.001
        if inside or (low and off_axis < self.gate_m):
            goal_z = -self._task.success_depth_m - 0.002
        elif low and height > 0.0005:
            goal_z = height  # wait here: going back up would drag the tip off the axis again
        else:
            goal_z = self.hover_m
        contact = truth["hole"] + [0.0, 0.0, self._task.p_tcp_tool[2]]
        delta = pose_difference(observation.T_base_ref, pose(contact + [0.0, 0.0, goal_z], TOOL_DOWN))
        delta[:2] *= min(1.0, scale[0] / max(float(np.linalg.norm(delta[:2])), 1e-9))  # straight, not along one axis
        if inside:
            delta[2] = np.clip(delta[2], -self.push_m, self.push_m)
        elif height < self.hover_m + 0.010:
            delta[2] = np.clip(delta[2], -self.slow_m if low else -2 * self.slow_m, scale[2])
        return np.clip(delta / scale, -1.0, 1.0).astype(np.float32)
