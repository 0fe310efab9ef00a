"""How well the agent's boxes lie where values are high: two numbers, and how sure they are. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rl.types import FloatArray

TOP = 0.9
"""Quantile of the values of the plane above which a region counts as high: the best tenth of the points."""
_LEVEL = 0.95
_DRAWS = 5_000


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Values over a plane, with where they are."""

    y_mm: FloatArray
    """Rising, (columns,), [mm]."""
    z_mm: FloatArray
    """Rising, (rows,), [mm]."""
    values: FloatArray
    """(rows, columns)."""

    @property
    def best_mm(self) -> FloatArray:
        """Where the highest value is, y and z; the lowest and leftmost of equals. Shape (2,), [mm]."""
        row, column = np.unravel_index(int(np.argmax(self.values)), self.values.shape)
        return np.array([self.y_mm[column], self.z_mm[row]])

    @property
    def threshold(self) -> float:
        """Value from which the best tenth of the points begins."""
        return float(np.quantile(self.values, TOP))


def is_in_top(plain: Plain, centres_mm: FloatArray) -> npt.NDArray[np.bool_]:
    """Return whether the point nearest to each centre is one of the best tenth; beside the plane none is.

    Args:
        plain: Values.
        centres_mm: y and z of each, (n, 2), [mm].

    Returns:
        Shape (n,). Of centres that lie anywhere in the plane, one in ten would be.
    """
    half_y, half_z = (np.diff(axis).mean() / 2.0 for axis in (plain.y_mm, plain.z_mm))
    found = np.zeros(len(centres_mm), dtype=bool)
    for n, (y, z) in enumerate(centres_mm):
        within_y = plain.y_mm[0] - half_y <= y <= plain.y_mm[-1] + half_y
        if within_y and plain.z_mm[0] - half_z <= z <= plain.z_mm[-1] + half_z:
            row, column = np.argmin(abs(plain.z_mm - z)), np.argmin(abs(plain.y_mm - y))
            found[n] = plain.values[row, column] >= plain.threshold
    return found


def distances_mm(plain: Plain, centres_mm: FloatArray) -> FloatArray:
    """Return how far each centre, (n, 2), [mm], is from the highest value, in the plane. Shape (n,), [mm]."""
    distances: FloatArray = np.linalg.norm(centres_mm - plain.best_mm, axis=1)
    return distances


def nested_interval(groups: Sequence[FloatArray]) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean over groups of the mean within each.

    Runs are drawn with replacement, then the values of each run drawn: centres of one run share its landscape. One
    group gives the interval over its values alone.

    Args:
        groups: Values of each run, each (n,), n at least 1.
    """
    rng = np.random.default_rng(0)
    resampled = np.array([each[rng.integers(len(each), size=(_DRAWS, len(each)))].mean(1) for each in groups])
    drawn = rng.integers(len(groups), size=(len(groups), _DRAWS))
    means = resampled[drawn, np.arange(_DRAWS)].mean(0)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
