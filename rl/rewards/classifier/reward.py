"""The classifier as a reward: success is what it sees in a few frames in a row."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from rl.errors import ConfigError
from rl.rewards.base import Reward, Setting, Verdict, View
from rl.rewards.classifier.classifier import RewardClassifier

CONSECUTIVE = 2
"""Positive frames in a row that make a success."""


class SuccessClassifier(Protocol):
    """What judges an observation."""

    @property
    def task(self) -> str:
        """Task that it was fitted for."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras that it reads."""

    @property
    def image_size(self) -> int:
        """Side of the images that it reads, [px]."""

    @property
    def threshold(self) -> float:
        """Probability from which a frame counts as a success."""

    def probability(self, observation: Mapping[str, npt.NDArray[Any]]) -> float:
        """Return the probability of success of one observation."""


class ClassifierReward(Reward):
    """Success after `n` frames in a row that a classifier takes for one; it sees what the policy sees.

    Its note is `success_probability`, of the newest frame.
    """

    def __init__(self, setting: Setting, *, classifier: SuccessClassifier | None = None, n: int = CONSECUTIVE) -> None:
        """Judge with a classifier.

        Args:
            setting: Task and image size that it must be fitted for, and the file that it is read from.
            classifier: Judge in place of the file's.
            n: Positive frames in a row that make a success.

        Raises:
            ConfigError: If the file cannot be read, the classifier does not fit, or n is less than 1.
        """
        if n < 1:
            raise ConfigError(f"n is {n}; a success needs at least 1 positive frame.")
        if classifier is None:
            if setting.file is None:
                raise ConfigError("A classifier is read from a file; name it with --reward-model.")
            classifier = RewardClassifier.load(setting.file)
        cameras = tuple(camera.name for camera in setting.task.policy_cameras)
        for what, wanted, found in (
            ("task", setting.task.name, classifier.task),
            ("cameras", cameras, classifier.cameras),
            ("image size", setting.image_size, classifier.image_size),
        ):
            if wanted != found:
                raise ConfigError(f"The classifier was fitted for {what} {found}, not {wanted}; fit one for this run.")
        self.n = n
        self.classifier = classifier
        self._positives = 0

    def reset(self, view: View) -> None:
        """Begin an episode; its first frame does not count."""
        self._positives = 0

    def judge(self, view: View) -> Verdict:
        """Ask the classifier about the newest frame."""
        probability = self.classifier.probability(view.policy)
        self._positives = self._positives + 1 if probability >= self.classifier.threshold else 0
        return Verdict(success=self._positives >= self.n, notes={"success_probability": probability})

    def state_dict(self) -> dict[str, Any]:
        """Return the positives in a row so far."""
        return {"positives": self._positives}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._positives = state["positives"]
