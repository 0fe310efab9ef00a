"""How good a classifier is: pure functions of probabilities and labels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rl.evaluation import wilson_interval
from rl.types import FloatArray

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How many verdicts were right and wrong."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Share of positive verdicts that are true; not a number when there is none."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of successes that are found; not a number when there is none."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def precision_95(self) -> tuple[float, float]:
        """Wilson interval of the precision, 95 %."""
        return _interval(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall_95(self) -> tuple[float, float]:
        """Wilson interval of the recall, 95 %."""
        return _interval(self.true_positives, self.true_positives + self.false_negatives)


def confusion(verdict: npt.ArrayLike, success: npt.ArrayLike) -> Confusion:
    """Count verdicts against labels, both of shape (N,)."""
    said, true = np.asarray(verdict, dtype=np.bool_), np.asarray(success, dtype=np.bool_)
    return Confusion(
        true_positives=int(np.sum(said & true)),
        false_positives=int(np.sum(said & ~true)),
        false_negatives=int(np.sum(~said & true)),
        true_negatives=int(np.sum(~said & ~true)),
    )


def choose_threshold(
    probability: npt.ArrayLike, success: npt.ArrayLike, *, precision: float, recall: float = 0.75, least: float = 0.5
) -> float:
    """Return a threshold that is precise on these scores with room to spare.

    The lowest admissible one is the lowest with the asked precision: a single failure that scores high does not forbid
    what lies below it. Where the score that `recall` of the successes reach lies above it, the threshold is two thirds
    of the way there, in log-odds: a false success is a reward that learning finds, a missed one comes a frame later.

    Args:
        probability: Scores in [0, 1]. Shape (N,).
        success: Labels. Shape (N,).
        precision: Least share of true ones among the scores at or above the threshold.
        recall: Share of the successes that reach the score towards which the threshold lies.
        least: Lower bound of the result: with a calibrated score, what is more likely a failure never passes.

    Returns:
        In [least, 1]; just above the highest score where that belongs to a failure: then nothing passes.
    """
    scores, true = np.asarray(probability, dtype=np.float64), np.asarray(success, dtype=np.bool_)
    lowest = max(least, _lowest_precise(scores, true, precision))
    if not true.any():
        return lowest
    reached = float(np.quantile(scores[true], 1.0 - recall))
    if reached <= lowest:
        return lowest
    return float(_sigmoid(np.asarray((_log_odds(lowest) + 2.0 * _log_odds(reached)) / 3.0)))


def _lowest_precise(scores: FloatArray, true: BoolArray, precision: float) -> float:
    """Return the lowest threshold with the asked precision, or what is just above the highest score."""
    order = np.argsort(-scores, kind="stable")
    scores, true = scores[order], true[order]
    share = np.cumsum(true) / np.arange(1, len(true) + 1)
    whole = np.append(scores[1:] != scores[:-1], True)  # equal scores pass together
    admissible = np.flatnonzero((share >= precision) & whole)
    if len(admissible) == 0:
        return float(np.nextafter(scores[0], 2.0))
    end = int(admissible[-1])
    # Half-way to the score that spoils it.
    return float(scores[end] if end + 1 == len(scores) else (scores[end] + scores[end + 1]) / 2.0)


def average_precision(probability: npt.ArrayLike, success: npt.ArrayLike) -> float:
    """Return the area under the precision-recall curve, sum_k (R_k - R_{k-1}) P_k over distinct scores."""
    scores, true = np.asarray(probability, dtype=np.float64), np.asarray(success, dtype=np.bool_)
    order = np.argsort(-scores, kind="stable")
    scores, true = scores[order], true[order]
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    found = np.cumsum(true)[last_of_ties]
    precision = found / (np.flatnonzero(last_of_ties) + 1)
    recall = found / max(int(true.sum()), 1)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Frames whose probabilities are alike."""

    predicted: float
    """Mean probability."""
    observed: float
    """Share of successes among them."""
    interval_95: tuple[float, float]
    """Wilson interval of `observed`."""
    count: int
    """Frames."""


def reliability(probability: npt.ArrayLike, success: npt.ArrayLike, bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Return predicted against observed success in equally wide bins of probability; empty bins are left out."""
    scores, true = np.asarray(probability, dtype=np.float64), np.asarray(success, dtype=np.bool_)
    index = np.minimum((scores * bins).astype(int), bins - 1)
    return tuple(
        ReliabilityBin(
            predicted=float(scores[index == b].mean()),
            observed=float(true[index == b].mean()),
            interval_95=wilson_interval(int(true[index == b].sum()), int((index == b).sum())),
            count=int((index == b).sum()),
        )
        for b in range(bins)
        if (index == b).any()
    )


def platt(logits: npt.ArrayLike, success: npt.ArrayLike, steps: int = 50) -> tuple[float, float]:
    """Return slope a > 0 and offset b so that sigmoid(a z + b) is calibrated (Platt 1999, with his smoothed targets).

    Newton's method on the cross-entropy; the targets (n+ + 1) / (n+ + 2) and 1 / (n- + 2) keep a finite when the
    scores part the labels. Where the scores rank backwards, a is 0 and the probability is the base rate.

    Args:
        logits: Scores z. Shape (N,).
        success: Labels. Shape (N,).
        steps: Newton steps.
    """
    z, true = np.asarray(logits, dtype=np.float64), np.asarray(success, dtype=np.bool_)
    positives, negatives = int(true.sum()), int((~true).sum())
    targets = np.where(true, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))
    inputs = np.stack([z, np.ones_like(z)], axis=1)
    weights: FloatArray = np.array([0.0, np.log((positives + 1.0) / (negatives + 1.0))])
    value = _cross_entropy(inputs @ weights, targets)
    for _ in range(steps):
        p = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (p - targets)
        hessian = inputs.T @ (inputs * (p * (1.0 - p))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while scale > 1e-6 and _cross_entropy(inputs @ (weights - scale * step), targets) > value:
            scale /= 2.0  # Newton overshoots where the scores are extreme
        weights = weights - scale * step
        improved = value - _cross_entropy(inputs @ weights, targets)
        value -= improved
        if improved < 1e-9:
            break
    if weights[0] <= 0.0:
        return 0.0, float(np.log((positives + 1.0) / (negatives + 1.0)))
    return float(weights[0]), float(weights[1])


def _cross_entropy(z: FloatArray, targets: FloatArray) -> float:
    return float(np.sum(np.logaddexp(0.0, z) - targets * z))


def calibrated_loss(logits: npt.ArrayLike, success: npt.ArrayLike) -> float:
    """Return the mean of both labels' mean cross-entropies after Platt's calibration on the same scores.

    Scale and offset of a classifier are fitted last, so that training may not be stopped for being too sure.
    """
    true = np.asarray(success, dtype=np.bool_)
    slope, offset = platt(logits, true)
    z = slope * np.asarray(logits, dtype=np.float64) + offset
    losses = np.logaddexp(0.0, np.where(true, -z, z))
    return float((losses[true].mean() + losses[~true].mean()) / 2.0)


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-6), 1.0 - 1e-6)
    return float(np.log(p / (1.0 - p)))


def _sigmoid(z: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _interval(part: int, whole: int) -> tuple[float, float]:
    return wilson_interval(part, whole) if whole else (0.0, 1.0)
