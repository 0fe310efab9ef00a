"""A failure detector of one's own: the hand presses against something for too long.

agps train usb_insertion --detectors examples/extend_detector.py:Pressing stall --detector-options.pressing.limit-N 8

Run alone, it watches two rollouts in simulation: the scripted expert's, and one that aims 4 mm beside the port.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from agps_agent.detectors import FailureDetector, Reading
from rl.bounds import Positive
from rl.demonstrations import mistaken
from rl.envs import make_env
from rl.rollout import run_episode
from rl.types import FloatArray, Observation


@dataclass(frozen=True, kw_only=True)
class PressingConfig:
    """Each field is an option of `agps train`, its docstring the help."""

    limit_N: Positive = 10.0
    """Force on the TCP above which the hand presses, [N]."""
    steps: Annotated[int, Ge(1)] = 3
    """Control steps in a row that it must press."""


class Pressing(FailureDetector):
    """Asks for help while the force has stayed above a limit."""

    name: ClassVar[str] = "pressing"
    config_class: ClassVar[type[PressingConfig]] = PressingConfig

    def __init__(self, horizon: int, config: PressingConfig) -> None:
        """Watch rollouts of at most `horizon` control steps."""
        self.config = config
        self._pressed = 0

    def reset(self) -> None:
        """Begin a new rollout."""
        self._pressed = 0

    def rearm(self) -> None:
        """Count anew after help."""
        self._pressed = 0

    def update(self, observation: Observation, embedding: FloatArray) -> Reading:
        """Compare the newest force with the limit."""
        force_N = float(np.linalg.norm(observation.robot.wrench[:3]))
        self._pressed = self._pressed + 1 if force_N > self.config.limit_N else 0
        fires = self._pressed >= self.config.steps
        reason = f"the hand presses with {force_N:.0f} N" if fires else ""
        return Reading(name=self.name, triggered=fires, index=force_N, threshold=self.config.limit_N, reason=reason)


def main() -> None:
    """Watch a good rollout and a bad one."""
    env = make_env("usb_insertion")
    good = env.expert()
    bad = mistaken(good, env.task.landmarks, angle_rad=0.0, distance_m=0.004)
    for title, expert in (("the expert", good), ("4 mm beside the port", bad)):
        detector = Pressing(env.task.horizon, PressingConfig())
        moments = run_episode(env, lambda now, expert=expert: expert(now.observation, env.truth()), seed=0)
        readings = [detector.update(moment.observation, np.zeros(1)) for moment in moments]
        first = next((f"asks at step {n}: {r.reason}" for n, r in enumerate(readings) if r.triggered), "never asks")
        print(f"{title}: {first}")
    env.close()


if __name__ == "__main__":
    main()
