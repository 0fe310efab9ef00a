"""A reward from what the arm measures: the peg is as deep as it should be, and nothing pushes it aside."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from agps_peg_in_hole.task import PegInHole
from rl.bounds import NotNegative, Positive, check_bounds
from rl.errors import ConfigError
from rl.rewards import Reward, Setting, Verdict, View


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """When the peg counts as inserted."""

    slack_m: NotNegative = 0.0
    """How much less deep than the task's success it may be, [m]: for an arm that measures its height badly."""
    lateral_N: Positive = 20.0
    """Largest force to the side, [N]: a peg that is wedged askew is not in."""
    steps: Annotated[int, Ge(1)] = 1
    """Control steps in a row at which both must hold."""

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        check_bounds(self)


class DepthReward(Reward):
    """Success from the height of the TCP and the force to the side: needs neither truth nor cameras.

    Only inside the hole the tip gets below the rim: the block around it is wider than the start region. Its note is
    `depth_m`, of the tip below the rim.
    """

    config_class: ClassVar[type[DepthConfig]] = DepthConfig

    def __init__(self, setting: Setting, config: DepthConfig) -> None:
        """Judge peg in hole.

        Raises:
            ConfigError: If it is another task.
        """
        task = setting.task
        if not isinstance(task, PegInHole):
            raise ConfigError(f"The reward of depth knows peg_in_hole, not {task.name}; choose another --reward.")
        self.config = config
        self._rim_m = float(task.hole_position[2] + task.p_tcp_tool[2])
        """Height of the TCP with the tip at the rim, base frame, [m]."""
        self._wanted_m = task.success_depth_m - config.slack_m
        self._held = 0

    def reset(self, view: View) -> None:
        """Begin an episode."""
        self._held = 0

    def judge(self, view: View) -> Verdict:
        """Compare depth and force with their limits."""
        robot = view.observation.robot
        depth_m = self._rim_m - float(robot.T_base_tcp[2, 3])
        free = float(np.linalg.norm(robot.wrench[:2])) <= self.config.lateral_N
        self._held = self._held + 1 if free and depth_m >= self._wanted_m else 0
        return Verdict(success=self._held >= self.config.steps, notes={"depth_m": depth_m})
