"""Statistics of a dataset as LeRobot keeps them, for the whole and for each episode: exact, over every value."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.types import ByteArray, FloatArray

Statistics = dict[str, list[Any]]
"""`min`, `max`, `mean`, `std`, `count` and quantiles of one feature, per component."""
Histogram = npt.NDArray[np.int64]
"""How often each grey value occurs in each channel. Shape (3, 256)."""

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


def of_table(values: npt.NDArray[Any]) -> Statistics:
    """Return the statistics of rows of numbers. Shape (T,) or (T, n)."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    kinds = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    kinds |= {name: np.quantile(rows, share, axis=0) for name, share in QUANTILES.items()}
    return {**{name: kind.tolist() for name, kind in kinds.items()}, "count": [len(rows)]}


def histogram(images: ByteArray) -> Histogram:
    """Return how often each grey value occurs. Images are (T, H, W, 3)."""
    return np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])


def of_images(counts: Histogram, frames: int) -> Statistics:
    """Return the statistics of images by their grey values, as LeRobot has them: 0 to 1, each of shape (3, 1, 1).

    Args:
        counts: Of all frames together.
        frames: How many there are.
    """
    grey = np.arange(256) / 255.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ grey
    spread = np.sqrt(np.maximum(shares @ grey**2 - mean**2, 0.0))
    present = [np.flatnonzero(channel) for channel in counts]
    kinds: dict[str, FloatArray] = {
        "min": np.array([grey[at[0]] for at in present]),
        "max": np.array([grey[at[-1]] for at in present]),
        "mean": mean,
        "std": spread,
    }
    upto = np.cumsum(shares, axis=1)
    kinds |= {name: grey[np.argmax(upto >= share - 1e-12, axis=1)] for name, share in QUANTILES.items()}
    return {**{name: kind.reshape(3, 1, 1).tolist() for name, kind in kinds.items()}, "count": [frames]}


def columns(statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    """Return the statistics of an episode's features as columns of meta/episodes."""
    return {f"stats/{key}/{name}": value for key, kinds in statistics.items() for name, value in kinds.items()}


def total(histograms: Iterable[Histogram]) -> Histogram:
    """Return the counts of several histograms together."""
    counts: Histogram = np.sum(list(histograms), axis=0)
    return counts
