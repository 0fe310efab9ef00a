"""Reward and termination from a learned classifier in place of the simulator's truth."""

from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from rl.envs.manipulation import EnvSnapshot, ManipulationEnv
from rl.errors import ConfigError
from rl.types import Observation

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


class ClassifierReward(gymnasium.Wrapper[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32], Any, Any]):
    """Ends an episode in success after `n` frames in a row that the classifier takes for one.

    Nothing that the policy is told comes from the simulator's truth: where the truth says success and the classifier
    does not, the episode goes on, to the horizon at most; where only the classifier does, the episode ends. Every info
    gains `success_probability`, and where somebody knows it `true_success` (the truth at this step, for reports);
    `is_success` is the verdict. The reward is what the task pays for the verdict. An operator's key overrides it, and
    where the hardware failed there is no verdict (`rl.envs.robot`).
    """

    def __init__(self, env: ManipulationEnv, classifier: SuccessClassifier, *, n: int = CONSECUTIVE) -> None:
        """Put a classifier over an environment.

        Args:
            env: Environment whose truth is replaced.
            classifier: Judge, fitted for the same task, cameras and image size.
            n: Positive frames in a row that make a success.

        Raises:
            ConfigError: If the classifier does not fit the environment, or n is less than 1.
        """
        super().__init__(env)
        if n < 1:
            raise ConfigError(f"n is {n}; a success needs at least 1 positive frame.")
        cameras = tuple(camera.name for camera in env.task.policy_cameras)
        for what, wanted, found in (
            ("task", env.task.name, classifier.task),
            ("cameras", cameras, classifier.cameras),
            ("image size", env.image_size, classifier.image_size),
        ):
            if wanted != found:
                raise ConfigError(f"The classifier was fitted for {what} {found}, not {wanted}; fit one for this run.")
        self.n = n
        self.classifier = classifier
        self.inner = env
        """The environment whose reward is the simulator's."""
        self._positives = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Start an episode; its first frame does not count."""
        observation, info = self.inner.reset(seed=seed, options=options)
        self._positives = 0
        return observation, {**info, **self._truth(info), "success_probability": 0.0}

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Advance by one control period and judge what is seen then."""
        observation, _, _, _, info = self.inner.step(action)
        key, fault = info.get("operator"), "fault" in info
        probability = 0.0 if fault else self.classifier.probability(observation)
        self._positives = self._positives + 1 if probability >= self.classifier.threshold else 0
        verdict = (self._positives >= self.n or key == "success") and key != "fail"
        # The inner environment does not truncate a step that is a true success.
        is_over = info["episode_step"] >= self.inner.task.horizon or fault or key == "fail"
        info = {**info, **self._truth(info), "is_success": verdict, "success_probability": probability}
        return observation, self.inner.task.reward(verdict), verdict, is_over and not verdict, info

    def _truth(self, info: Mapping[str, Any]) -> dict[str, bool]:
        return {"true_success": info["is_success"]} if self.inner.knows_truth else {}

    def snapshot(self) -> tuple[EnvSnapshot, int]:
        """Return this moment, with the positives in a row so far."""
        return self.inner.snapshot(), self._positives

    def restore(self, snapshot: tuple[EnvSnapshot, int]) -> tuple[dict[str, npt.NDArray[Any]], Observation]:
        """Go back to a snapshot; return what is observed there."""
        moment, self._positives = snapshot
        return self.inner.restore(moment)
