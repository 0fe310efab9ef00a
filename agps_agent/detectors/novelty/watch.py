"""NoveltyWatch: what RND and logpZO share. A network learns the frames of good rollouts; a band says what is too new.

Both are the baselines of FAIL-Detect (arXiv:2503.08558): a score per frame, against a band over the steps of a rollout
that a good one leaves with probability alpha (functional conformal prediction). Here the band comes from the references
themselves: each is scored by a network that has not seen it, as FLOAT leaves out one demonstration at a time.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge
from torch import nn

from agps_agent.detectors.base import FailureDetector, Reading
from agps_agent.detectors.float.detector import Calibration, FloatConfig, NotEnoughDemos, calibrate
from agps_agent.detectors.float.transport import EmbeddingMismatch
from rl.bounds import Count, Positive, Seed, Whole, check_bounds
from rl.types import FloatArray, Observation

Score = Callable[[torch.Tensor], torch.Tensor]
"""From frames (n, d) in `FrameSpace` to how new each is, (n,)."""


@dataclass(frozen=True, kw_only=True)
class NoveltyConfig:
    """How the network learns, and when the detector fires."""

    updates: Count = 400
    """Updates of each network, 64 frames each."""
    width: Count = 128
    """Units of each hidden layer."""
    learning_rate: Positive = 2e-3
    """Of Adam, falling to zero."""
    components: Count = 24
    """Principal components of the references' frames that the network sees."""
    folds: Annotated[int, Ge(2)] = 5
    """Parts of the references; those of each are scored by a network that learned from the others."""
    alpha: float | None = None
    """Share of good rollouts that may be flagged. None: 0.05, or the smallest that so few references allow."""
    warmup_steps: Whole = 3
    """No trigger before this many frames: the arm has hardly moved."""
    cooldown_steps: Whole = 10
    """No trigger for this many frames after `rearm`."""
    min_demos: Annotated[int, Ge(2)] = 5
    """Fewest references that it is fitted on."""
    seed: Seed = 0
    """Of the networks and the order of the frames."""

    def __post_init__(self) -> None:
        """Check the fields once."""
        check_bounds(self)
        _ = self.band  # making it refuses an alpha that is none

    @property
    def band(self) -> FloatConfig:
        """The settings of the band, which is FLOAT's."""
        return FloatConfig(alpha=self.alpha, warmup_steps=self.warmup_steps)


class FrameSpace:
    """Where frames are compared: principal components of unit variance, and the distance from all of them."""

    def __init__(self, frames: npt.NDArray[np.float64], components: int) -> None:
        """Take the axes of some frames, (n, k)."""
        self._mean = frames.mean(axis=0)
        _, sizes, axes = np.linalg.svd(frames - self._mean, full_matrices=False)
        sizes = sizes / np.sqrt(len(frames))
        # Directions in which frames hardly differ would become as wide as the others, and are mostly noise.
        kept = max(int(np.sum(sizes[:components] > 0.02 * sizes[0])), 1)
        self._axes, self._sizes = axes[:kept], np.maximum(sizes[:kept], 1e-9)
        beyond = np.sqrt(np.sum(sizes[kept:] ** 2))
        self._beyond = max(float(beyond), 0.02 * float(self._sizes[0]), 1e-9)

    @property
    def dim(self) -> int:
        """Length d of a frame here."""
        return len(self._sizes) + 1

    def __call__(self, frames: npt.NDArray[np.float64]) -> torch.Tensor:
        """Return frames (n, k) as (n, d), the distance from the components last."""
        centred = frames - self._mean
        inside = centred @ self._axes.T
        beyond = np.linalg.norm(centred - inside @ self._axes, axis=1, keepdims=True)
        return torch.from_numpy(np.hstack([inside / self._sizes, beyond / self._beyond]).astype(np.float32))


@dataclass(frozen=True)
class _Learned:
    """A network that has learned some references."""

    space: FrameSpace
    score: Score

    def __call__(self, frames: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        with torch.no_grad():
            return self.score(self.space(frames)).double().numpy()


class NoveltyWatch(FailureDetector):
    """Fires where a frame is newer than those of good rollouts were at that step. A subclass says what is new."""

    config_class: ClassVar[type[NoveltyConfig]] = NoveltyConfig

    def __init__(self, horizon: int, config: NoveltyConfig | None = None) -> None:
        """Watch rollouts of at most `horizon` control steps."""
        self.config = config or NoveltyConfig()
        self._learned: _Learned | None = None
        self._calibration: Calibration | None = None
        self._frames = self._cooldown = 0

    @property
    def min_references(self) -> int:
        """Fewest good rollouts that it is fitted on."""
        return self.config.min_demos

    @abstractmethod
    def learn(self, frames: torch.Tensor) -> Score:
        """Learn frames of good rollouts, (n, d); torch's random state is this detector's own.

        Returns:
            What says how new frames are.
        """

    def fit(self, references: Sequence[FloatArray]) -> bool:
        """Learn the frames of good rollouts, and how new those of one are that was left out."""
        config = self.config
        if len(references) < config.min_demos:
            self._learned = None
            return False
        arrays = [np.asarray(reference, dtype=np.float64) for reference in references]
        curves: dict[int, npt.NDArray[np.float64]] = {}
        for fold in range(min(config.folds, len(arrays))):
            held_out = range(fold, len(arrays), config.folds)
            learned = self._learn([array for n, array in enumerate(arrays) if n not in held_out])
            curves |= {n: learned(arrays[n])[None] for n in held_out}
        self._calibration = calibrate([curves[n] for n in range(len(arrays))], config.band)
        self._learned = self._learn(arrays)
        self.reset()
        return True

    def reset(self) -> None:
        """Begin a new rollout."""
        self._frames, self._cooldown = 0, self.config.warmup_steps

    def update(self, observation: Observation, embedding: FloatArray) -> Reading:
        """Judge the newest frame by its embedding, shape (k,).

        Raises:
            NotEnoughDemos: Before it was fitted.
            EmbeddingMismatch: If a value is not finite.
        """
        if self._learned is None or self._calibration is None:
            raise NotEnoughDemos(f"The detector {self.name} has no references yet; call fit first.")
        if not np.all(np.isfinite(embedding)):
            raise EmbeddingMismatch("The embedding holds values that are not finite; check the camera and the encoder.")
        self._frames += 1
        band, at = self._calibration, min(self._frames, self._calibration.mean.shape[1]) - 1
        index = float(self._learned(np.asarray(embedding, dtype=np.float64)[None])[0])
        score = (index - float(band.mean[0, at])) / float(band.sd[0, at]) / band.limit
        ready, self._cooldown = self._cooldown == 0, max(self._cooldown - 1, 0)
        triggered = score > 1.0 and ready
        return Reading(
            name=self.name,
            triggered=triggered,
            index=index,
            threshold=float(band.thresholds(self._frames)[0]),
            score=score,
            reason="unlike good rollouts" if triggered else "",
        )

    def rearm(self) -> None:
        """Wait for the cooldown; a frame is judged by itself, so that there is nothing to forget."""
        self._cooldown = self.config.cooldown_steps

    def _learn(self, references: Sequence[npt.NDArray[np.float64]]) -> _Learned:
        frames = np.concatenate(references)
        space = FrameSpace(frames, self.config.components)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(self.config.seed)
            return _Learned(space, self.learn(space(frames)))


def train(
    parameters: Sequence[nn.Parameter],
    loss: Callable[[torch.Tensor], torch.Tensor],
    frames: torch.Tensor,
    config: NoveltyConfig,
) -> None:
    """Minimise a loss over batches of frames, (B, d), with Adam."""
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.updates)
    for _ in range(config.updates):
        batch = frames[torch.randint(len(frames), (64,))]
        optimizer.zero_grad()
        loss(batch).backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()
        slower.step()


def perceptron(inputs: int, width: int, outputs: int, *, hidden: int = 2) -> nn.Sequential:
    """Return a small network with smooth hidden layers."""
    layers: list[nn.Module] = []
    for _ in range(hidden):
        layers += [nn.Linear(inputs, width), nn.SiLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
