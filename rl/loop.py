"""The control loop: observe, review, act, step. Read this file first.

    observation --> supervisor.review --> Prune | Guide | Takeover | None
         |                                      |
         v                                      v
    policy action --------> guidance (project / follow / replace) --> environment (guard) --> transition

AGPS, SERL and HIL-SERL run this same loop with different supervisors. The action that is stored is the one that the
environment executed, after box, waypoint and guard.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from rl.errors import ConfigError
from rl.finite import check_finite
from rl.guidance import GuidanceConfig, WaypointFollower, project_action
from rl.supervisor import NullSupervisor, Supervisor
from rl.types import EpisodeOutcome, FloatArray, Guide, Intervention, Observation, Prune, Takeover, Transition

Policy = Callable[[Mapping[str, npt.NDArray[Any]]], npt.NDArray[np.float32]]
"""From an observation, as the environment gives it, to an action of shape (A,) in [-1, 1]."""
Confirm = Callable[[Guide, int], bool]
"""Whether somebody agrees that the waypoint of this number is approached now; the arm holds still until they say."""

DIVERGED = "The weights have diverged: go on from an earlier checkpoint, with a smaller learning_rate."


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one control step produced."""

    transition: Transition
    info: dict[str, Any]
    """The environment's info of this step."""
    outcome: EpisodeOutcome | None
    """Set on the last step of an episode."""
    begins_episode: bool = False
    """Its observation is the first one of an episode; the episode before may have been left unfinished."""


class RolloutLoop:
    """Runs one robot: one call of `step` is one control step."""

    def __init__(
        self,
        env: VecEnv,
        *,
        policy: Policy,
        supervisor: Supervisor | None = None,
        guidance: GuidanceConfig | None = None,
        rate_hz: float | None = None,
        confirm: Confirm | None = None,
    ) -> None:
        if env.num_envs != 1:
            raise ConfigError(f"The loop runs one robot, the environment has {env.num_envs}; pass n_envs=1.")
        self.supervisor: Supervisor = supervisor or NullSupervisor()
        self.episode = -1
        """Number of the running episode, counting from 0."""
        self._env = env
        self._policy = policy
        self._guidance = guidance or GuidanceConfig()
        self._period_s = None if rate_hz is None else 1.0 / rate_hz
        self._deadline_s = 0.0
        self._confirm = confirm
        self._confirmed = 0
        """Waypoint that was agreed to last; the first is agreed to by whoever returns a `Guide`."""
        self._obs: Mapping[str, npt.NDArray[Any]] = {}
        self._observation: Observation | None = None
        self._follower: WaypointFollower | None = None
        self._guide: Guide | None = None
        self._prune: Prune | None = None
        self._takeover: Takeover | None = None

    def reset(self) -> None:
        """Reset the environment and start an episode."""
        self._begin_episode(self._env.reset(), self._env.reset_infos[0])

    def restart(self) -> None:
        """Begin the running episode again, before its first step: somebody else has used the environment."""
        self.episode -= 1
        self.reset()

    def step(self) -> Step:
        """Advance by one control step; after the last step of an episode the next one has begun."""
        if self.episode < 0:
            self.reset()
        self._review()
        action, guided = self._choose_action()
        now = f"at step {self._steps} of episode {self.episode}"
        # What is not finite must reach neither the arm nor the memory: one such number is all that learning needs.
        giver, advice = ("Guidance", "Mend who guides.") if guided else ("The policy", DIVERGED)
        check_finite({"action": action}, giver=giver, when=now, advice=advice)
        self._wait_for_tick()
        next_obs, rewards, dones, infos = self._env.step(action[np.newaxis])
        info = dict(infos[0])

        done = bool(dones[0])
        truncated = bool(info.get("TimeLimit.truncated", False))
        last_obs = info["terminal_observation"] if done else _unbatch(next_obs)
        executed = np.asarray(info.get("executed_action", action), dtype=np.float32)
        _check_given({**last_obs, "reward": rewards[0], "executed_action": executed}, now)
        transition = Transition(
            observation=self._obs,
            action=executed,
            reward=float(rewards[0]),
            next_observation=last_obs,
            terminated=done and not truncated,
            truncated=truncated,
            guided=guided,
        )
        begins_episode = self._steps == 0
        self._steps += 1
        self._guided_steps += guided
        self._obs, self._observation = last_obs, info.get("observation")
        if not done:
            return Step(transition=transition, info=info, outcome=None, begins_episode=begins_episode)
        outcome = self._outcome(transition, info)
        self.supervisor.finish_episode(outcome)
        self._begin_episode(next_obs, self._env.reset_infos[0])
        return Step(transition=transition, info=info, outcome=outcome, begins_episode=begins_episode)

    def _begin_episode(self, batched_obs: Any, info: Mapping[str, Any]) -> None:
        self.episode += 1
        self._obs = _unbatch(batched_obs)
        _check_given(self._obs, f"at the start of episode {self.episode}")
        self._observation = info.get("observation")
        self._follower = self._guide = self._prune = self._takeover = None
        self._steps = self._guided_steps = self._pruned_steps = 0
        self._intervention_ids: list[str] = []
        if self._observation is not None:
            self.supervisor.start_episode(self.episode, self._observation)
        self._deadline_s = time.monotonic()

    @property
    def active(self) -> Intervention | None:
        """The intervention under way: a human's action of this step, waypoints being followed, the episode's box."""
        return self._takeover or self._guide or self._prune

    def _review(self) -> None:
        """Ask the supervisor; a new answer replaces the one of its kind."""
        if self._observation is None:  # an environment that is not ours: nobody can watch it
            return
        answer = self.supervisor.review(self._observation, active=self.active)
        self._takeover = None
        if answer is None:
            return
        if answer.id not in self._intervention_ids:  # each step of a stretch answers under the same name
            self._intervention_ids.append(answer.id)
        if isinstance(answer, Takeover):
            self._takeover, self._follower, self._guide = answer, None, None
        elif isinstance(answer, Prune):
            self._prune = answer
        else:
            self._guide, self._confirmed = answer, 0
            self._follower = WaypointFollower(
                answer,
                action_scale=self._env.get_attr("action_scale")[0],
                actions=self._env.action_space.shape[0],  # type: ignore[index]  # a Box, as every policy here needs
                config=self._guidance,
            )

    def _choose_action(self) -> tuple[FloatArray, bool]:
        """Return the action to send, and whether a human or a waypoint gave it."""
        if self._takeover is not None:
            return np.asarray(self._takeover.action, dtype=np.float32), True
        if self._follower is not None and self._observation is not None:
            waypoint_action = self._follower.next_action(self._observation)
            if waypoint_action is not None and self._is_agreed(self._follower.current):
                return waypoint_action.astype(np.float32), True
            self._follower = self._guide = None
        action: FloatArray = self._policy(self._obs)
        if self._prune is not None and self._observation is not None:
            action, changed = project_action(
                action,
                T_base_ref=self._observation.T_base_ref,
                box=self._prune.box,
                action_scale=self._env.get_attr("action_scale")[0],
            )
            self._pruned_steps += changed
        return action, False

    def _is_agreed(self, current: int) -> bool:
        """Return whether the waypoint that is approached may be; each is asked for once."""
        if self._confirm is None or self._guide is None or current <= self._confirmed:
            return True
        self._confirmed = current
        # Search waypoints are single control steps around the one before them.
        return self._guide.waypoints[current].motion == "search" or self._confirm(self._guide, current)

    def _wait_for_tick(self) -> None:
        """Keep the control rate on a robot; a late tick does not hurry the ones after it."""
        if self._period_s is None:
            return
        now = time.monotonic()
        if now < self._deadline_s:
            time.sleep(self._deadline_s - now)
        self._deadline_s = max(self._deadline_s, now) + self._period_s

    def _outcome(self, transition: Transition, info: Mapping[str, Any]) -> EpisodeOutcome:
        return EpisodeOutcome(
            episode=self.episode,
            success=bool(info.get("is_success", transition.terminated and transition.reward > 0)),
            terminated=transition.terminated,
            truncated=transition.truncated,
            steps=self._steps,
            guided_steps=self._guided_steps,
            pruned_steps=self._pruned_steps,
            final_robot=None if self._observation is None else self._observation.robot,
            intervention_ids=tuple(self._intervention_ids),
        )


def _check_given(values: Mapping[str, Any], when: str) -> None:
    check_finite(values, giver="The environment", when=when, advice="Mend the environment, or its sensor.")


def _unbatch(obs: Any) -> Mapping[str, npt.NDArray[Any]]:
    """Return the only environment's observation out of a vectorised one."""
    return {key: value[0] for key, value in obs.items()}
