import dataclasses

import numpy as np
import pytest

from agps_agent.detectors import StallConfig, StallRule
from rl.errors import ConfigError
from rl.types import Observation, RobotState


def observation(step: int, x_m: float) -> Observation:
    T_base_tcp = np.eye(4)
    T_base_tcp[0, 3] = x_m
    robot = RobotState(T_base_tcp=T_base_tcp, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)
    return Observation(images={}, state=np.zeros(0, np.float32), robot=robot, T_base_ref=T_base_tcp, step=step)


def triggers(rule: StallRule, xs_m: list[float]) -> list[tuple[int, str]]:
    return [(step, rule.reason) for step, x_m in enumerate(xs_m) if rule.update(observation(step, x_m))]


def test_arm_that_moves_on_is_left_alone_until_half_time() -> None:
    rule = StallRule(horizon=40, config=StallConfig(horizon_fraction=0.5))
    assert triggers(rule, [0.01 * step for step in range(40)]) == [(20, "half_time")]


def test_arm_that_stops_fires_after_the_window() -> None:
    xs_m = [0.01 * min(step, 4) for step in range(40)]
    assert triggers(StallRule(horizon=100), xs_m) == [(14, "no_progress")]


def test_jitter_on_the_spot_is_no_progress() -> None:
    xs_m = [0.004 * (-1) ** step for step in range(20)]
    assert triggers(StallRule(horizon=100), xs_m) == [(10, "no_progress")]


def test_one_query_per_rollout_and_a_new_one_after_reset() -> None:
    rule = StallRule(horizon=20)
    assert len(triggers(rule, [0.0] * 20)) == 1
    rule.reset()
    assert len(triggers(rule, [0.0] * 20)) == 1


def test_rearm_measures_motion_afresh_after_the_cooldown() -> None:
    rule = StallRule(horizon=1000, config=StallConfig(max_queries=2, window_steps=5, cooldown_steps=8))
    assert triggers(rule, [0.0] * 6) == [(5, "no_progress")]
    rule.rearm()
    assert triggers(rule, [0.0] * 20) == [(8, "no_progress")]


def test_half_time_can_be_switched_off() -> None:
    rule = StallRule(horizon=20, config=StallConfig(horizon_fraction=2.0))
    assert triggers(rule, [0.01 * step for step in range(20)]) == []


def test_empty_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="window_steps = 0"):
        dataclasses.replace(StallConfig(), window_steps=0)
