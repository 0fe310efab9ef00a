"""Reward and termination from a reward that is not the environment's own."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import gymnasium
import numpy as np
import numpy.typing as npt

from rl.envs.manipulation import EnvSnapshot, ManipulationEnv
from rl.errors import AgpsError, HardwareFault, words_of
from rl.rewards.base import Reward, Verdict, View
from rl.types import Observation

T = TypeVar("T")


class JudgedEnv(gymnasium.Wrapper[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32], Any, Any]):
    """Ends an episode in success when a reward says so, at the control step at which it says it.

    Nothing that the policy is told comes from the simulator's truth: where the truth says success and the reward does
    not, the episode goes on, to the horizon at most; where only the reward does, the episode ends. Every info gains the
    reward's notes, and where somebody knows it `true_success` (the truth at this step, for reports); `is_success` is
    the verdict. An operator's key overrides it, and where the hardware failed there is no verdict (`rl.envs.robot`).
    """

    def __init__(self, env: ManipulationEnv, reward: Reward) -> None:
        """Put a reward over an environment."""
        super().__init__(env)
        self.reward = reward
        self.inner = env
        """The environment whose reward is its own."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Start an episode."""
        observation, info = self.inner.reset(seed=seed, options=options)
        with contextlib.suppress(HardwareFault):  # a camera's: the next control step ends the episode
            self._told(lambda: self.reward.reset(self._view(observation, info)), "at the start of an episode")
        return observation, {**info, **self._truth(info)}

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Advance by one control period and judge what is seen then."""
        observation, _, _, _, info = self.inner.step(action)
        key, fault = info.get("operator"), "fault" in info
        verdict = Verdict(success=False) if fault else self._judge(observation, info)
        success = (verdict.success or key == "success") and key != "fail"
        own = verdict.reward if success == verdict.success else None
        reward = self.inner.task.reward(success) if own is None else own
        # The inner environment does not truncate a step that is a true success.
        is_over = self._is_last(info) or fault or key == "fail"
        info = {**info, **self._truth(info), **verdict.notes, "is_success": success}
        return observation, float(reward), success, is_over and not success, info

    def close(self) -> None:
        """Release the reward, then the environment."""
        self.reward.close()
        super().close()

    def snapshot(self) -> tuple[EnvSnapshot, dict[str, Any]]:
        """Return this moment, with what the reward remembers of the episode."""
        return self.inner.snapshot(), self.reward.state_dict()

    def restore(self, snapshot: tuple[EnvSnapshot, dict[str, Any]]) -> tuple[dict[str, npt.NDArray[Any]], Observation]:
        """Go back to a snapshot; return what is observed there."""
        moment, state = snapshot
        self.reward.load_state_dict(state)
        return self.inner.restore(moment)

    def _judge(self, observation: dict[str, npt.NDArray[Any]], info: Mapping[str, Any]) -> Verdict:
        """Return the reward's verdict; none known yet, or none possible, is no success."""
        when = f"at step {info['episode_step']}"
        try:
            verdict = self._told(lambda: self.reward.judge(self._view(observation, info)), when)
        except HardwareFault:  # a camera failed, and the arm was stopped: the next control step ends the episode
            return Verdict(success=False)
        if verdict is not None and not isinstance(verdict, Verdict):
            raise AgpsError(f"The reward {self._name} said {verdict!r} {when}; return a Verdict, or None.")
        return verdict or Verdict(success=False)

    def _view(self, observation: dict[str, npt.NDArray[Any]], info: Mapping[str, Any]) -> View:
        return View(
            policy=observation,
            observation=info["observation"],
            is_last=self._is_last(info),
            own=bool(info["is_success"]),
            capture=self.inner.capture,
            hold=self.inner.pause,
        )

    def _told(self, act: Callable[[], T], when: str) -> T:
        """Return what the reward does; somebody else's mistake becomes a sentence that names it."""
        try:
            return act()
        except AgpsError:
            raise
        except Exception as error:
            raise AgpsError(
                f"The reward {self._name} failed {when} ({words_of(error)}); mend it, or use another."
            ) from error

    @property
    def _name(self) -> str:
        return type(self.reward).__name__

    def _is_last(self, info: Mapping[str, Any]) -> bool:
        return bool(info["episode_step"] >= self.inner.task.horizon)

    def _truth(self, info: Mapping[str, Any]) -> dict[str, bool]:
        return {"true_success": info["is_success"]} if self.inner.knows_truth else {}
