"""What a detector's scores are worth: pure functions of what it said of each rollout."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from agps_agent.detectors.float.evaluation import auroc
from agps_agent.measure.detectors.rollouts import Kind, Rollout
from rl.errors import ConfigError
from rl.evaluation import wilson_interval

Numbers = dict[str, Any]

ALPHA = 0.05
"""Share of good rollouts that may be flagged."""
EARLY_FRAMES = 3
"""A detector that fires in the first frames has seen nothing yet."""
IN_TIME_STEPS = 10
"""Help that comes this many control steps after the onset is in time."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a detector said of one rollout, frame by frame, the one at reset first."""

    scores: npt.NDArray[np.float64]
    """How bad it is, 1 where the detector fires. Shape (T,)."""
    fired: npt.NDArray[np.bool_]
    """Where it would have asked the agent. Shape (T,)."""
    ms: float
    """Median time of a step, [ms]."""

    def in_time(self) -> "Trace":
        """Return the trace without what fires at the last frame: the rollout is over, and a run asks nobody."""
        return replace(self, fired=np.append(self.fired[:-1], False))

    def highest(self, warm_up: int) -> float:
        """Return the highest score after the first frames; over all of them where there are no others."""
        return float(np.max(self.scores[min(warm_up, len(self.scores) - 1) :]))

    def first_fired(self, start: int = 0) -> int | None:
        """Return the first step from `start` on at which it fires; None: never."""
        steps = np.flatnonzero(self.fired[start:])
        return start + int(steps[0]) if len(steps) else None


def at_level(trace: Trace, level: float, *, warm_up: int) -> Trace:
    """Return the trace of the same detector with another threshold: it fires above `level`, after the warm-up."""
    later = np.arange(len(trace.scores)) >= warm_up
    return replace(trace, scores=trace.scores / level, fired=(trace.scores > level) & later)


def together(one: Trace, other: Trace) -> Trace:
    """Return the trace of two detectors that both watch: the worse score counts, and whichever fires."""
    return Trace(scores=np.maximum(one.scores, other.scores), fired=one.fired | other.fired, ms=one.ms + other.ms)


def conformal_level(highest: Sequence[float], alpha: float = ALPHA) -> float:
    """Return the level that the highest score of a good rollout exceeds with probability at most alpha.

    The ceil((n + 1)(1 - alpha))-th smallest of n (split conformal prediction); the largest where n < 1 / alpha - 1.

    Raises:
        ConfigError: If there is none.
    """
    if not highest:
        raise ConfigError("There is no calibration rollout; give at least one.")
    rank = min(math.ceil((len(highest) + 1) * (1.0 - alpha) - 1e-9), len(highest))
    return max(sorted(highest)[rank - 1], 1e-9)


def share(count: int, of: int) -> Numbers:
    """Return a share with its 95 % Wilson interval; nothing of nothing has none."""
    if of == 0:
        return {"count": 0, "of": 0, "share": None, "low": None, "high": None}
    low, high = wilson_interval(count, of)
    return {"count": count, "of": of, "share": count / of, "low": low, "high": high}


def delay(trace: Trace, onset: int) -> int | None:
    """Return the control steps from the onset to the first trigger that is not before it; None: never."""
    fired = trace.first_fired(onset)
    return None if fired is None else fired - onset


def figures(rollouts: Sequence[Rollout], traces: Sequence[Trace], *, warm_up: int) -> Numbers:
    """Return what a detector is worth on some rollouts.

    Args:
        rollouts: Good ones, bad ones, and such under another light.
        traces: What the detector said of each.
        warm_up: Frames in which it never fires.

    Returns:
        `auroc` of the highest scores, good against bad; shares of good rollouts that were flagged, in all and by who
        acted, of those under another light, of bad ones that were caught at or after the onset, within ten steps of it,
        and by kind; flagged before the onset, and of good and bad ones in the first three frames; the median
        `delay_steps` of those caught.
    """
    pairs = list(zip(rollouts, traces, strict=True))
    good = [t for r, t in pairs if r.kind == "good"]
    light = [t for r, t in pairs if r.kind == "light"]
    bad = [(r.kind, r.onset, t) for r, t in pairs if r.onset is not None]
    delays = [(kind, delay(trace, onset)) for kind, onset, trace in bad]
    caught = [d for _, d in delays if d is not None]
    early = [t.first_fired() for t in (*good, *(t for _, _, t in bad))]
    return {
        "auroc": auroc([t.highest(warm_up) for t in good], [t.highest(warm_up) for _, _, t in bad]),
        "good_flagged": _flagged(good),
        "good_flagged_by": _flagged_by([(r.by, t) for r, t in pairs if r.kind == "good"]),
        "light_flagged": _flagged(light),
        "caught": share(len(caught), len(bad)),
        "caught_in_time": share(sum(d <= IN_TIME_STEPS for d in caught), len(bad)),
        "caught_by_kind": {kind: _caught(kind, delays) for kind in dict.fromkeys(kind for kind, _, _ in bad)},
        "before_onset": share(sum(bool(np.any(t.fired[:onset])) for _, onset, t in bad), len(bad)),
        "first_frames": share(sum(f is not None and f < EARLY_FRAMES for f in early), len(early)),
        "delay_steps": float(np.median(caught)) if caught else None,
        "ms_per_step": float(np.median([t.ms for t in traces])),
    }


def _flagged_by(said: Sequence[tuple[str, Trace]]) -> Numbers:
    return {name: _flagged([trace for by, trace in said if by == name]) for name in sorted({by for by, _ in said})}


def _flagged(traces: Sequence[Trace]) -> Numbers:
    return share(sum(trace.first_fired() is not None for trace in traces), len(traces))


def _caught(kind: Kind, delays: Sequence[tuple[Kind, int | None]]) -> Numbers:
    own = [found for of, found in delays if of == kind]
    return share(sum(found is not None for found in own), len(own))


def merit(numbers: Numbers) -> tuple[float, float, float, float]:
    """Return how good a detector is, larger is better, by its figures.

    First that it flags at most 5 % of good rollouts, or as few more as can be; then how many bad ones it catches within
    ten steps; then how many at all; then the area under the ROC curve.
    """
    too_many = max(numbers["good_flagged"]["share"] - ALPHA, 0.0)
    return -too_many, numbers["caught_in_time"]["share"], numbers["caught"]["share"], numbers["auroc"]
