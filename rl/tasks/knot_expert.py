"""The scripted expert of knot hanging."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rl.tasks.base import TOOL_DOWN
from rl.tasks.knot_hanging import KnotHanging, passage
from rl.transforms import pose, pose_difference, rotvec_to_matrix
from rl.types import FloatArray, Observation


class KnotExpert:
    """Goes in front of the tip, along the peg, and down.

    It looks at where the loop is, not at what it did before, so that it can take over anywhere: a loop that hangs
    beside, behind or across the hook is drawn out and up, past the tip, before it goes on again. Its target lies
    beyond where it will turn, so that it never waits: of a teacher that waits, a policy learns to wait.
    """

    ahead_m = 0.035
    """How far ahead of the loop its target is, along the hook, [m]: more than the arm lags."""
    front_m = 0.014
    """Distance of the loop before the tip, along the hook, where it must be aligned, [m]."""
    aligned_m = 0.009
    """Largest distance to the side, [m], and..."""
    height_m = 0.020
    """...in height between opening and tip, [m], with which the loop goes on."""
    caught_m = 0.012
    """A loop of which a part is this far behind the tip, but through which it does not pass, lies across it, [m]..."""
    lean_m = 0.015
    """...as does one near the tip whose knot hangs this far to the side of the pads, [m]: the hook holds it up."""
    seat = 0.40
    """Part of the peg's length, from its root, above which the pads come down..."""
    seat_height_m = 0.024
    """...to this height above it, [m]."""

    def __init__(self, task: KnotHanging) -> None:
        self._task = task

    def __call__(self, observation: Observation, truth: Mapping[str, FloatArray]) -> npt.NDArray[np.float32]:
        """Return the next action, shape (6,), in [-1, 1]."""
        base, tip = truth["hook_base"], truth["hook_tip"]
        out = (tip - base) * [1.0, 1.0, 0.0]
        out = out / np.linalg.norm(out)
        turn = rotvec_to_matrix(np.array([0.0, 0.0, np.arctan2(out[0], -out[1])]))
        pads = self._pads(observation.robot.T_base_tcp[:3, 3], truth, out)
        delta = pose_difference(observation.T_base_ref, pose(pads, turn @ TOOL_DOWN))
        return np.clip(delta / self._task.action_scale, -1.0, 1.0).astype(np.float32)

    def _pads(self, tcp: FloatArray, truth: Mapping[str, FloatArray], out: FloatArray) -> FloatArray:
        """Return where the pads shall go. Shape (3,), [m]."""
        base, tip, up = truth["hook_base"], truth["hook_tip"], np.array([0.0, 0.0, 1.0])
        loop = np.array([truth[name] for name in self._task.cord.points])
        if passage(loop, base, tip) is not None:
            return base + self.seat * (tip - base) + self.seat_height_m * up
        hang = self._task.p_tcp_tool[2] * up
        side = np.cross(up, out)
        before, beside, height = np.array([out, side, up]) @ (tcp - hang - tip)
        aligned = abs(beside) < self.aligned_m and abs(height) < self.height_m

        nearest = float(((loop - tip) @ out).min())
        leans = abs((truth["knot"] - tcp) @ side) > self.lean_m
        across = nearest < -self.caught_m or (nearest < self.caught_m and leans)
        if across or (before < 0.5 * self.front_m and not aligned):
            away: FloatArray = tcp + 0.03 * out + max(0.0, 0.01 - height) * up
            return away

        length, rise = (tip - base) @ out, (tip - base) @ up
        ahead = before - self.ahead_m if aligned else max(before - self.ahead_m, self.front_m)
        ahead = max(ahead, (self.seat - 1.0) * length)
        along: FloatArray = tip + hang + ahead * out + min(0.0, ahead / length) * rise * up
        return along
