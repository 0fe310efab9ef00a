"""Numbers of a detector worked by hand: shares, delays, the area under the ROC curve, and which one is best."""

import numpy as np
import pytest

from agps_agent.measure.detectors.scoring import (
    Trace,
    at_level,
    conformal_level,
    delay,
    figures,
    merit,
    share,
    together,
)
from rl.errors import ConfigError
from tests.agps_agent.measure.detectors.synthetic import rollout


def trace(*scores: float, fired: tuple[int, ...] | None = None) -> Trace:
    """One that fires where its score is above 1, or where it is told to."""
    values = np.array(scores)
    where = values > 1.0 if fired is None else np.isin(np.arange(len(scores)), fired)
    return Trace(scores=values, fired=where, ms=1.0)


def test_delay_is_counted_from_the_onset_and_what_fired_before_does_not_count() -> None:
    assert delay(trace(0, 2, 0, 0, 3, 3), onset=3) == 1
    assert delay(trace(0, 0, 0, 2), onset=3) == 0
    assert delay(trace(2, 2, 0, 0), onset=2) is None


def test_who_fires_at_the_end_of_a_rollout_is_too_late() -> None:
    assert trace(0, 2, 0, 2).in_time().fired.tolist() == [False, True, False, False]
    assert trace(2).in_time().fired.tolist() == [False]


def test_highest_score_leaves_the_warm_up_out_but_not_all_of_a_short_rollout() -> None:
    assert trace(9, 9, 9, 0.5, 0.7).highest(3) == 0.7
    assert trace(9, 8).highest(3) == 8.0


def test_other_threshold_fires_above_it_and_after_the_warm_up() -> None:
    other = at_level(trace(9, 9, 1.5, 2.5), 2.0, warm_up=2)
    assert other.fired.tolist() == [False, False, False, True]
    assert other.scores.tolist() == [4.5, 4.5, 0.75, 1.25]


def test_two_that_watch_fire_where_either_does() -> None:
    both = together(trace(0, 2, 0), trace(0.5, 0, 1.0, fired=(2,)))
    assert both.fired.tolist() == [False, True, True] and both.scores.tolist() == [0.5, 2.0, 1.0] and both.ms == 2.0


def test_level_is_the_order_statistic_of_split_conformal_prediction() -> None:
    # ceil(20 * 0.95) = 19 of 19, ceil(40 * 0.95) = 38 of 39; of 5 only the largest is left.
    assert conformal_level(range(1, 20)) == 19
    assert conformal_level(range(1, 40)) == 38
    assert conformal_level([3.0, 1.0, 2.0, 5.0, 4.0]) == 5.0
    with pytest.raises(ConfigError, match="no calibration rollout"):
        conformal_level([])


def test_share_has_wilsons_interval_and_nothing_of_nothing_has_none() -> None:
    eight = share(8, 20)
    assert eight["share"] == 0.4
    np.testing.assert_allclose((eight["low"], eight["high"]), (0.219, 0.613), atol=5e-4)
    assert share(0, 0) == {"count": 0, "of": 0, "share": None, "low": None, "high": None}


def test_figures_by_hand() -> None:
    said = [
        (rollout("good"), trace(*[0.2] * 12, 0.9)),
        (rollout("good"), trace(*[0.2] * 5, 1.2, *[0.3] * 7)),  # a false alarm
        (rollout("light"), trace(*[2.0] * 13)),
        (rollout("drift", onset=4), trace(*[0.1] * 6, *[3.0] * 7)),  # caught after 2 steps
        (rollout("drift", onset=4), trace(*[0.1] * 13)),  # missed
        (rollout("stall", onset=1), trace(*[0.1] * 12, 1.1)),  # caught after 11 steps
        (rollout("stall", onset=6), trace(0.1, 0.1, 1.5, *[0.1] * 5, *[1.5] * 5)),  # too soon, then after 2 steps
    ]
    numbers = figures([r for r, _ in said], [t for _, t in said], warm_up=0)
    # Highest scores: good 0.9, 1.2; bad 3.0, 0.1, 1.1, 1.5. Of 8 pairs the bad one is above in 2 + 0 + 1 + 2.
    assert numbers["auroc"] == 5 / 8
    counts = {name: (value["count"], value["of"]) for name, value in numbers.items() if isinstance(value, dict) and
              "count" in value}  # fmt: skip
    assert counts == {
        "good_flagged": (1, 2),
        "light_flagged": (1, 1),
        "caught": (3, 4),
        "caught_in_time": (2, 4),
        "before_onset": (1, 4),
        "first_frames": (1, 6),
    }
    assert {kind: value["count"] for kind, value in numbers["caught_by_kind"].items()} == {"drift": 1, "stall": 2}
    assert numbers["good_flagged_by"] == {"nobody": numbers["good_flagged"]} and numbers["delay_steps"] == 2.0


def worth(flagged: int, in_time: int, caught: int = 19, auroc: float = 0.9) -> dict[str, object]:
    shares = {"good_flagged": share(flagged, 20), "caught_in_time": share(in_time, 20), "caught": share(caught, 20)}
    return {**shares, "auroc": auroc}


def test_best_flags_at_most_one_good_rollout_in_twenty_and_then_catches_most_in_time() -> None:
    ranked = [worth(0, 18), worth(1, 17), worth(0, 17), worth(0, 17, auroc=0.8), worth(0, 2, caught=5), worth(2, 20)]
    assert sorted(ranked, key=lambda numbers: merit(numbers), reverse=True) == ranked
    assert merit(worth(0, 18)) > merit(worth(3, 20)) > merit(worth(4, 20))
