import numpy as np
import pytest

from rl.rewards.classifier.judging import JudgedRollout, first_run, score_verdicts


def rollout(probability: list[float], success: list[int]) -> JudgedRollout:
    return JudgedRollout(
        source="hold", seed=0, probability=np.array(probability), success=np.array(success, dtype=np.bool_)
    )


@pytest.mark.parametrize(("n", "at"), [(1, 0), (2, 3), (3, 4), (4, None)])
def test_run_is_complete_at_its_last_frame(n, at):
    assert first_run(np.array([1, 0, 1, 1, 1, 0], np.bool_), n) == at


def test_verdicts_of_hand_built_rollouts():
    rollouts = [
        rollout([0.1, 0.9, 0.9, 0.9], [0, 1, 1, 1]),  # right, one frame late with two in a row
        rollout([0.9, 0.1, 0.9, 0.9], [0, 0, 1, 1]),  # a single false frame first
        rollout([0.9, 0.9, 0.1, 0.1], [0, 0, 0, 0]),  # false with one and with two
        rollout([0.1, 0.1, 0.1, 0.1], [0, 1, 1, 1]),  # missed
        rollout([0.1, 0.1, 0.1, 0.1], [0, 0, 0, 0]),
    ]
    one, two = (score_verdicts(rollouts, threshold=0.5, n=n) for n in (1, 2))
    assert (one.right, one.false, one.missed) == (1, 2, 1)
    assert (two.right, two.false, two.missed) == (2, 1, 1)
    assert (one.mean_delay, two.mean_delay) == (0.0, 1.0)
    assert two.counts.precision == 2 / 3 and two.counts.true_negatives == 1


def test_success_that_is_shorter_than_the_run_is_not_missed():
    assert score_verdicts([rollout([0.1, 0.1], [0, 1])], threshold=0.5, n=2).missed == 0
