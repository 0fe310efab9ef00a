"""An oracle among failure detectors: it knows where the port is, which only a simulator does.

What a detector of failures could be worth at best: `agps reproduce examples/triggers-oracle.toml` trains with it. Run
alone, it watches two rollouts: the scripted expert's, and one that aims 4 mm beside the port.
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
from rl.tasks import get_task
from rl.types import FloatArray, Observation


@dataclass(frozen=True, kw_only=True)
class OracleConfig:
    """When a rollout makes no progress."""

    steps: Annotated[int, Ge(1)] = 8
    """Control steps in which the plug must come nearer to where it is inserted..."""
    progress_m: Positive = 0.001
    """...by this much, [m]."""


class Oracle(FailureDetector):
    """Asks for help where the plug comes no nearer to its place in the port of USB insertion, which does not move."""

    name: ClassVar[str] = "oracle"
    config_class: ClassVar[type[OracleConfig]] = OracleConfig

    def __init__(self, horizon: int, config: OracleConfig) -> None:
        """Watch rollouts of at most `horizon` control steps."""
        task = get_task("usb_insertion")
        self.config = config
        self._p_tcp_tool = task.p_tcp_tool
        self._goal = np.array(task.port_position) - [0.0, 0.0, task.success_depth_m]
        """Of the plug's tip, base frame. Shape (3,), [m]."""
        self._least_m: list[float] = []
        """Least distance so far, at each control step, [m]."""

    def reset(self) -> None:
        """Begin a new rollout."""
        self._least_m = []

    def rearm(self) -> None:
        """Count anew after help."""
        self._least_m = self._least_m[-1:]

    def update(self, observation: Observation, embedding: FloatArray) -> Reading:
        """Compare how near the plug has come with how near it had come some steps ago."""
        T = observation.robot.T_base_tcp
        tip = T[:3, 3] + T[:3, :3] @ self._p_tcp_tool
        distance_m = float(np.linalg.norm(tip - self._goal))
        self._least_m.append(min([distance_m, *self._least_m[-1:]]))
        earlier = self._least_m[-1 - self.config.steps] if len(self._least_m) > self.config.steps else np.inf
        fires = earlier - self._least_m[-1] < self.config.progress_m
        reason = f"the plug is {distance_m * 1e3:.0f} mm from its place, and comes no nearer" if fires else ""
        return Reading(name=self.name, triggered=fires, score=float(fires), reason=reason)


def main() -> None:
    """Watch a good rollout and a bad one."""
    env = make_env("usb_insertion")
    good = env.expert()
    bad = mistaken(good, env.task.landmarks, angle_rad=0.0, distance_m=0.004)
    for title, expert in (("the expert", good), ("4 mm beside the port", bad)):
        detector = Oracle(env.task.horizon, OracleConfig())
        moments = run_episode(env, lambda now, expert=expert: expert(now.observation, env.truth()), seed=0)
        readings = [detector.update(moment.observation, np.zeros(1)) for moment in moments]
        first = next((f"asks at step {n}: {r.reason}" for n, r in enumerate(readings) if r.triggered), "never asks")
        print(f"{title}: {first}")
    env.close()


if __name__ == "__main__":
    main()
