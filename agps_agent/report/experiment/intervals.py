"""Bootstrap over seeds: how far a statistic of a few runs may lie from that of many. Pure functions."""

import math
from collections.abc import Sequence
from itertools import product
from statistics import median

import numpy as np

from rl.types import FloatArray

LEVEL = 0.95
_EXACT = 50_000
"""Resamples up to which all are gone through: n**n of n values, so 6 at most."""
_DRAWS = 20_000


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the median, 95 %; one value has no interval but itself.

    Up to six values every resample is gone through, so that the answer is exact; of more, 20,000 are drawn with a fixed
    seed. Percentiles are by nearest rank: a median of `NEVER` is not averaged with a number.
    """
    n = len(values)
    if n**n <= _EXACT:
        medians = sorted(median(sample) for sample in product(values, repeat=n))
    else:
        drawn = np.random.default_rng(0).integers(n, size=(_DRAWS, n))
        medians = sorted(median(sample) for sample in np.asarray(values, dtype=float)[drawn].tolist())
    return _ranked(medians, (1 - LEVEL) / 2), _ranked(medians, (1 + LEVEL) / 2)


def mean_band(curves: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the percentile bootstrap interval of the mean over curves at each point, 95 %, by nearest rank.

    Args:
        curves: One per seed. Shape (n, points).

    Returns:
        Lower and upper edge, each of shape (points,).
    """
    n = len(curves)
    if n**n <= _EXACT:
        drawn = np.array(list(product(range(n), repeat=n)))
    else:
        drawn = np.random.default_rng(0).integers(n, size=(2_000, n))
    means = np.zeros((len(drawn), curves.shape[1]))
    for column in drawn.T:  # one curve at a time: all at once would take n times the memory
        means += curves[column]
    low, high = np.quantile(means / n, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="inverted_cdf")
    return low, high


def _ranked(ordered: Sequence[float], share: float) -> float:
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])
