"""Exact optimal transport between a rollout so far and demonstrations: the FLOAT index of AGPS, Eq. 1.

`float_index` is the equation in its plainest form. `IncrementalFloatIndex` gives the same number step by step at a
small part of the cost: each step only adds a column of costs, and dual potentials of earlier steps stay feasible, so
that they bound every demonstration from below and only the few that could be nearest are solved exactly.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from rl.errors import AgpsError
from rl.types import FloatArray

Index = Literal["prefix", "partial"]

_Result = TypeVar("_Result")

# The network simplex stops early above this; a 1000 x 1000 problem needs about a tenth of it.
_MAX_PIVOTS = 10_000_000
_TINY = 1e-12


def load_solver() -> Any:
    """Return the module of the network simplex. The first call takes seconds, as POT brings torch along."""
    import ot

    return ot


class EmbeddingMismatch(AgpsError):
    """Embeddings that cannot be compared: other dimensions, no frames, or values that are not finite."""


@dataclass(frozen=True, kw_only=True)
class FloatTransport:
    """The transport from a rollout so far to its nearest demonstration."""

    index: float
    """lambda_t: cost of the transport to the nearest demonstration, in [0, 2]."""
    argmin: int
    """Number of the nearest demonstration."""
    phase: float
    """Where the newest frame is in that demonstration: position of the frame most like it, 0 start, 1 end."""
    nearest: float
    """Cost 1 - cos between the newest frame and the most similar frame of any demonstration."""
    lower_bounds: npt.NDArray[np.float64]
    """Lower bound of the cost to each demonstration; tight where it was solved. Shape (N,)."""
    solves: int
    """Demonstrations that were solved exactly at this step."""


def unit_rows(embeddings: npt.ArrayLike, *, what: str = "rollout") -> npt.NDArray[np.float64]:
    """Return rows scaled to unit length. Shape (t, k); a zero row stays zero, so that it costs 1 to everything.

    Raises:
        EmbeddingMismatch: If the array is not (t, k) with t, k >= 1, or holds a value that is not finite.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or rows.size == 0:
        raise EmbeddingMismatch(
            f"Embeddings of the {what} have shape {rows.shape}; give (frames, dimensions), one frame or more."
        )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.all(np.isfinite(norms)):
        raise EmbeddingMismatch(
            f"Embeddings of the {what} hold values that are not finite; check the camera and the encoder."
        )
    return np.asarray(rows / np.maximum(norms, _TINY))


def cosine_cost(rollout: FloatArray, demo: FloatArray) -> npt.NDArray[np.float64]:
    """Return 1 - cos between unit rows (t, k) and (n, k). Shape (t, n), in [0, 2]."""
    return np.clip(1.0 - rollout @ demo.T, 0.0, 2.0)


def float_index(rollout: npt.ArrayLike, demos: Sequence[npt.ArrayLike]) -> float:
    """Return the transport cost from a rollout so far to its nearest demonstration.

    lambda_t = min_n OT(demo_n, rollout_1:t), cost 1 - cos, uniform marginals (AGPS, arXiv:2602.11978, Eq. 1). Exact.

    Args:
        rollout: Image embeddings, oldest first. Shape (t, k).
        demos: Embeddings of each demonstration, shape (n_d, k); lengths may differ.

    Returns:
        Cost in [0, 2]; larger is further from every demonstration.

    Raises:
        EmbeddingMismatch: If a demonstration's k differs from the rollout's, or there is none.
    """
    prefix = unit_rows(rollout)
    units = unit_demos(demos)
    _check_dimension(prefix.shape[1], units)
    return min(transport_cost(cosine_cost(prefix, demo)) for demo in units)


def partial_index(rollout: npt.ArrayLike, demos: Sequence[npt.ArrayLike], horizon: int) -> float:
    """Return the cost of moving only the mass t / horizon of a rollout so far onto its nearest demonstration.

    The frames that are still to come are one source of zero cost, so the index starts near 0 and never falls (the
    semantics of ARMADA's detector, arXiv:2510.02298, solved exactly).

    Args:
        rollout: Image embeddings, oldest first. Shape (t, k).
        demos: Embeddings of each demonstration, shape (n_d, k).
        horizon: Frames that make a whole rollout; from t = horizon on this is `float_index`.
    """
    prefix = unit_rows(rollout)
    units = unit_demos(demos)
    _check_dimension(prefix.shape[1], units)
    t = len(prefix)
    if t >= horizon:
        return min(transport_cost(cosine_cost(prefix, demo)) for demo in units)
    weights = np.append(np.full(t, 1.0 / horizon), 1.0 - t / horizon)
    costs = (np.vstack([cosine_cost(prefix, demo), np.zeros(len(demo))]) for demo in units)
    return min(transport_cost(cost, weights) for cost in costs)


def transport_cost(cost: FloatArray, weights: FloatArray | None = None) -> float:
    """Return the exact transport cost for a cost matrix (t, n), uniform over its columns and by default its rows."""
    t, n = cost.shape
    rows = np.full(t, 1.0 / t) if weights is None else weights
    return float(load_solver().emd2(rows, np.full(n, 1.0 / n), cost, numItermax=_MAX_PIVOTS))


def unit_demos(demos: Sequence[npt.ArrayLike]) -> list[npt.NDArray[np.float64]]:
    """Return demonstrations with unit rows.

    Raises:
        EmbeddingMismatch: If there is none, or their dimensions differ.
    """
    if not demos:
        raise EmbeddingMismatch("There is no demonstration to compare with; give at least one.")
    units = [unit_rows(demo, what=f"demonstration {n}") for n, demo in enumerate(demos)]
    _check_dimension(units[0].shape[1], units)
    return units


def _check_dimension(k: int, units: Sequence[FloatArray]) -> None:
    for n, demo in enumerate(units):
        if demo.shape[1] != k:
            raise EmbeddingMismatch(
                f"Demonstration {n} has {demo.shape[1]} dimensions and the embedding {k}; encode both with one encoder."
            )


class IncrementalFloatIndex:
    """The index of a growing rollout: the same numbers as `float_index` or `partial_index`, one frame at a time.

    For each demonstration the last dual potentials (u, v) are kept. Feasibility, u_j + v_i <= C_ji, does not depend on
    the weights, so with u_new = min_i(C_new,i - v_i) they stay feasible when a frame comes, and
    sum_j a_j u_j + mean(v) <= OT by weak duality. Demonstrations are solved in order of these bounds, until the next
    bound is above the best exact cost: one or two of twenty at most steps.

    Bounds come from costs in single precision, less the largest error these can have; what is solved is in double.
    """

    def __init__(self, demos: Sequence[npt.ArrayLike], *, index: Index = "prefix", horizon: int | None = None) -> None:
        """Prepare for rollouts that are compared with `demos`, each (n_d, k).

        Args:
            demos: Embeddings of each demonstration.
            index: `prefix` is Eq. 1; `partial` leaves the frames that are still to come free.
            horizon: Frames of a whole rollout, for `partial`; by default the longest demonstration's.
        """
        units = unit_demos(demos)
        lengths = np.array([len(demo) for demo in units])
        self._demos = units
        self._frames = np.concatenate(units).astype(np.float32)  # (sum n_d, k)
        # |fl(x . y) - x . y| <= (k + 2) eps for unit vectors, both roundings of the input included.
        self._rounding = (self._frames.shape[1] + 4) * float(np.finfo(np.float32).eps)
        self._starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])  # (N,)
        self._lengths = lengths
        self._horizon = int(lengths.max()) if horizon is None else horizon
        self._partial = index == "partial"
        self._allocate(128)
        self.reset()

    def __len__(self) -> int:
        """Frames of the rollout so far."""
        return self._t

    @property
    def demos(self) -> int:
        """Number of demonstrations."""
        return len(self._lengths)

    def reset(self) -> None:
        """Begin a new rollout."""
        self._t = 0
        self._filled = np.zeros(self.demos, dtype=int)  # rows of each cost matrix that are there already
        self._v = np.zeros(len(self._frames))  # demonstration potentials, all demonstrations in a row
        self._u_sum = np.zeros(self.demos)

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` frames of the rollout."""
        self._t = min(max(length, 0), self._t)
        self._filled = np.minimum(self._filled, self._t)
        self._u_sum = self._u[: self._t].sum(axis=0)

    def append(self, embedding: npt.ArrayLike) -> FloatTransport:
        """Add the newest frame's embedding, shape (k,), and return the transport of the rollout so far.

        Raises:
            EmbeddingMismatch: If k is not the demonstrations', or a value is not finite.
        """
        frame = unit_rows(np.atleast_2d(np.asarray(embedding)), what="newest frame")
        if frame.shape != (1, self._frames.shape[1]):
            raise EmbeddingMismatch(
                f"The embedding has shape {np.shape(embedding)} and the demonstrations {self._frames.shape[1]} "
                "dimensions; encode both with one encoder."
            )
        column = 1.0 - self._frames @ frame[0].astype(np.float32)  # (sum n_d,)
        self._store(frame[0], column)
        bounds = self._lower_bounds()
        best, argmin, solves = np.inf, 0, 0
        for n in np.argsort(bounds, kind="stable"):
            if bounds[n] >= best - _TINY:
                break
            cost = self._solve(int(n))
            solves += 1
            if cost < best:
                best, argmin = cost, int(n)
        return FloatTransport(
            index=best,
            argmin=argmin,
            phase=self._phase(column, argmin),
            nearest=max(float(column.min()), 0.0),
            lower_bounds=self._lower_bounds(),
            solves=solves,
        )

    def _allocate(self, capacity: int) -> None:
        # Row 0 is the free source of `partial`; frame t lies in row 1 + t, so that both solve on one block.
        self._costs = [np.zeros((1 + capacity, n)) for n in self._lengths]
        self._rollout = np.zeros((capacity, self._frames.shape[1]))
        self._u = np.zeros((capacity, self.demos))
        self._filled = np.zeros(self.demos, dtype=int)

    def _store(self, frame: FloatArray, column: FloatArray) -> None:
        if self._t == len(self._u):
            rollout, u = self._rollout, self._u
            self._allocate(2 * len(u))
            self._rollout[: len(u)], self._u[: len(u)] = rollout, u
        self._rollout[self._t] = frame
        self._u[self._t] = np.minimum.reduceat(column - self._v, self._starts) - self._rounding
        self._u_sum += self._u[self._t]
        self._t += 1

    def _lower_bounds(self) -> npt.NDArray[np.float64]:
        v_mean = np.add.reduceat(self._v, self._starts) / self._lengths
        if not self._partial:
            return np.asarray(self._u_sum / self._t + v_mean)
        whole = max(self._horizon, self._t)
        u_free = -np.maximum.reduceat(self._v, self._starts)
        return np.asarray((self._u_sum + (whole - self._t) * u_free) / whole + v_mean)

    def _solve(self, n: int) -> float:
        """Solve demonstration n exactly and keep its potentials."""
        t, demo = self._t, slice(self._starts[n], self._starts[n] + self._lengths[n])
        whole = max(self._horizon, t) if self._partial else t
        free = 1 if whole > t else 0
        columns = int(self._lengths[n])
        # Whole numbers as masses: the simplex then meets ties exactly, which saves pivots.
        rows = np.full(free + t, float(columns))
        u = np.empty(free + t)
        u[free:] = self._u[:t, n]
        if free:
            rows[0] = float(columns * (whole - t))
            u[0] = -self._v[demo].max()
        cost = self._cost(n)[1 - free : 1 + t]
        _, log = load_solver().emd(  # the plan is not needed, but emd2 spends longer around the same solver
            rows,
            np.full(columns, float(whole)),
            cost,
            numItermax=_MAX_PIVOTS,
            log=True,
            center_dual=False,
            check_marginals=False,
            potentials_init=(u, (cost - u[:, None]).min(axis=0)),
        )
        # The solver's potentials hold to rounding only; minima over the costs make them feasible, the bound valid.
        self._v[demo] = log["v"]
        self._u[:t, n] = (cost[free:] - log["v"]).min(axis=1)
        self._u_sum[n] = self._u[:t, n].sum()
        return float(log["cost"]) / (columns * whole)

    def _cost(self, n: int) -> npt.NDArray[np.float64]:
        """Return demonstration n's cost matrix, the free source first, with the rows that were still missing."""
        rows = slice(self._filled[n], self._t)
        self._costs[n][1 + rows.start : 1 + rows.stop] = cosine_cost(self._rollout[rows], self._demos[n])
        self._filled[n] = self._t
        return self._costs[n]

    def _phase(self, column: FloatArray, n: int) -> float:
        start, length = int(self._starts[n]), int(self._lengths[n])
        return float(np.argmin(column[start : start + length])) / max(length - 1, 1)


def bench_float(*, demos: int = 20, frames: int = 100, dimensions: int = 768, seed: int = 0) -> dict[str, float]:
    """Time one rollout with both ways of computing Eq. 1 and compare their results.

    Synthetic embeddings: one smooth path, which each demonstration follows at its own pace with its own smooth offset
    in four directions, as start poses differ in a few ways only. Then one to two demonstrations are solved per step, as
    with images of USB insertion (1.3 measured). Where all are nearly as near, say by independent noise in every
    dimension, 3 to 9 must be solved, and the ratio is a half to a quarter.

    Returns:
        `naive_ms` (`float_index` of the prefix), `cached_ms` (costs kept, every demonstration solved) and
        `incremental_ms`: medians per step, CPU time of the process; `ratio` of naive and `cached_ratio` of cached over
        incremental; `max_error`; `solves` per step.
    """
    rng = np.random.default_rng(seed)
    way = _smooth_path(rng, frames, dimensions)
    directions = rng.standard_normal((4, dimensions))
    rollout, *references = [_follow(rng, way, directions) for _ in range(demos + 1)]
    incremental = IncrementalFloatIndex(references)
    costs = [cosine_cost(unit_rows(rollout), demo) for demo in unit_demos(references)]
    times: dict[str, list[float]] = {"incremental": [], "naive": [], "cached": []}
    errors, solves = [], []
    for t in range(1, frames + 1):
        step = _timed(times["incremental"], partial(incremental.append, rollout[t - 1]))
        naive = _timed(times["naive"], partial(float_index, rollout[:t], references))
        _timed(times["cached"], partial(_nearest_cost, [cost[:t] for cost in costs]))
        errors.append(abs(step.index - naive))
        solves.append(step.solves)
    medians = {name: 1e3 * float(np.median(values)) for name, values in times.items()}
    return {
        "demos": demos,
        "frames": frames,
        "dimensions": dimensions,
        **{f"{name}_ms": value for name, value in medians.items()},
        "ratio": medians["naive"] / medians["incremental"],
        "cached_ratio": medians["cached"] / medians["incremental"],
        "max_error": float(max(errors)),
        "solves": float(np.mean(solves)),
    }


def _nearest_cost(costs: Sequence[FloatArray]) -> float:
    return min(transport_cost(cost) for cost in costs)


def _timed(times: list[float], call: Callable[[], _Result]) -> _Result:
    clock = time.process_time()
    result = call()
    times.append(time.process_time() - clock)
    return result


def _smooth_path(rng: np.random.Generator, frames: int, dimensions: int) -> npt.NDArray[np.float64]:
    """Return a path through six random points. Shape (frames, dimensions)."""
    return _sample(rng.standard_normal((6, dimensions)), np.linspace(0.0, 1.0, frames))


def _follow(
    rng: np.random.Generator, way: npt.NDArray[np.float64], directions: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the path at an uneven pace, with a smooth offset along `directions` (n, k) and some noise."""
    frames = len(way)
    pace = 0.5 * np.linspace(0.0, 1.0, frames) + 0.5 * np.sort(rng.random(frames))
    offset = 0.5 * _smooth_path(rng, frames, len(directions)) @ directions
    return np.asarray(_sample(way, pace) + offset + 0.1 * rng.standard_normal(way.shape))


def _sample(points: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return linear interpolation of points (n, k) at positions in [0, 1]. Shape (len(at), k)."""
    position = at * (len(points) - 1)
    low = np.minimum(position.astype(int), len(points) - 2)
    part = (position - low)[:, None]
    return np.asarray((1.0 - part) * points[low] + part * points[low + 1])
