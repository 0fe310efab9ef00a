"""Synthetic rollouts: smooth paths in embedding space that good rollouts follow with their own smooth offset."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

Path = npt.NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def good_rollout(rng: np.random.Generator) -> Callable[[], Path]:
    """A rollout of 24 to 32 frames that follows one way through 16 dimensions."""
    knots = rng.standard_normal((4, 16))
    directions = rng.standard_normal((2, 16))

    def make() -> Path:
        at = np.linspace(0.0, 3.0, int(rng.integers(24, 33)))
        low = np.minimum(at.astype(int), 2)
        part = (at - low)[:, None]
        way = (1 - part) * knots[low] + part * knots[low + 1]
        return np.asarray(way + 0.3 * rng.standard_normal(2) @ directions + 0.05 * rng.standard_normal(way.shape))

    return make
