"""Fit FLOAT on demonstrations and score it on held-out good and bad rollouts: what `agps float fit|eval` call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agps_agent.detectors.float.detector import FloatConfig, FloatDetector, FloatReading
from agps_agent.detectors.float.encoder import Embedding, Encoder
from rl.errors import ConfigError
from rl.types import ByteArray

ImageSequence = Mapping[str, ByteArray]
"""Images of one rollout by camera name, each (T, H, W, 3) uint8; other keys of an episode file are ignored."""


@dataclass(frozen=True, kw_only=True)
class RolloutScore:
    """What the detector said about one rollout."""

    good: bool
    """The rollout is labelled good."""
    score: float
    """Largest score over its steps; 1 is the threshold."""
    trigger_step: int | None
    """First frame, counting from 1, at which the agent would have been asked; None: never."""
    steps: int
    """Frames of the rollout."""
    index: tuple[float, ...]
    """lambda_t at each frame."""


@dataclass(frozen=True, kw_only=True)
class DetectorReport:
    """How well a detector tells bad rollouts from good ones."""

    auroc: float
    """Chance that a bad rollout's largest score is above a good one's. 0.5 is guessing."""
    auroc_early: float
    """The same over the first `early_steps` frames only: a long rollout is not yet known to be long."""
    early_steps: int
    """Frames that `auroc_early` looks at: the median length of the good rollouts."""
    false_alarm_rate: float
    """Share of good rollouts that would have asked the agent."""
    detection_rate: float
    """Share of bad rollouts that would have asked the agent."""
    median_trigger_step: float
    """Median frame of the first trigger in detected bad rollouts; not a number when there is none."""
    rollouts: tuple[RolloutScore, ...]
    """One per rollout, good ones first."""


def encode_rollout(encoder: Encoder, images: ImageSequence) -> Embedding:
    """Return the embeddings of a rollout's frames. Shape (T, k).

    Raises:
        ConfigError: If a camera of the encoder is missing.
    """
    missing = [camera for camera in encoder.cameras if camera not in images]
    if missing:
        raise ConfigError(f"The rollout has no images of {missing}; it has {sorted(images)}.")
    frames = len(images[encoder.cameras[0]])
    return encoder.encode_batch([{camera: images[camera][t] for camera in encoder.cameras} for t in range(frames)])


def fit_detector(demos: Sequence[ImageSequence], encoder: Encoder, config: FloatConfig | None = None) -> FloatDetector:
    """Return a detector calibrated on demonstrations.

    Raises:
        NotEnoughDemos: If there are fewer than the configuration needs.
    """
    return FloatDetector(config).fit([encode_rollout(encoder, demo) for demo in demos])


def evaluate_detector(
    detector: FloatDetector, encoder: Encoder, good: Sequence[ImageSequence], bad: Sequence[ImageSequence]
) -> DetectorReport:
    """Run the detector over held-out rollouts.

    Raises:
        ConfigError: If there are no good or no bad rollouts.
    """
    return evaluate_embeddings(
        detector,
        [encode_rollout(encoder, rollout) for rollout in good],
        [encode_rollout(encoder, rollout) for rollout in bad],
    )


def evaluate_embeddings(
    detector: FloatDetector, good: Sequence[npt.ArrayLike], bad: Sequence[npt.ArrayLike]
) -> DetectorReport:
    """Run the detector over embedded rollouts, each (T, k); see `evaluate_detector`."""
    if not good or not bad:
        raise ConfigError(f"{len(good)} good and {len(bad)} bad rollouts; the score needs at least one of each.")
    readings = [(label, watch(detector, rollout)) for label, group in ((True, good), (False, bad)) for rollout in group]
    scores = tuple(_score(label, steps) for label, steps in readings)
    early_steps = int(np.median([s.steps for s in scores if s.good]))
    early = [max(r.score for r in steps[:early_steps]) for _, steps in readings]
    labels = [s.good for s in scores]
    triggers = [s.trigger_step for s in scores if not s.good and s.trigger_step is not None]
    return DetectorReport(
        auroc=auroc(*_split([s.score for s in scores], labels)),
        auroc_early=auroc(*_split(early, labels)),
        early_steps=early_steps,
        false_alarm_rate=float(np.mean([s.trigger_step is not None for s in scores if s.good])),
        detection_rate=len(triggers) / len(bad),
        median_trigger_step=float(np.median(triggers)) if triggers else float("nan"),
        rollouts=scores,
    )


def watch(detector: FloatDetector, embeddings: npt.ArrayLike) -> list[FloatReading]:
    """Return what the detector says at each frame of a rollout that nobody corrects."""
    detector.reset()
    return [detector.update(embedding) for embedding in np.asarray(embeddings)]


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return the area under the ROC curve: the chance that a bad score is above a good one, ties counting half."""
    g, b = np.asarray(good, dtype=np.float64), np.asarray(bad, dtype=np.float64)
    if g.size == 0 or b.size == 0:
        raise ConfigError(f"{g.size} good and {b.size} bad scores; the area needs at least one of each.")
    return float(np.mean((b[:, None] > g).astype(np.float64) + 0.5 * (b[:, None] == g)))


def _score(good: bool, steps: Sequence[FloatReading]) -> RolloutScore:
    return RolloutScore(
        good=good,
        score=max(r.score for r in steps),
        trigger_step=next((r.step for r in steps if r.triggered), None),
        steps=len(steps),
        index=tuple(r.index for r in steps),
    )


def _split(values: Sequence[float], good: Sequence[bool]) -> tuple[list[float], list[float]]:
    pairs = list(zip(values, good, strict=True))
    return [v for v, g in pairs if g], [v for v, g in pairs if not g]
