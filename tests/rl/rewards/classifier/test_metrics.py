import math

import numpy as np
import pytest

from rl.rewards.classifier.metrics import (
    average_precision,
    calibrated_loss,
    choose_threshold,
    confusion,
    platt,
    reliability,
)


def test_counts_precision_and_recall_worked_by_hand():
    counts = confusion([1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0])
    assert (counts.true_positives, counts.false_positives) == (2, 1)
    assert (counts.false_negatives, counts.true_negatives) == (1, 2)
    assert counts.precision == counts.recall == 2 / 3
    low, high = counts.precision_95
    assert low == pytest.approx(0.2077, abs=1e-4) and high == pytest.approx(0.9385, abs=1e-4)


def test_precision_without_a_positive_verdict_is_not_a_number():
    counts = confusion([0, 0], [1, 0])
    assert math.isnan(counts.precision) and counts.precision_95 == (0.0, 1.0)
    assert counts.recall == 0.0


def test_threshold_between_parted_scores_is_in_the_gap():
    threshold = choose_threshold([0.1, 0.2, 0.9, 0.9], [0, 0, 1, 1], precision=1.0)
    # Lowest precise (0.2 + 0.9) / 2 = 0.55, successes at 0.9: two thirds of the way in log-odds.
    odds = math.cbrt(0.55 / 0.45 * 9.0**2)
    assert threshold == pytest.approx(odds / (1.0 + odds))


def test_threshold_is_above_the_failure_that_spoils_the_precision():
    scores, labels = [0.95, 0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1, 1]
    assert choose_threshold(scores, labels, precision=1.0, recall=1.0) == pytest.approx(0.85)
    # At 0.8 two of three are true, below that more: with a precision of 0.6 everything passes.
    assert choose_threshold(scores, labels, precision=0.6, recall=1.0) == pytest.approx(0.6)


def test_threshold_is_never_below_its_least():
    assert choose_threshold([0.1, 0.3], [0, 1], precision=0.98) == 0.5
    assert choose_threshold([0.1, 0.3], [0, 1], precision=0.98, least=0.2) > 0.2


def test_nothing_passes_when_the_highest_score_is_a_failure():
    threshold = choose_threshold([0.7, 0.9], [1, 0], precision=0.98)
    assert 0.9 < threshold < 0.91


def test_tied_scores_pass_together_or_not_at_all():
    scores, labels = [0.9, 0.9, 0.8], [1, 0, 1]
    assert choose_threshold(scores, labels, precision=0.98) > 0.9


def test_precision_holds_at_the_chosen_threshold_on_any_scores(rng):
    for _ in range(50):
        scores = rng.random(60).round(2)
        labels = rng.random(60) < scores
        threshold = choose_threshold(scores, labels, precision=0.9)
        counts = confusion(scores >= threshold, labels)
        assert counts.true_positives + counts.false_positives == 0 or counts.precision >= 0.9


@pytest.mark.parametrize(
    ("scores", "labels", "area"),
    [
        ([0.9, 0.8, 0.1], [1, 1, 0], 1.0),
        ([0.9, 0.8, 0.7], [1, 0, 1], 0.5 * 1.0 + 0.5 * 2 / 3),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 0.25),
    ],
)
def test_average_precision_worked_by_hand(scores, labels, area):
    assert average_precision(scores, labels) == pytest.approx(area)


def test_reliability_bins_hold_their_scores():
    low, high = reliability([0.05, 0.15, 0.95, 1.0], [0, 1, 1, 1], bins=2)
    assert (low.predicted, low.observed, low.count) == (pytest.approx(0.1), 0.5, 2)
    assert (high.predicted, high.observed, high.count) == (pytest.approx(0.975), 1.0, 2)


def test_platt_recovers_the_slope_and_offset_that_made_the_labels(rng):
    z = rng.normal(0.0, 3.0, 20_000)
    labels = rng.random(20_000) < 1.0 / (1.0 + np.exp(-(0.5 * z - 1.0)))
    slope, offset = platt(z, labels)
    np.testing.assert_allclose([slope, offset], [0.5, -1.0], atol=0.06)


def test_platt_is_finite_on_parted_scores_and_flat_on_reversed_ones():
    slope, offset = platt([-9.0, -8.0, 8.0, 9.0], [0, 0, 1, 1])
    assert 0.0 < slope < 1.0 and abs(offset) < 1e-6
    slope, offset = platt([9.0, 8.0, -8.0], [0, 0, 1])
    assert slope == 0.0 and offset == pytest.approx(math.log(2 / 3))


def test_being_too_sure_costs_nothing_where_calibration_comes_last(rng):
    z = rng.normal(0.0, 2.0, 500)
    labels = rng.random(500) < 1.0 / (1.0 + np.exp(-z))
    assert calibrated_loss(20.0 * z + 3.0, labels) == pytest.approx(calibrated_loss(z, labels), rel=1e-4)


def test_calibrated_loss_of_scores_that_say_nothing_is_that_of_the_base_rate():
    # Platt's base rate of 2 in 4 is one half: log 2 for either label.
    assert calibrated_loss([1.0, 1.0, 1.0, 1.0], [1, 0, 1, 0]) == pytest.approx(math.log(2.0))


def test_one_failure_that_scores_high_does_not_cost_all_recall() -> None:
    scores = np.concatenate([[0.999], np.linspace(0.7, 0.998, 100), np.linspace(0.0, 0.4, 50)])
    success = np.concatenate([[False], np.ones(100, bool), np.zeros(50, bool)])
    threshold = choose_threshold(scores, success, precision=0.98)
    assert np.mean(scores[success] >= threshold) > 0.7
    assert np.mean(success[scores >= threshold]) >= 0.98
