"""What a run measures on the way for its diagnosis: newest rollouts, their images, rewards and help."""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from agps_agent.run.config import RunConfig
from agps_agent.run.diagnosis import ENOUGH_IMAGES, LAG, Expected, Figures, expected_at
from agps_agent.run.simulation import SIMULATION
from rl.config import GuidedConfig
from rl.loop import Step
from rl.pixels.config import PixelConfig
from rl.tasks.registry import load_task
from rl.types import Observation

NEWEST = 20
"""Rollouts that shares are taken over."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What is kept of a training rollout."""

    rewarded: bool
    triggered: bool | None
    """None where no detector watches."""
    steps: int
    guided_steps: int
    contrast: dict[str, float]
    """Standard deviation over the last image by camera, of its liveliest channel, in grey levels of 255."""
    change: dict[str, float]
    """Mean change of the pixels from the first image to the last."""


@dataclass
class Measured:
    """Gathers what `Figures` say of the rollouts of a run."""

    newest: deque[Rollout] = field(default_factory=lambda: deque(maxlen=NEWEST))
    rollouts: int = 0
    rewarded: int = 0
    helped: int = 0
    helped_successes: int = 0
    rewards: tuple[float, float] | None = None
    """Smallest and largest reward of a step so far."""
    first_goal_error: tuple[float, int] | None = None
    """The first localisation error, [mm], and the control steps at which it was measured."""
    contact_force_peak_N: float | None = None
    """Largest contact force of the rollout so far, of the last one once it is over, [N]; None where none is
    measured."""
    _in_rollout: list[float] = field(default_factory=list)
    """Smallest and largest reward of the running rollout; empty before its first step."""
    _first_images: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)

    def see(self, step: Step) -> None:
        """Take note of a control step."""
        reward = step.transition.reward
        if step.begins_episode:
            self._in_rollout, self.contact_force_peak_N = [], None
            self._first_images = {name: image.copy() for name, image in _images(step.transition.observation).items()}
        seen = [*self._in_rollout, reward]
        self._in_rollout = [min(seen), max(seen)]
        extremes = [*(self.rewards or ()), reward]
        self.rewards = (min(extremes), max(extremes))
        seen_now = step.info.get("observation")
        if isinstance(seen_now, Observation):
            self.contact_force_peak_N = max(self.contact_force_peak_N or 0.0, seen_now.robot.contact_force_N)

    def finish(self, step: Step, *, triggered: bool | None) -> None:
        """Take note of the rollout that ended with a step."""
        outcome = step.outcome
        assert outcome is not None
        last, first = _images(step.transition.next_observation), self._first_images
        rollout = Rollout(
            rewarded=outcome.success or len(set(self._in_rollout)) > 1,
            triggered=triggered,
            steps=outcome.steps,
            guided_steps=outcome.guided_steps,
            contrast={name: float(image.std(axis=(0, 1)).max()) for name, image in last.items()},
            change={name: _change(first[name], image) for name, image in last.items() if name in first},
        )
        self._in_rollout, self._first_images = [], {}
        self.newest.append(rollout)
        self.rollouts += 1
        self.rewarded += rollout.rewarded
        self.helped += bool(outcome.intervention_ids)
        self.helped_successes += bool(outcome.intervention_ids) and outcome.success

    def figures(
        self,
        *,
        env_steps: int,
        config: RunConfig,
        learned: Mapping[str, float],
        evaluation: tuple[int, float] | None,
        unaided_success: float | None,
        expected: Expected,
        clip_target: tuple[float, float] | None,
    ) -> Figures:
        """Return what the run shows now.

        Args:
            env_steps: Control steps so far.
            config: The run's settings.
            learned: The learner's newest metrics.
            evaluation: Control steps and success of the newest evaluation of the policy alone.
            unaided_success: Success of the newest rollouts without help.
            expected: The recipe's curve.
            clip_target: To what the learner clamps its targets now; None where it does not.
        """
        low, high = possible_returns(config.algorithm_options, clip_target, self.rewards)
        error = learned.get("goal_error_mm")
        if error is not None and self.first_goal_error is None:
            self.first_goal_error = (error, env_steps)
        first_error, first_steps = self.first_goal_error or (None, 0)
        policy_steps, success = evaluation or (0, None)
        return Figures(
            env_steps=env_steps,
            max_env_steps=config.max_env_steps,
            policy_success=success,
            policy_steps=policy_steps,
            unaided_success=unaided_success,
            expected=None if success is None else expected_at(expected, policy_steps),
            expected_earlier=None if success is None else expected_at(expected, policy_steps / LAG),
            q_mean=learned.get("q_mean"),
            q_min=learned.get("q_min"),
            q_max=learned.get("q_max"),
            target_mean=learned.get("target_mean"),
            return_min=low,
            return_max=high,
            goal_error_mm=error,
            first_goal_error_mm=first_error,
            first_goal_error_steps=first_steps,
            **self._of_rollouts(),
        )

    def _of_rollouts(self) -> dict[str, Any]:
        count, steps = len(self.newest), sum(rollout.steps for rollout in self.newest)
        fired = [rollout.triggered for rollout in self.newest if rollout.triggered is not None]
        darkest_camera, darkest = self._least("contrast")
        stillest_camera, stillest = self._least("change")
        return {
            "rollouts": self.rollouts,
            "rewarded": self.rewarded,
            "reward_rate": sum(rollout.rewarded for rollout in self.newest) / count if count else None,
            "helped": self.helped,
            "helped_successes": self.helped_successes,
            "help_share": sum(rollout.guided_steps for rollout in self.newest) / steps if steps else None,
            "trigger_share": sum(fired) / len(fired) if fired else None,
            "darkest_camera": darkest_camera,
            "darkest": darkest,
            "stillest_camera": stillest_camera,
            "stillest": stillest,
        }

    def _least(self, what: str) -> tuple[str | None, float | None]:
        """Return the camera whose best image of the newest rollouts has least of something, and how much."""
        seen: dict[str, list[float]] = {}
        for rollout in self.newest:
            for name, value in getattr(rollout, what).items():
                seen.setdefault(name, []).append(value)
        best = {name: max(values) for name, values in seen.items() if len(values) >= ENOUGH_IMAGES}
        camera = min(best, key=lambda name: best[name], default=None)
        return camera, None if camera is None else best[camera]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: it begins with a fresh rollout."""
        return {
            "newest": [asdict(rollout) for rollout in self.newest],
            "rollouts": self.rollouts,
            "rewarded": self.rewarded,
            "helped": self.helped,
            "helped_successes": self.helped_successes,
            "rewards": self.rewards,
            "first_goal_error": self.first_goal_error,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.newest.extend(Rollout(**rollout) for rollout in state["newest"])
        for name in ("rollouts", "rewarded", "helped", "helped_successes", "rewards", "first_goal_error"):
            setattr(self, name, state[name])


def expected_of(config: RunConfig) -> Expected:
    """Return the curve that the task's recipe was measured with; none for a run of another kind."""
    if config.env is not None or config.task_options or config.robot != SIMULATION:
        return ()
    recipe = load_task(config.task).recipe
    return recipe.expected if config.method == recipe.method else ()


def possible_returns(
    config: GuidedConfig, clip_target: tuple[float, float] | None, rewards: tuple[float, float] | None
) -> tuple[float | None, float | None]:
    """Return the smallest and the largest discounted return, in units of `reward_scale`; None where nobody knows.

    `clip_target` says it. Without one no return leaves min(0, r_min) / (1 - gamma) to max(0, r_max) / (1 - gamma).

    Args:
        config: The algorithm's settings.
        clip_target: To what it clamps its targets: no more what the settings say, where returns beyond were seen.
        rewards: Smallest and largest reward of a step so far.
    """
    if not isinstance(config, PixelConfig):
        return None, None
    if clip_target is not None:
        return clip_target
    if rewards is None or rewards == (0.0, 0.0) or config.gamma >= 1.0:
        return None, None
    scale = config.reward_scale * (1.0 - config.gamma)
    return min(0.0, rewards[0]) / scale, max(0.0, rewards[1]) / scale


def _images(observation: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.uint8]]:
    return {name: value for name, value in observation.items() if value.dtype == np.uint8 and value.ndim == 3}


def _change(first: npt.NDArray[np.uint8], last: npt.NDArray[np.uint8]) -> float:
    return float(np.abs(last.astype(np.int16) - first.astype(np.int16)).mean())
