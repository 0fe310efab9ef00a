"""The control loop over several environments that nobody supervises."""

from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from rl.finite import check_finite
from rl.loop import DIVERGED, Obs, Policy, Step, check_given, has_succeeded, transition_of, unbatch
from rl.reading import Reading
from rl.types import EpisodeOutcome, Transition


class SeveralLoop:
    """Steps all environments at once; each has episodes of its own."""

    active = None
    """Nobody intervenes."""
    disturb = None
    """Only guided actions are disturbed."""

    def __init__(self, env: VecEnv, *, policy: Policy, reading: Reading) -> None:
        self.episode = -1
        """Number of the newest episode, counting from 0 over all environments."""
        self._env, self._policy, self._reading = env, policy, reading
        self._obs: list[Obs] = []
        self._steps = [0] * env.num_envs
        self._numbers = [0] * env.num_envs

    def reset(self) -> None:
        """Reset all environments."""
        batched = self._env.reset()
        self._obs = [self._begin(batched, place) for place in range(self._env.num_envs)]

    def steps(self) -> list[Step]:
        """Advance each environment by one control step; what each produced, in their order."""
        actions = [self._policy(obs) for obs in self._obs]
        for place, action in enumerate(actions):
            when = f"at step {self._steps[place]} of environment {place}"
            check_finite({"action": action}, giver="The policy", when=when, advice=DIVERGED)
        own = np.stack([self._reading.own_action(action) for action in actions])
        batched, rewards, dones, infos = self._env.step(own)
        return [
            self._step(place, action, batched, float(rewards[place]), bool(dones[place]), dict(infos[place]))
            for place, action in enumerate(actions)
        ]

    def _step(
        self,
        place: int,
        action: npt.NDArray[np.float32],
        batched: Any,
        reward: float,
        done: bool,
        info: dict[str, Any],  # noqa: FBT001
    ) -> Step:
        when = f"at step {self._steps[place]} of environment {place}"
        transition = transition_of(
            self._reading, self._obs[place], action, batched, reward, done, info, when=when, place=place
        )
        begins = self._steps[place] == 0
        self._obs[place], self._steps[place] = transition.next_observation, self._steps[place] + 1
        outcome = self._end(place, transition, info) if done else None
        if done:
            self._obs[place] = self._begin(batched, place)
        return Step(transition=transition, info=info, outcome=outcome, meant=transition.action, begins_episode=begins)

    def _begin(self, batched: Any, place: int) -> Obs:
        self.episode += 1
        self._steps[place], self._numbers[place] = 0, self.episode
        obs = self._reading.observation(unbatch(batched, place))
        check_given(obs, f"at the start of an episode of environment {place}")
        return obs

    def _end(self, place: int, transition: Transition, info: dict[str, Any]) -> EpisodeOutcome:
        return EpisodeOutcome(
            episode=self._numbers[place],
            success=has_succeeded(transition, info),
            steps=self._steps[place],
            terminated=transition.terminated,
            truncated=transition.truncated,
            guided_steps=0,
            pruned_steps=0,
            final_robot=None,
        )
