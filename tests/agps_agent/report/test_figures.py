"""What is drawn: read back from the figures, whose texts and lines are SVG."""

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from agps_agent.report import figures
from agps_agent.report.curves import Curve

NOTHING = Curve([], [], [], [])


def curve(*points: tuple[float, float]) -> Curve:
    steps = [step for step, _ in points]
    return Curve(steps, [step / 60 for step in steps], [step / 10 for step in steps], [rate for _, rate in points])


def words(svg: str) -> list[str]:
    """The texts of a drawing: Matplotlib leaves each as a comment beside its outline."""
    ElementTree.fromstring(svg.encode())  # it is well-formed
    return re.findall(r"<!-- (.*?) -->", svg)


def rows(successes: list[bool], **more: Any) -> list[dict[str, Any]]:
    return [
        {"episode": n, "env_steps": 50 * (n + 1), "steps": 50, "success": success, **more}
        for n, success in enumerate(successes)
    ]


def test_drawing_of_the_same_run_is_the_same_text() -> None:
    drawn = [
        figures.success_over_steps(NOTHING, curve((1000, 0.0), (2000, 0.5)), NOTHING, rows([True])) for _ in range(2)
    ]
    assert drawn[0] == drawn[1]


def test_success_is_in_percent_over_environment_steps() -> None:
    told = words(figures.success_over_steps(NOTHING, curve((1000, 0.5)), NOTHING, []))
    assert {"0%", "25%", "50%", "75%", "100%", "environment steps", "success", "policy alone"} <= set(told)


@pytest.mark.parametrize(("final", "shown"), [(NOTHING, False), (curve((2000, 0.98)), True)])
def test_final_evaluation_is_named_where_there_was_one(final: Curve, shown: bool) -> None:
    told = words(figures.success_over_steps(NOTHING, curve((1000, 0.5)), final, []))
    assert ("final evaluation" in told) is shown


@pytest.mark.parametrize(("ids", "shown"), [([], False), (["0001"], True)])
def test_ticks_say_who_helped_and_only_where_somebody_did(ids: list[str], shown: bool) -> None:
    drawn = figures.success_over_steps(NOTHING, NOTHING, NOTHING, rows([True], intervention_ids=ids), helper="human")
    assert ("human helped" in words(drawn)) is shown


def test_help_after_the_last_evaluation_is_inside_the_axes() -> None:
    """10,000 steps have a tick on the axis although the curve ends at 1,000."""
    helped = [{"env_steps": 10_000, "intervention_ids": ["0001"]}]
    assert "10000" in words(figures.success_over_steps(NOTHING, curve((500, 0.1), (1000, 0.5)), NOTHING, helped))


def test_both_clocks_stand_side_by_side_with_one_scale() -> None:
    told = words(figures.success_over_clocks(NOTHING, curve((600, 0.5)), NOTHING))
    assert {"wall-clock [s]", "robot time [s]"} <= set(told)
    assert told.count("success") == 1 and told.count("50%") == 1


def test_return_is_drawn_for_rows_that_have_one() -> None:
    told = words(figures.return_over_steps([{"env_steps": 10, "return": -3.0}, {"env_steps": 20}], [], []))
    assert {"return", "training episode", "policy alone, mean"} <= set(told)


def bars(svg: str, color: str) -> list[float]:
    """Heights of the filled rectangles of a colour, in points."""
    heights = []
    for path in re.findall(rf'd="([^"]*)"[^>]*style="fill: {color}', svg):
        y = [float(pair.split()[1]) for pair in re.findall(r"[ML] ([-\d.]+ [-\d.]+)", path)]
        heights.append(max(y) - min(y))
    return heights


def test_bars_are_as_high_as_the_triggers_of_ten_rollouts() -> None:
    """Ten rollouts with eight triggers, then ten with four: the second bar is half as high."""
    episodes = [{"triggered": n < 8} for n in range(10)] + [{"triggered": n < 4} for n in range(10)]
    first, second, _legend = bars(figures.triggers_per_ten(episodes), "#f6d9bd")
    assert second / first == pytest.approx(0.5, abs=1e-3)


def test_help_is_counted_once_a_rollout_however_often_it_came() -> None:
    once = [{"triggered": True, "intervention_ids": ["1"]}] + [{"triggered": True}] * 9
    twice = [{"triggered": True, "intervention_ids": ["1", "2"]}] + [{"triggered": True}] * 9
    assert figures.triggers_per_ten(once) == figures.triggers_per_ten(twice)


def test_takeovers_name_the_hand_and_how_rollouts_ended() -> None:
    episodes = rows([True, False, True])
    episodes[1]["human_stretches"] = [[10, 20]]
    told = words(figures.takeovers(episodes))
    assert {"hand on the arm", "succeeded", "failed", "training rollout", "control step"} <= set(told)


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.filterwarnings("error")
def test_takeovers_are_drawn_for_few_rollouts_and_for_many(count: int) -> None:
    episodes = rows([n % 2 == 0 for n in range(count)], human_stretches=[[0, 5]])
    assert "hand on the arm" in words(figures.takeovers(episodes))


def test_wrong_rewards_are_drawn_by_kind() -> None:
    """Four false successes in the first ten rollouts, two missed ones: twice as high."""
    kinds = [(True, False, False)] * 4 + [(False, False, True)] * 2 + [(True, True, True)] * 4
    judged = [{"success": s, "true_success": t, "was_true": w} for s, t, w in kinds]
    drawn = figures.reward_errors(judged)
    false, missed = bars(drawn, figures.BAD)[0], bars(drawn, figures.AGENT)[0]
    assert {"rewarded, not true", "true, not rewarded"} <= set(words(drawn))
    assert false / missed == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(("losses", "panels"), [(1, 1), (5, 5)])
@pytest.mark.filterwarnings("error")
def test_each_loss_of_stage_1_has_a_panel_of_its_own(losses: int, panels: int) -> None:
    names = {f"loss_{n}": 1.0 for n in range(losses)}
    drawn = words(
        figures.pretraining([{"kind": "pretrain", "updates": u, "wall_clock_s": 1.0, **names} for u in (1, 2)])
    )
    assert sum(text.startswith("loss ") for text in drawn) == panels and "updates" in drawn


def test_panels_without_one_below_say_their_steps_too() -> None:
    """Five losses in four columns: the first column ends in the second row, the others in the first."""
    losses = {f"loss_{n}": 1.0 for n in range(5)}
    drawn = words(figures.pretraining([{"updates": u, **losses} for u in (100, 300)]))
    assert list(drawn).count("200") == 4


def test_a_unit_at_the_end_of_a_name_stands_in_brackets() -> None:
    drawn = words(figures.learned([(n, {"goal_error_mm": 1.0, "q_min": 0.0, "s": 1.0}) for n in (1, 2)]))
    assert {"goal error [mm]", "q min", "s"} <= set(drawn)


def test_rollouts_that_are_counted_in_tens_have_ticks_at_tens() -> None:
    drawn = words(figures.triggers_per_ten([{"triggered": True}] * 106))
    assert {"20", "40", "60", "80", "100"} <= set(drawn) and "15" not in drawn


def traced(success: bool, scores: list[float], episode: int = 0) -> dict[str, Any]:
    named = {"float_trace": [0.1] * len(scores), "float_thresholds": [0.2] * len(scores), "float_scores": scores}
    return {"episode": episode, "success": success, **named}


def test_detector_is_drawn_with_its_symbol_against_its_threshold() -> None:
    drawn = figures.detector_traces([traced(True, [0.1, 0.2]), traced(False, [0.5, 1.4], 1)], "float", symbol="λ")
    assert {"λ", "threshold", "good rollouts", "bad rollouts", "largest score", "agent helped"} <= set(words(drawn))


def test_rollout_that_no_detector_scored_is_left_out() -> None:
    scored = [traced(True, [0.1, 0.2])]
    more = [*scored, {"episode": 1, "success": False}, traced(False, [], 2)]
    assert figures.detector_traces(more, "float", symbol="λ") == figures.detector_traces(scored, "float", symbol="λ")


def test_lost_rollout_does_not_press_the_others_down_and_is_marked() -> None:
    """A score of 500 is drawn as one of 50; one of 5 is where it is."""
    lost, less, shown = (
        figures.detector_traces([traced(True, [0.5]), traced(False, [score], 1)], "float", symbol="λ")
        for score in (500.0, 50.0, 5.0)
    )
    assert lost == less and "above 5" in words(lost) and "above 5" not in words(shown)


def test_groups_of_runs_are_named() -> None:
    runs = [curve((1000, 0.0), (2000, 1.0)), curve((1000, 0.5), (2000, 1.0))]
    group = figures.Series(label="AGPS, 1 demo (2)", color=figures.SERIES[0], dash="-", curves=runs)
    told = words(figures.comparison([group], "wall_clock_s"))
    assert {"AGPS, 1 demo (2)", "wall-clock [s]"} <= set(told)


def test_mean_of_runs_lies_between_the_lowest_and_the_highest(rng: np.random.Generator) -> None:
    for _ in range(50):
        runs = []
        for _ in range(int(rng.integers(1, 5))):
            steps = np.cumsum(rng.integers(1, 500, int(rng.integers(1, 8)))).astype(float)
            runs.append(curve(*((step, float(rng.random())) for step in steps)))
        x, y = figures.mean_curve(runs, "env_steps")
        rates = [rate for run in runs for rate in run.success]
        assert min(rates) - 1e-12 <= y.min() and y.max() <= max(rates) + 1e-12
        assert (x[0], x[-1]) == (min(r.env_steps[0] for r in runs), max(r.env_steps[-1] for r in runs))
        assert y[-1] == pytest.approx(np.mean([run.success[-1] for run in runs]))


def test_mean_of_one_run_is_the_run() -> None:
    x, y = figures.mean_curve([curve((0, 0.0), (100, 0.5), (200, 1.0))], "env_steps", points=5)
    np.testing.assert_allclose(x, [0, 50, 100, 150, 200])
    np.testing.assert_allclose(y, [0.0, 0.25, 0.5, 0.75, 1.0])
