import pytest

from agps_agent.report.curves import (
    evaluation_curve,
    evaluations_of,
    final_evaluations_of,
    is_unaided,
    per_ten_rollouts,
    steps_to,
    training_curve,
)


def episode(success: bool, *, guided_steps: int = 0, env_steps: int = 0) -> dict[str, object]:
    return {"episode": 0, "success": success, "guided_steps": guided_steps, "pruned_steps": 0, "env_steps": env_steps}


def test_helped_rollouts_do_not_count_as_success_of_the_policy() -> None:
    rows = [episode(True, guided_steps=5)] * 20 + [episode(False)] * 20
    assert set(training_curve(rows).success) == {0.0}


def test_rate_is_taken_over_the_last_twenty() -> None:
    rows = [episode(False)] * 20 + [episode(True)] * 10
    assert training_curve(rows).success[-1] == pytest.approx(0.5)


def test_first_lucky_rollout_is_no_rate() -> None:
    assert training_curve([episode(True)]).success == []


def test_rollout_that_a_box_changed_was_helped() -> None:
    assert not is_unaided({"guided_steps": 0, "pruned_steps": 3})


def test_unfinished_ten_is_scaled_up() -> None:
    assert per_ten_rollouts([{"triggered": True}] * 15, "triggered") == [10.0, 10.0]


def test_steps_to_a_level_are_those_of_the_first_evaluation_there() -> None:
    rows = [{"env_steps": 1000 * n, "success_rate": rate} for n, rate in enumerate((0.0, 0.85, 0.6, 1.0))]
    assert steps_to(rows, 0.8) == 1000 and steps_to(rows, 1.0) == 3000 and steps_to(rows[:1], 0.8) is None


def test_curve_has_the_three_axes() -> None:
    rows = [{"env_steps": 5, "wall_clock_s": 1.5, "robot_time_s": 0.5, "success_rate": 0.25}]
    curve = evaluation_curve(rows)
    assert (curve.along("env_steps"), curve.along("wall_clock_s"), curve.along("robot_time_s")) == ([5], [1.5], [0.5])


def test_curve_begins_with_stage_1_and_ends_before_the_final_evaluation() -> None:
    rows = [{"kind": kind, "env_steps": n} for n, kind in enumerate(("pretrain_eval", "episode", "eval", "final_eval"))]
    assert [row["env_steps"] for row in evaluations_of(rows)] == [0, 2]
    assert [row["env_steps"] for row in final_evaluations_of(rows)] == [3]
