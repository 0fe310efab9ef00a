"""Where the tool hides from the cameras what the agent has to see, the arm rises, and the agent looks again."""

from dataclasses import replace

from agps_agent.state import Reason
from rl.types import Guide
from tools.primitives import lift
from tools.scene import Scene

RISE_M = 0.04
"""How far it rises, [m]: a plug of 2 cm that stands before its port then shows it."""
LEAST_M = 0.01
"""What is less shows nothing new; nearer than this it has risen, [m]."""
MAX_STEPS = 10
"""Control steps after which the agent looks from where the arm is."""

HIDDEN: frozenset[Reason] = frozenset({"not_visible", "no_depth", "implausible_keypoints", "cameras_disagree"})
"""Reasons for no answer of which something in front of a keypoint can be the cause."""


def retreat(scene: Scene) -> Guide | None:
    """Return the way straight up from where the arm is; None where the workspace has no room for it."""
    room_m = float(scene.workspace.upper[2] - scene.T_base_tcp[2, 3])
    if room_m < LEAST_M:
        return None
    (top,) = lift(scene, min(RISE_M, room_m))
    return Guide(waypoints=(replace(top, blend_m=LEAST_M),), max_steps=MAX_STEPS)
