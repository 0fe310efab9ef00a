"""Standstill: whether what the cameras see changes less than it did in good rollouts, there where the arm is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from rl.types import FloatArray


@dataclass(frozen=True)
class Course:
    """The frames of a rollout that have a window before them."""

    frames: FloatArray
    """Embeddings. Shape (n, k)."""
    changes: FloatArray
    """Change of the embedding over the window that ends at each of them. Shape (n,)."""

    @classmethod
    def of(cls, embeddings: FloatArray, window_steps: int) -> Self:
        """Return the course of a rollout, (n, k); empty where it is no longer than the window."""
        frames = np.asarray(embeddings, dtype=np.float64)
        return cls(frames[window_steps:], np.linalg.norm(frames[window_steps:] - frames[:-window_steps], axis=1))


class Standstill:
    """Compares a change with that of the good frames most alike, so that the limit depends on where the arm is.

    A policy that seeks a port sees nearly the same for a while, and on its way there it never does: one limit for the
    whole way finds an arm that stands still before the port only when the search would be over. Each good rollout has
    one frame most like the newest; of the half of them that lie nearest, the one that changed least counts.
    """

    def __init__(self, references: Sequence[FloatArray], window_steps: int, alpha: float) -> None:
        """Learn from good rollouts, each (n, k), of which a share `alpha` may be flagged.

        As with split conformal prediction, each left out once: the floor((n + 1) alpha)-th smallest of their lowest
        ratios to the others is the limit; the smallest, where so few references cannot promise alpha. A moment at which
        nothing at all changed, as while an arm is held, is no example.
        """
        self._window = window_steps
        courses = [Course.of(reference, window_steps) for reference in references]
        self._courses = [course for course in courses if len(course.frames)]
        ratios = [_ratios(course, [c for c in self._courses if c is not course]) for course in self._courses]
        lowest = sorted(float(each[each > 0.0].min()) for each in ratios if np.any(each > 0.0))
        rank = min(max(math.floor((len(lowest) + 1) * alpha + 1e-9), 1), len(lowest))
        self.limit = math.inf if len(self._courses) < 2 else lowest[rank - 1] if lowest else 0.0
        """Share of the good frames' change below which it is standing still; infinite: not known."""

    def holds(self, embeddings: Sequence[FloatArray]) -> bool:
        """Return whether the newest of some embeddings, each (k,), changed less than that; False before the window."""
        if len(embeddings) <= self._window:
            return False
        newest = Course.of(np.stack(embeddings[-1 - self._window :]), self._window)
        ratio = _ratios(newest, self._courses)[0]
        return bool(ratio < self.limit or ratio == 0.0)


def _ratios(course: Course, others: Sequence[Course]) -> FloatArray:
    """Return each change in changes of the others' frames most alike: the least of their nearer half. Shape (n,)."""
    if not others:
        return np.full(len(course.frames), np.inf)
    distances, changes = [], []
    for other in others:
        squared = np.sum(other.frames**2, axis=1) - 2.0 * course.frames @ other.frames.T
        distances.append(squared.min(axis=1))
        changes.append(other.changes[squared.argmin(axis=1)])
    nearer = np.argsort(np.stack(distances), axis=0, kind="stable")[: max(len(others) // 2, 1)]
    least = np.take_along_axis(np.stack(changes), nearer, axis=0).min(axis=0)
    return np.asarray(course.changes / np.maximum(least, 1e-12))
