import dataclasses
from typing import Any

import numpy as np
import pytest

from agps_agent.detectors import StallConfig, StallRule
from rl.errors import ConfigError
from rl.types import FloatArray, Observation, RobotState


def observation(step: int, x_m: float) -> Observation:
    T_base_tcp = np.eye(4)
    T_base_tcp[0, 3] = x_m
    robot = RobotState(T_base_tcp=T_base_tcp, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)
    return Observation(images={}, state=np.zeros(0, np.float32), robot=robot, T_base_ref=T_base_tcp, step=step)


def triggers(rule: StallRule, xs_m: list[float]) -> list[tuple[int, str]]:
    readings = [rule.update(observation(step, x_m)) for step, x_m in enumerate(xs_m)]
    return [(step, reading.reason) for step, reading in enumerate(readings) if reading.triggered]


def test_arm_that_moves_on_is_left_alone_until_half_time() -> None:
    rule = StallRule(horizon=40, config=StallConfig(horizon_fraction=0.5))
    assert triggers(rule, [0.01 * step for step in range(40)])[0] == (20, "half_time")


def test_arm_that_stops_fires_after_the_window() -> None:
    xs_m = [0.01 * min(step, 4) for step in range(40)]
    assert triggers(StallRule(horizon=100), xs_m)[0] == (14, "no_progress")


def test_jitter_on_the_spot_is_no_progress() -> None:
    xs_m = [0.004 * (-1) ** step for step in range(20)]
    assert triggers(StallRule(horizon=100), xs_m)[0] == (10, "no_progress")


def test_it_fires_as_long_as_the_arm_stands_still() -> None:
    """Nothing is spent on a step at which nobody can be asked."""
    rule = StallRule(horizon=1000, config=StallConfig(window_steps=5))
    for _ in range(2):
        rule.reset()
        assert triggers(rule, [0.0] * 8) == [(step, "no_progress") for step in (5, 6, 7)]


def test_rearm_measures_motion_afresh_after_the_cooldown() -> None:
    rule = StallRule(horizon=1000, config=StallConfig(window_steps=5, cooldown_steps=8))
    assert triggers(rule, [0.0] * 6) == [(5, "no_progress")]
    rule.rearm()
    assert triggers(rule, [0.0] * 20)[0] == (8, "no_progress")


def test_half_time_is_over_once_somebody_was_asked_after_it() -> None:
    rule = StallRule(horizon=20, config=StallConfig(horizon_fraction=0.5, cooldown_steps=2))
    moving = [observation(step, 0.01 * step) for step in range(20)]
    assert [rule.update(at).triggered for at in moving[8:13]] == [False, False, True, True, True]
    rule.rearm()
    assert not any(rule.update(at).triggered for at in moving[13:])


def test_half_time_can_be_switched_off() -> None:
    rule = StallRule(horizon=20, config=StallConfig(horizon_fraction=2.0))
    assert triggers(rule, [0.01 * step for step in range(20)]) == []


def frames(*values: float) -> FloatArray:
    return np.array([[value, 0.0] for value in values])


def triggers_seen(rule: StallRule, steps: int) -> list[int]:
    """At which steps it fires where nothing moves or changes."""
    return [step for step in range(steps) if rule.update(observation(step, 0.0), frames(0.0)[0]).triggered]


def fitted(*references: FloatArray, horizon: int = 1000, **settings: Any) -> StallRule:
    rule = StallRule(horizon, config=StallConfig(min_references=2, **settings))
    assert rule.fit(references)
    return rule


def test_slow_good_rollouts_put_half_time_off() -> None:
    rule = fitted(frames(*range(12)), frames(*range(27)), horizon=40, horizon_fraction=0.5)
    assert triggers(rule, [0.01 * step for step in range(40)])[0] == (27, "half_time")


@pytest.mark.parametrize("references", [[12, 12], [27]])
def test_quick_good_rollouts_or_too_few_leave_half_time_where_it_was(references: list[int]) -> None:
    rule = fitted(*(frames(*range(steps)) for steps in references), horizon=40, horizon_fraction=0.5)
    assert triggers(rule, [0.01 * step for step in range(40)])[0] == (20, "half_time")


def test_rule_that_does_not_learn_stays_as_it_is() -> None:
    rule = fitted(*[frames(*range(27))] * 2, horizon=40, horizon_fraction=0.5, window_steps=5, learns=False)
    assert triggers(rule, [0.01 * step for step in range(40)])[0] == (20, "half_time")
    rule.reset()
    assert triggers(rule, [0.0] * 6) == [(5, "no_progress")]


def test_half_time_that_is_switched_off_stays_off() -> None:
    rule = fitted(*[frames(*range(12))] * 2, horizon=20, horizon_fraction=2.0)
    assert triggers(rule, [0.01 * step for step in range(20)]) == []


@pytest.mark.parametrize(("change", "stuck"), [(0.49, True), (0.5, False), (0.51, False)])
def test_good_rollouts_tell_how_little_may_change_while_the_arm_searches(change: float, stuck: bool) -> None:
    searching = frames(0.0, 3.0, 6.0, 6.25, 6.5, 6.75)  # over two steps: 0.5, where it searches
    rule = fitted(searching, searching, learned_window_steps=2)
    readings = [rule.update(observation(step, 0.0), frames(6.4 + 0.5 * step * change)[0]) for step in range(3)]
    assert [reading.triggered for reading in readings] == [False, False, stuck]


def test_on_the_way_the_same_change_is_a_stall() -> None:
    searching = frames(0.0, 3.0, 6.0, 6.25, 6.5, 6.75)
    rule = fitted(searching, searching, learned_window_steps=2)
    readings = [rule.update(observation(step, 0.0), frames(4.0 + 0.5 * step)[0]) for step in range(3)]
    assert [reading.triggered for reading in readings] == [False, False, True]


@pytest.mark.parametrize(("step_m", "stuck"), [(0.00099, True), (0.00101, False)])
def test_motion_is_in_proportion_to_the_shorter_window(step_m: float, stuck: bool) -> None:
    rule = fitted(*[frames(*range(9))] * 2, learned_window_steps=4)
    readings = [rule.update(observation(step, step_m * step), frames(0.0)[0]) for step in range(5)]
    assert [reading.triggered for reading in readings] == [False] * 4 + [stuck]


def test_window_that_is_shorter_anyway_stays() -> None:
    rule = fitted(*[frames(*range(9))] * 2, learned_window_steps=4, window_steps=2)
    assert triggers_seen(rule, 4) == [2, 3]


def test_arm_before_which_nothing_changes_is_stuck_although_that_was_so_in_a_good_rollout() -> None:
    rule = fitted(frames(0.0, 0.0, 0.0, 9.0), frames(0.0, 5.0, 9.0), window_steps=2)
    assert rule.update(observation(0, 0.0), frames(1.0)[0]).triggered is False
    assert [rule.update(observation(step, 0.0), frames(1.0)[0]).triggered for step in (1, 2)] == [False, True]


def test_arm_that_moves_is_not_stuck_whatever_the_cameras_see() -> None:
    rule = fitted(*[frames(0.0, 5.0, 9.0)] * 2, window_steps=2)
    readings = [rule.update(observation(step, 0.01 * step), frames(0.0)[0]) for step in range(6)]
    assert not any(reading.triggered for reading in readings)


def test_one_good_rollout_tells_nothing_of_what_changes() -> None:
    rule = StallRule(1000, config=StallConfig(min_references=1, window_steps=8))
    assert rule.fit([frames(*range(20))])
    assert triggers_seen(rule, 10) == [8, 9]


def test_good_rollouts_shorter_than_the_window_tell_nothing_of_what_changes() -> None:
    rule = fitted(*[frames(*range(5))] * 2, window_steps=5)
    assert triggers(rule, [0.0] * 7) == [(5, "no_progress"), (6, "no_progress")]


def test_empty_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="window_steps is 0"):
        dataclasses.replace(StallConfig(), window_steps=0)
