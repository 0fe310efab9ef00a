"""Where the arm was a moment ago."""

from collections import deque

from rl.errors import HardwareFault
from rl.robots.clock import REAL_TIME, Clock
from rl.transforms import apply_delta, pose_difference
from rl.types import FloatArray


class PoseHistory:
    """The TCP's poses of the last seconds, for cameras that ride on the hand; one thread adds, any may ask."""

    def __init__(self, *, poses: int, clock: Clock = REAL_TIME) -> None:
        self._clock = clock
        self._poses: deque[tuple[float, FloatArray]] = deque(maxlen=poses)

    def add(self, time_s: float, T_base_tcp: FloatArray) -> None:
        """Remember where the TCP is at a time of the station's clock, later than the one before."""
        self._poses.append((time_s, T_base_tcp))

    def at(self, time_s: float) -> FloatArray:
        """Return T_base_tcp (4, 4), [m], at a time of the clock, interpolated; the newest one for what is later.

        Raises:
            HardwareFault: If the time is older than the history.
        """
        poses = list(self._poses)
        if not poses or time_s < poses[0][0]:
            age_s = self._clock.now() - time_s
            raise HardwareFault(f"Nobody remembers where the arm was {age_s:.2f} s ago; take a new image.")
        later, T_later = poses[-1]
        for earlier, T_earlier in reversed(poses[:-1]):
            if earlier <= time_s:
                part = min((time_s - earlier) / max(later - earlier, 1e-6), 1.0)
                return apply_delta(T_earlier, part * pose_difference(T_earlier, T_later))
            later, T_later = earlier, T_earlier
        return T_later.copy()
