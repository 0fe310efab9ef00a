"""A failure detector for contact: the peg is pressed against something, or wedged, and does not get anywhere."""

from collections import deque
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from agps_agent.detectors import FailureDetector, Reading
from rl.bounds import NotNegative, Positive, check_bounds
from rl.types import FloatArray, Observation


@dataclass(frozen=True, kw_only=True)
class ForceConfig:
    """When the force on the peg counts as a failure."""

    limit_N: Positive = 12.0
    """Force on the TCP above which the peg presses, [N]: going in rubs with less, a peg on the rim presses with 25."""
    steps: Annotated[int, Ge(1)] = 3
    """Control steps in a row that it must press, so that a knock on the way in does not count."""
    motion_m: NotNegative = 0.003
    """Motion of the TCP over those steps from which it is not stuck, [m]: a peg that slides home may press."""
    cooldown_steps: Annotated[int, Ge(0)] = 10
    """No trigger for this many control steps after help."""

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        check_bounds(self)


class ForceDetector(FailureDetector):
    """Fires while the force has stayed above a limit and the arm has hardly moved."""

    name: ClassVar[str] = "force"
    config_class: ClassVar[type[ForceConfig]] = ForceConfig

    def __init__(self, horizon: int, config: ForceConfig) -> None:
        """Watch rollouts of at most `horizon` control steps."""
        self.config = config
        self._pressed_at: deque[FloatArray] = deque(maxlen=config.steps)
        """Where the TCP was at the newest steps in a row at which it pressed, each (3,), [m]."""
        self._cooldown = 0

    def reset(self) -> None:
        """Begin a new rollout."""
        self._pressed_at.clear()
        self._cooldown = 0

    def rearm(self) -> None:
        """Count anew after help, and give it the time to work."""
        self._pressed_at.clear()
        self._cooldown = self.config.cooldown_steps

    def update(self, observation: Observation, embedding: FloatArray) -> Reading:
        """Compare force and motion with their limits."""
        config, robot = self.config, observation.robot
        force_N = float(np.linalg.norm(robot.wrench[:3]))
        if force_N > config.limit_N:
            self._pressed_at.append(np.array(robot.T_base_tcp[:3, 3]))
        else:
            self._pressed_at.clear()
        ready, self._cooldown = self._cooldown == 0, max(self._cooldown - 1, 0)
        fires = ready and len(self._pressed_at) == config.steps and self._moved_m() < config.motion_m
        reason = f"the peg is stuck and presses with {force_N:.0f} N" if fires else ""
        return Reading(name=self.name, triggered=fires, index=force_N, threshold=config.limit_N, reason=reason)

    def _moved_m(self) -> float:
        return float(np.linalg.norm(self._pressed_at[-1] - self._pressed_at[0]))
