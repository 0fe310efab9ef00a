"""Where the tool hides from the cameras what the agent has to see, the arm rises, and the agent looks again."""

import numpy as np

from agps_agent.state import Reason
from rl.types import Box, FloatArray, Guide, Waypoint
from tools.primitives import FREE_STEP_M

RISE_M = 0.04
"""How far it rises, [m]: a plug of 2 cm that stood before its port then shows it."""
LEAST_M = 0.01
"""What is less shows nothing new, [m]."""
MAX_STEPS = 10
"""Control steps after which the agent looks from where the arm is."""

HIDDEN: frozenset[Reason] = frozenset({"not_visible", "no_depth", "implausible_keypoints", "cameras_disagree"})
"""Reasons for no answer of which something in front of a keypoint can be the cause."""


def retreat(T_base_tcp: FloatArray, gripper_opening: float, workspace: Box) -> Guide | None:
    """Return the way straight up from where the arm is, as far as the workspace goes; None where it has no room.

    It ends with a stop: a camera on the hand is to see where things are, not where they were.

    Args:
        T_base_tcp: Where the TCP is. Shape (4, 4), [m].
        gripper_opening: 0 closed, 1 open: it stays so.
        workspace: Where the TCP may be, base frame, [m].
    """
    T = np.array(T_base_tcp)
    T[:3, 3] = workspace.project(T[:3, 3] + [0.0, 0.0, RISE_M])
    if T[2, 3] - T_base_tcp[2, 3] < LEAST_M:
        return None
    top = Waypoint(T_base_tcp=T, gripper_opening=gripper_opening, max_step_m=FREE_STEP_M)
    return Guide(waypoints=(top,), max_steps=MAX_STEPS)
