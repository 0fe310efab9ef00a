"""A reward of one's own: the plug is in when the arm is low, still, and nothing pushes it aside.

agps train usb_insertion --reward examples/extend_reward.py:Seated --reward-options.still-steps 3

Run alone, it judges the scripted expert in simulation and compares with the truth. A real table has no truth: there
this reward works as it is, from what the arm measures.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from rl.bounds import Positive
from rl.envs import JudgedEnv, make_env
from rl.rewards import Reward, Setting, Verdict, View
from rl.rollout import last_of, run_episode


@dataclass(frozen=True, kw_only=True)
class SeatedConfig:
    """Each field is an option of `agps train`, its docstring the help."""

    depth_m: Positive = 0.010
    """How far below the rim the tip must be, [m]."""
    lateral_N: Positive = 15.0
    """Largest force to the side, [N]."""
    still_steps: Annotated[int, Ge(1)] = 2
    """Control steps in a row at which all of this must hold."""


class Seated(Reward):
    """Judges by height and force, with the plug's length and the port's height from the task."""

    config_class: ClassVar[type[SeatedConfig]] = SeatedConfig

    def __init__(self, setting: Setting, config: SeatedConfig) -> None:
        """Judge a task that has a port."""
        self.config = config
        rim_m = float(setting.task.port_position[2])  # type: ignore[attr-defined]  # this reward is for USB insertion
        self._height_m = rim_m + float(setting.task.p_tcp_tool[2]) - config.depth_m
        self._held = 0

    def reset(self, view: View) -> None:
        """Begin an episode."""
        self._held = 0

    def judge(self, view: View) -> Verdict:
        """Look at the newest control step."""
        robot = view.observation.robot
        low = robot.T_base_tcp[2, 3] <= self._height_m
        free = np.linalg.norm(robot.wrench[:2]) <= self.config.lateral_N
        self._held = self._held + 1 if low and free else 0
        return Verdict(success=self._held >= self.config.still_steps, notes={"seated_steps": float(self._held)})


def main() -> None:
    """Judge the expert's rollouts from five starts."""
    env = make_env("usb_insertion")
    reward = Seated(Setting(task=env.task, image_size=env.image_size), SeatedConfig())
    judged, expert = JudgedEnv(env, reward), env.expert()
    for seed in range(5):
        last = last_of(run_episode(judged, lambda now: expert(now.observation, env.truth()), seed=seed))
        print(f"start {seed}: {last.step} steps, rewarded {last.info['is_success']}, true {last.info['true_success']}")
    judged.close()


if __name__ == "__main__":
    main()
