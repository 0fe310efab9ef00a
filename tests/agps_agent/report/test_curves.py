import pytest

from agps_agent.report.curves import (
    REWARD_ERRORS,
    episodes_of,
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


def test_unfinished_ten_is_that_of_the_newest_ten() -> None:
    triggered = [True] * 10 + [False] * 4 + [True]
    assert per_ten_rollouts([{"triggered": one} for one in triggered], "triggered") == [10.0, 6.0]


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


def test_first_rate_is_that_of_the_first_window_that_says_something() -> None:
    """With a window of 8 the first two episodes are left out: the curve begins with 2 of 3."""
    rows = [episode(success, env_steps=10 * n) for n, success in enumerate((True, False, True, True))]
    curve = training_curve(rows, window=8)
    assert curve.env_steps == [20, 30] and curve.success == pytest.approx([2 / 3, 3 / 4])


def test_window_slides_over_the_unaided_episodes_only() -> None:
    rows = [episode(True), episode(False, guided_steps=9), episode(True), episode(False), episode(False)]
    assert training_curve(rows, window=2).success == pytest.approx([1.0, 1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("row", "unaided"),
    [
        ({}, True),
        ({"guided_steps": 0, "pruned_steps": 0, "boxed": False}, True),
        ({"guided_steps": None}, True),
        ({"guided_steps": 1}, False),
        ({"pruned_steps": 1}, False),
        ({"boxed": True}, False),  # the box was there, whether or not it changed an action
        ({"intervention_ids": ["0001"]}, True),  # asked, but nothing acted
    ],
)
def test_episode_is_aided_by_what_acted(row: dict[str, object], unaided: bool) -> None:
    assert is_unaided(row) is unaided


@pytest.mark.parametrize(
    ("counts", "bins"),
    [
        ([], []),
        ([1] * 10, [10.0]),
        ([0] * 10 + [1, 0], [0.0, 1.0]),  # one of the newest ten
        ([2] * 3, [20.0]),
        ([None, 1], [5.0]),
    ],
)
def test_counts_are_of_ten_rollouts(counts: list[int | None], bins: list[float]) -> None:
    assert per_ten_rollouts([{"triggered": count} for count in counts], "triggered") == bins


def test_line_without_a_number_is_no_episode_and_an_old_one_has_no_kind() -> None:
    rows = [{"kind": "pretrain"}, {"episode": 0}, {"kind": "episode", "episode": 1}, {"kind": "episode"}]
    assert [row["episode"] for row in episodes_of(rows)] == [0, 1]


@pytest.mark.parametrize(
    ("success", "true_success", "was_true", "wrong"),
    [
        (True, True, True, []),
        (False, False, False, []),
        (True, False, False, ["rewarded, not true"]),
        (False, False, True, ["true, not rewarded"]),
        (True, False, True, ["rewarded, not true"]),  # it was true at another step
    ],
)
def test_learned_reward_is_wrong_in_two_ways(success: bool, true_success: bool, was_true: bool, wrong: list) -> None:
    row = {"success": success, "true_success": true_success, "was_true": was_true}
    assert [name for name, is_wrong in REWARD_ERRORS.items() if is_wrong(row)] == wrong


def test_evaluation_has_the_interval_of_its_episodes() -> None:
    rows = [{"kind": "eval", "env_steps": 400, "success_rate": 0.9, "episodes": 20}]
    low, high = evaluation_curve(rows).intervals[0]
    assert (round(low, 3), round(high, 3)) == (0.699, 0.972)  # Wilson, 18 of 20
    assert evaluation_curve([{**rows[0], "episodes": None}]).intervals == []
