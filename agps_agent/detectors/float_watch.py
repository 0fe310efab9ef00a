"""FLOAT as one of a run's failure detectors."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from agps_agent.detectors.base import FailureDetector, Reading
from agps_agent.detectors.float.detector import FloatConfig, FloatDetector, NotEnoughDemos
from agps_agent.detectors.float.transport import load_solver
from rl.types import FloatArray, Observation


class FloatWatch(FailureDetector):
    """Compares the embeddings of a rollout with those of good ones, see `FloatDetector`."""

    name: ClassVar[str] = "float"
    config_class: ClassVar[type[FloatConfig]] = FloatConfig

    def __init__(self, horizon: int, config: FloatConfig | None = None) -> None:
        """Watch rollouts of at most `horizon` control steps."""
        config = config or FloatConfig()
        # References that contain help may be as long as the horizon, and longer than twice the longest demonstration.
        self.config = config if config.horizon is not None else replace(config, horizon=horizon + 1)
        self._detector: FloatDetector | None = None
        self._own = 0
        """References that are rollouts of this run."""
        load_solver()  # now, not when the arm moves

    @property
    def min_references(self) -> int:
        """Fewest good rollouts that FLOAT is calibrated on."""
        return self.config.min_demos

    def note_own(self, rollouts: int) -> None:
        """Hear how many of the references are rollouts of this run."""
        self._own = rollouts

    def fit(self, references: Sequence[FloatArray]) -> bool:
        """Calibrate on good rollouts, if they are enough; where most are demonstrations the local term is left off."""
        config = self.config
        if config.local is None and 2 * self._own < len(references):
            config = replace(config, local=False)
        try:
            self._detector = FloatDetector(config).fit(references)
        except NotEnoughDemos:
            self._detector = None
        return self._detector is not None

    def reset(self) -> None:
        """Begin a new rollout."""
        self._fitted().reset()

    def update(self, observation: Observation, embedding: FloatArray) -> Reading:
        """Add the newest frame's embedding, shape (k,), and judge the rollout so far."""
        seen = self._fitted().update(embedding)
        return Reading(
            name=self.name,
            triggered=seen.triggered,
            index=seen.index,
            threshold=seen.threshold,
            score=seen.score,
            reason=seen.fired or "",
        )

    def rearm(self) -> None:
        """Cut the rollout back to where it still looked good, and wait for the cooldown."""
        self._fitted().rearm()

    def _fitted(self) -> FloatDetector:
        if self._detector is None:
            raise NotEnoughDemos("FLOAT has no demonstrations yet; call fit first.")
        return self._detector
