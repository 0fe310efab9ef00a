"""Where the tool hides from the cameras what the agent has to see, the arm rises, and the agent looks again."""

import numpy as np

from agps_agent.state import Reason
from rl.types import Guide, Waypoint
from tools.primitives import FREE_STEP_M
from tools.scene import Scene

RISE_M = 0.04
"""How far it rises, [m]: a plug of 2 cm that stood before its port then shows it."""
LEAST_M = 0.01
"""What is less shows nothing new; nearer than this it has risen, [m]."""
MAX_STEPS = 10
"""Control steps after which the agent looks from where the arm is."""

HIDDEN: frozenset[Reason] = frozenset({"not_visible", "no_depth", "implausible_keypoints", "cameras_disagree"})
"""Reasons for no answer of which something in front of a keypoint can be the cause."""


def retreat(scene: Scene) -> Guide | None:
    """Return the way straight up from where the arm is, as far as the workspace goes; None where it has no room."""
    T = np.array(scene.T_base_tcp)
    T[:3, 3] = scene.workspace.project(T[:3, 3] + [0.0, 0.0, RISE_M])
    if T[2, 3] - scene.T_base_tcp[2, 3] < LEAST_M:
        return None
    top = Waypoint(T_base_tcp=T, gripper_opening=scene.gripper_opening, max_step_m=FREE_STEP_M, blend_m=LEAST_M)
    return Guide(waypoints=(top,), max_steps=MAX_STEPS)
