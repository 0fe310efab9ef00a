"""The scripted expert of USB insertion."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.tasks.base import TOOL_DOWN
from rl.tasks.usb_insertion import UsbInsertion
from rl.transforms import pose, pose_difference, rotvec_to_matrix
from rl.types import FloatArray, Observation


class UsbExpert:
    """Goes above the port, aligns, goes in, pushes home.

    Its target always lies on the reference's straight way to: above the port while the tip is off its axis, else down
    the axis, briskly: of a teacher that waits to be aligned, a policy learns to wait.
    """

    hover_m = 0.004
    """Height of the tip above the rim where it aligns, [m]."""
    push_m = 0.010
    """Longest vertical step inside, [m]."""

    def __init__(self, task: UsbInsertion) -> None:
        self._task = task
        self.gate_m = task.clearance_m + task.lead_in_m
        """Off-axis distance of the tip below which it goes in, [m]: what the rim forgives."""
        self.slow_m = min(task.rim_step_m, 10.0 * self.gate_m)
        """Longest vertical step near the rim, [m]: 8 mm with the default rim, 3 mm without a lead-in."""

    def __call__(self, observation: Observation, truth: Mapping[str, FloatArray]) -> npt.NDArray[np.float32]:
        """Return the next action, shape (6,), in [-1, 1]."""
        scale = self._task.action_scale
        across = truth["port_right"] - truth["port_left"]
        turn = rotvec_to_matrix(np.array([0.0, 0.0, np.arctan2(-across[0], across[1])]))
        offset = truth["plug_tip"] - truth["port"]
        off_axis = float(np.linalg.norm(offset[:2]))
        height = float(offset[2])

        contact = truth["port"] + [0.0, 0.0, self._task.p_tcp_tool[2]]
        inside = height < -0.001
        low = height < self.hover_m + 0.001
        if inside or (low and off_axis < self.gate_m):
            goal_z = -self._task.success_depth_m - 0.002
        elif low and height > 0.0005:
            goal_z = height  # wait here: going back up would drag the tip off the axis again
        else:
            goal_z = self.hover_m
        target = pose(contact + [0.0, 0.0, goal_z], turn @ TOOL_DOWN)

        delta: npt.NDArray[Any] = pose_difference(observation.T_base_ref, target)
        lateral = np.linalg.norm(delta[:2])
        delta[:2] *= min(1.0, scale[0] / max(float(lateral), 1e-9))
        if inside:
            delta[2] = np.clip(delta[2], -self.push_m, self.push_m)
        elif height < self.hover_m + 0.010:
            delta[2] = np.clip(delta[2], -self.slow_m if low else -2 * self.slow_m, scale[2])
        return np.clip(delta / scale, -1.0, 1.0).astype(np.float32)
