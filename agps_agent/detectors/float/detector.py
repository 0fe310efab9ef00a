"""FLOAT: watches a rollout frame by frame and says when it has drifted from the demonstrations.

The paper's detector (AGPS, arXiv:2602.11978, Eq. 1) is `FloatConfig.paper()`: lambda_t of the prefix against one
threshold from whole demonstrations. It fires at the first frame of nearly every rollout, since a short prefix is far
from a whole demonstration. The default compares lambda_t with what demonstrations show *at step t*, leaves the frames
that are still to come free, and centres the embeddings. On the 365 rollouts of one training run of USB insertion, whose
243 successes become faster than the demonstrations (calibrated on 20, 5 demonstrations):

| index, threshold | area under the ROC curve | good flagged | bad found | at frame (median) |
|---|---|---|---|---|
| prefix, global95 (the paper) | 0.59, 0.58 | 1.00, 1.00 | 1.00, 1.00 | 1, 1 |
| prefix, band | 0.98, 0.98 | 0.11, 0.00 | 0.99, 0.42 | 19, 20 |
| prefix, band, local term | 0.94, 0.95 | 0.25, 0.07 | 0.91, 0.79 | 14, 15 |
| partial, band (the default with fewer than 40) | 1.00, 1.00 | 0.07, 0.05 | 1.00, 1.00 | 26, 28 |
"""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from agps_agent.detectors.float.transport import (
    EmbeddingMismatch,
    FloatTransport,
    IncrementalFloatIndex,
    Index,
)
from rl.bounds import Count, Whole, check_bounds
from rl.errors import AgpsError, ConfigError
from rl.files import write_atomically

_DAMAGE = (AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file, or somebody else's, raises."""
Statistic = Literal["index", "local"]
Curves = npt.NDArray[np.float64]


class NotEnoughDemos(AgpsError):
    """Fewer demonstrations than a calibration needs."""


@dataclass(frozen=True, kw_only=True)
class FloatConfig:
    """How FLOAT compares, when it fires, and how often."""

    index: Index = "partial"
    """`prefix`: Eq. 1. `partial`: the frames still to come are free; starts near 0 and never falls (ARMADA's code)."""
    threshold: Literal["band", "global95"] = "band"
    """`band`: one threshold per step from leave-one-out prefixes. `global95`: the paper's single 95th percentile."""
    horizon: Count | None = None
    """Frames of a whole rollout, for `partial`. None: twice the longest demonstration."""
    center: bool = True
    """Subtract the demonstrations' mean embedding first, so that what all frames share does not count."""
    local: bool | None = None
    """Also watch the distance of the newest frames to the most similar demonstration frames; needs `band`. Fires some
    steps earlier. With few demonstrations, or an expert's, it also flags good rollouts, whose way differs. None: with
    `local_from` to compare with or more, in a run only if half of them or more are its own rollouts."""
    local_from: Count = 40
    """Demonstrations with which `local` is on where it is left open."""
    local_window: Count = 5
    """Newest frames that the local term averages over."""
    alpha: float | None = None
    """Share of good rollouts that may be flagged. None: 0.05, or the smallest that so few demonstrations allow."""
    warmup_steps: Whole = 3
    """No trigger before this many frames: the arm has hardly moved."""
    cooldown_steps: Whole = 10
    """No trigger for this many frames after `rearm`."""
    min_demos: Count = 5
    """Fewest demonstrations that are calibrated on: with n, no alpha below 1 / (n + 1) can be promised."""
    smoothing: Count = 5
    """Steps over which the band's standard deviation is averaged."""

    def watches_local(self, demos: int) -> bool:
        """Return whether the local term counts with so many demonstrations."""
        if self.local is None:
            return self.threshold == "band" and demos >= self.local_from
        return self.local

    def __post_init__(self) -> None:
        """Check the fields once."""
        if self.local and self.threshold == "global95":
            raise ConfigError(
                "The local term is calibrated jointly with the band; set local=False or threshold='band'."
            )
        if self.alpha is not None and not 0.0 < self.alpha < 1.0:
            raise ConfigError(f"alpha = {self.alpha} is not between 0 and 1; 0.05 flags one good rollout in twenty.")
        check_bounds(self)

    @classmethod
    def paper(cls) -> Self:
        """Return the detector as AGPS writes it: Eq. 1 against the 95th percentile, raw embeddings, from frame 1 on."""
        return cls(index="prefix", threshold="global95", center=False, local=False, warmup_steps=0)


@dataclass(frozen=True, kw_only=True)
class FloatReading:
    """What FLOAT saw at one step."""

    step: int
    """Frames of this rollout so far, the newest included."""
    index: float
    """lambda_t, cost in [0, 2]."""
    threshold: float
    """Value above which lambda_t is not that of a good rollout at this step."""
    local: float
    """Mean distance of the newest frames to their nearest demonstration frames, in [0, 2]."""
    local_threshold: float
    """The same for the local term; infinite when it is off."""
    score: float
    """How far the worst statistic is, 1 at its threshold: what an ROC curve sweeps."""
    fired: Statistic | None
    """Which statistic is above its threshold, None inside."""
    triggered: bool
    """Ask the agent now: a statistic fired, and neither warm-up nor cooldown is on."""
    argmin: int
    """Number of the nearest demonstration."""
    phase: float
    """Where the newest frame is in that demonstration, 0 start, 1 end."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What good rollouts look like: from each demonstration compared with the others."""

    mean: Curves
    """Mean of (index, local) per step; the last step holds beyond. Shape (2, L)."""
    sd: Curves
    """Smoothed standard deviation. Shape (2, L)."""
    limit: float
    """Standard deviations above the mean that a good rollout exceeds anywhere with probability alpha."""
    global_threshold: float
    """Lambda: percentile of the whole demonstrations' leave-one-out index."""
    alpha: float
    """The alpha that was used."""

    def thresholds(self, step: int) -> npt.NDArray[np.float64]:
        """Return the band's (index, local) thresholds after `step` frames, counting from 1."""
        at = min(step, self.mean.shape[1]) - 1
        return np.asarray(self.mean[:, at] + self.limit * self.sd[:, at])


class FloatDetector:
    """Online failure detector: `reset` at the start of a rollout, `update` once per control step."""

    def __init__(self, config: FloatConfig | None = None) -> None:
        """Make a detector that still has to be given demonstrations: `fit` or `load`."""
        self.config = config or FloatConfig()
        self._calibration: Calibration | None = None
        self._demos: list[npt.NDArray[np.float64]] = []

    def fit(self, demos: Sequence[npt.ArrayLike]) -> Self:
        """Calibrate on the embeddings of successful rollouts, each (n_d, k), by leaving one out at a time.

        Raises:
            NotEnoughDemos: If there are fewer than `config.min_demos`, or than alpha needs.
        """
        arrays = [np.asarray(demo, dtype=np.float64) for demo in demos]
        if len(arrays) < max(self.config.min_demos, 2):
            raise NotEnoughDemos(
                f"{len(arrays)} demonstrations and FLOAT calibrates on {max(self.config.min_demos, 2)} or more; "
                "watch with StallRule until there are enough."
            )
        return self._use(arrays, calibrate(leave_one_out_curves(arrays, self.config), self.config))

    def _use(self, demos: list[npt.NDArray[np.float64]], calibration: Calibration) -> Self:
        self._demos, self._calibration = demos, calibration
        self._center = _mean_embedding(demos) if self.config.center else None
        self._transport = _transport(demos, self._center, self.config, _horizon(demos, self.config))
        self.reset()
        return self

    @property
    def calibration(self) -> Calibration:
        """What good rollouts look like.

        Raises:
            NotEnoughDemos: Before `fit`.
        """
        return self._require_fit()

    @property
    def demos(self) -> int:
        """Number of demonstrations behind this detector."""
        return len(self._demos)

    def reset(self) -> None:
        """Begin a new rollout."""
        self._require_fit()
        self._transport.reset()
        self._nearest: list[float] = []
        self._history: list[float] = []
        self._cooldown = self.config.warmup_steps

    def rearm(self) -> None:
        """Go on after an intervention: forget the drift, and do not ask again before the cooldown is over.

        lambda_t averages the whole prefix, so a corrected rollout would stay above the threshold. The prefix is cut
        back to the last step that looked like an average demonstration.
        """
        keep = 0
        for step, score in enumerate(self._history, start=1):
            if score <= 0.0:
                keep = step
        self._transport.truncate(keep)
        del self._nearest[keep:], self._history[keep:]
        self._cooldown = self.config.cooldown_steps

    def update(self, embedding: npt.ArrayLike) -> FloatReading:
        """Add the newest frame's embedding, shape (k,), and judge the rollout so far.

        Raises:
            EmbeddingMismatch: If k is not the demonstrations', or a value is not finite.
        """
        self._require_fit()
        transport = self._transport.append(_centered(embedding, self._center))
        self._nearest.append(transport.nearest)
        reading = self._judge(transport)
        self._history.append(reading.score)
        self._cooldown = max(self._cooldown - 1, 0)
        return reading

    def _require_fit(self) -> Calibration:
        if self._calibration is None:
            raise NotEnoughDemos("FLOAT has no demonstrations yet; call fit first.")
        return self._calibration

    def _judge(self, transport: FloatTransport) -> FloatReading:
        config, calibration = self.config, self._require_fit()
        step = len(self._nearest)
        values = np.array([transport.index, float(np.mean(self._nearest[-config.local_window :]))])
        if config.threshold == "global95":
            thresholds = np.array([calibration.global_threshold, np.inf])
            score = values[0] / max(calibration.global_threshold, 1e-12)
            scores = np.array([score, -np.inf])
        else:
            thresholds = calibration.thresholds(step)
            at = min(step, calibration.mean.shape[1]) - 1
            z = (values - calibration.mean[:, at]) / calibration.sd[:, at]
            scores = z / calibration.limit
            if not config.watches_local(len(self._demos)):
                thresholds[1], scores[1] = np.inf, -np.inf
        worst = int(np.argmax(scores))
        names: tuple[Statistic, Statistic] = ("index", "local")
        fired = names[worst] if values[worst] > thresholds[worst] else None
        return FloatReading(
            step=step,
            index=float(values[0]),
            threshold=float(thresholds[0]),
            local=float(values[1]),
            local_threshold=float(thresholds[1]),
            score=float(scores[worst]),
            fired=fired,
            triggered=fired is not None and self._cooldown == 0,
            argmin=transport.argmin,
            phase=transport.phase,
        )

    def save(self, path: Path) -> None:
        """Write demonstrations, calibration and configuration to an npz file, in one step.

        Raises:
            AgpsError: If it cannot be written; the old file is untouched.
        """
        c = self.calibration
        meta = {"config": asdict(self.config), "limit": c.limit, "global": c.global_threshold, "alpha": c.alpha}
        content = io.BytesIO()
        np.savez(
            content,
            meta=np.array(json.dumps(meta)),
            mean=c.mean,
            sd=c.sd,
            lengths=np.array([len(demo) for demo in self._demos]),
            demos=np.concatenate(self._demos),
        )
        write_atomically(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ConfigError: If the file holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                meta = json.loads(str(file["meta"]))
                demos = np.split(file["demos"], np.cumsum(file["lengths"])[:-1])
                calibration = Calibration(
                    mean=file["mean"],
                    sd=file["sd"],
                    limit=meta["limit"],
                    global_threshold=meta["global"],
                    alpha=meta["alpha"],
                )
            config = FloatConfig(**meta["config"])
        except (*_DAMAGE, ConfigError) as error:
            # What NumPy says of a file that is none of its own is advice to open it unsafely.
            reason = "" if "pickle" in str(error) else f" ({error})"
            raise ConfigError(f"{path} holds no saved FLOAT detector{reason}; fit one first.") from error
        return cls(config)._use(demos, calibration)


def leave_one_out_curves(demos: Sequence[npt.NDArray[np.float64]], config: FloatConfig) -> list[Curves]:
    """Return for each demonstration its (index, local) per step against all others. Shapes (2, n_d)."""
    center = _mean_embedding(demos) if config.center else None
    horizon = _horizon(demos, config)
    curves = []
    for left_out, demo in enumerate(demos):
        transport = _transport([d for n, d in enumerate(demos) if n != left_out], center, config, horizon)
        steps = [transport.append(_centered(frame, center)) for frame in demo]
        nearest = np.array([step.nearest for step in steps])
        curves.append(np.array([[step.index for step in steps], _moving_mean(nearest, config.local_window)]))
    return curves


def calibrate(curves: Sequence[Curves], config: FloatConfig) -> Calibration:
    """Return the band that a good rollout leaves anywhere with probability alpha, one-sided.

    Each curve is standardised by the others' mean and deviation; its largest excess over all steps (and both
    statistics) is one score; the limit is the ceil((n + 1)(1 - alpha))-th smallest score (split conformal prediction).

    Raises:
        NotEnoughDemos: If alpha is below 1 / (n + 1).
    """
    n = len(curves)
    alpha = max(0.05, 1.0 / (n + 1)) if config.alpha is None else config.alpha
    if alpha < 1.0 / (n + 1) - 1e-9:
        raise NotEnoughDemos(
            f"alpha = {alpha:g} needs {math.ceil(1.0 / alpha) - 1} demonstrations and there are {n}; "
            f"give more, or alpha >= {1.0 / (n + 1):.3f}."
        )
    length = max(curve.shape[1] for curve in curves)
    padded = np.stack([np.pad(c, ((0, 0), (0, length - c.shape[1])), mode="edge") for c in curves])  # (n, 2, L)
    watched = padded if config.watches_local(n) else padded[:, :1]
    scores = []
    for left_out in range(n):
        mean, sd = _band(np.delete(watched, left_out, axis=0), config.smoothing)
        scores.append(float(((watched[left_out] - mean) / sd)[:, min(config.warmup_steps, length - 1) :].max()))
    rank = min(math.ceil((n + 1) * (1.0 - alpha) - 1e-9), n)
    mean, sd = _band(padded, config.smoothing)
    finals = [curve[0, -1] for curve in curves]
    return Calibration(
        mean=mean,
        sd=sd,
        limit=max(sorted(scores)[rank - 1], 1e-6),
        global_threshold=float(np.percentile(finals, 95.0)),
        alpha=alpha,
    )


def _band(padded: Curves, smoothing: int) -> tuple[Curves, Curves]:
    """Return mean and smoothed deviation over the first axis of (n, S, L): each (S, L)."""
    mean = padded.mean(axis=0)
    sd = padded.std(axis=0, ddof=1) if len(padded) > 1 else np.zeros_like(mean)
    kernel = np.ones(smoothing)
    weight = np.convolve(np.ones(sd.shape[1]), kernel, mode="same")[: sd.shape[1]]
    smooth = np.stack([np.convolve(row, kernel, mode="same")[: sd.shape[1]] / weight for row in sd])
    # A step at which all demonstrations agree by chance must not become a hair trigger.
    floor = 0.25 * smooth.mean(axis=1, keepdims=True) + 1e-9
    return mean, np.maximum(smooth, floor)


def _moving_mean(values: npt.NDArray[np.float64], window: int) -> npt.NDArray[np.float64]:
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return np.asarray((total[ends] - total[starts]) / (ends - starts))


def _horizon(demos: Sequence[npt.NDArray[np.float64]], config: FloatConfig) -> int:
    return 2 * max(len(demo) for demo in demos) if config.horizon is None else config.horizon


def _mean_embedding(demos: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.asarray(np.concatenate(demos).mean(axis=0))


def _centered(embedding: npt.ArrayLike, center: npt.NDArray[np.float64] | None) -> npt.ArrayLike:
    if center is None:
        return embedding
    array = np.asarray(embedding, dtype=np.float64)
    if array.shape[-1:] != center.shape:
        raise EmbeddingMismatch(
            f"The embedding has shape {array.shape} and the demonstrations {len(center)} dimensions; "
            "encode both with one encoder."
        )
    return array - center


def _transport(
    demos: Sequence[npt.NDArray[np.float64]],
    center: npt.NDArray[np.float64] | None,
    config: FloatConfig,
    horizon: int,
) -> IncrementalFloatIndex:
    return IncrementalFloatIndex(
        [np.asarray(_centered(demo, center)) for demo in demos], index=config.index, horizon=horizon
    )
