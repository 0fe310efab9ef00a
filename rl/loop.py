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
from rl.guidance import GuidanceConfig
from rl.interventions import Confirm as Confirm
from rl.reading import Reading
from rl.supervised import SupervisedEpisode
from rl.supervisor import NullSupervisor, Supervisor
from rl.types import EpisodeOutcome, FloatArray, Intervention, Observation, Transition

Obs = Mapping[str, npt.NDArray[Any]]
"""What the policy sees, as the environment gives it."""
Policy = Callable[[Obs], npt.NDArray[np.float32]]
"""From what it sees to an action of shape (A,) in [-1, 1]."""

Disturb = Callable[[FloatArray, int, int], FloatArray]
"""From a guided action, its episode and its step to the action that is sent."""

DIVERGED = "The weights have diverged: go on from an earlier checkpoint, with a smaller learning_rate."


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one control step produced."""

    transition: Transition
    info: dict[str, Any]
    """The environment's info of this step."""
    outcome: EpisodeOutcome | None
    """Set on the last step of an episode."""
    observation: Observation | None = None
    """What was seen before it, for teachers; None from an environment that is not ours."""
    meant: FloatArray
    """The action before any disturbance; the one that was executed where there is none. Shape (A,)."""
    begins_episode: bool = False
    """Its observation is the first one of an episode; the episode before may have been left unfinished."""


@dataclass
class _Rollout:
    """What belongs to one episode."""

    obs: Obs
    """Newest one."""
    observation: Observation | None
    """The same for supervisors; None from an environment that is not ours: nobody can watch it."""
    supervised: SupervisedEpisode


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
        reading: Reading | None = None,
    ) -> None:
        if env.num_envs != 1:
            raise ConfigError(
                f"A supervisor watches one robot, and there are {env.num_envs} environments; "
                "pass one (n_envs=1), or no supervisor."
            )
        self.supervisor: Supervisor = supervisor or NullSupervisor()
        self.episode = -1
        """Number of the running episode, counting from 0."""
        self._env = env
        self._reading = reading or Reading(env.observation_space, env.action_space)
        self._policy = policy
        self.disturb: Disturb | None = None
        """What happens to guided actions on their way to the arm; None: nothing."""
        self._guidance = guidance
        self._confirm = confirm
        self._period_s = None if rate_hz is None else 1.0 / rate_hz
        self._deadline_s = 0.0
        self._rollout: _Rollout | None = None

    def reset(self) -> None:
        """Reset the environment and start an episode."""
        self._rollout = self._begin_episode(self._env.reset())

    def restart(self) -> None:
        """Begin the running episode again, before its first step: somebody else has used the environment."""
        self.episode -= 1
        self.reset()

    def step(self) -> Step:
        """Advance by one control step; after the last step of an episode the next one has begun."""
        if self._rollout is None:
            self._rollout = self._begin_episode(self._env.reset())
        rollout = self._rollout
        self._wait_for_tick()  # before anybody decides: a decision that waits for its tick is a stale one
        now = f"at step {rollout.supervised.steps} of episode {self.episode}"
        begins_episode, seen = rollout.supervised.steps == 0, rollout.observation
        action, guided = rollout.supervised.act(seen, lambda: self._policy(rollout.obs))
        # What is not finite must reach neither the arm nor the memory: one such number is all that learning needs.
        giver, advice = ("Guidance", "Mend who guides.") if guided else ("The policy", DIVERGED)
        check_finite({"action": action}, giver=giver, when=now, advice=advice)
        sent = action
        if guided and self.disturb is not None:
            sent = self.disturb(action, self.episode, rollout.supervised.steps)
        next_obs, rewards, dones, infos = self._env.step(self._reading.own_action(sent)[np.newaxis])
        info = dict(infos[0])

        done = bool(dones[0])
        transition = transition_of(
            self._reading, rollout.obs, sent, next_obs, float(rewards[0]), done, info, when=now, guided=guided
        )
        rollout.obs, rollout.observation = transition.next_observation, info.get("observation")
        outcome = None
        if done:
            outcome = rollout.supervised.finish(
                rollout.observation,
                success=has_succeeded(transition, info),
                terminated=transition.terminated,
                truncated=transition.truncated,
            )
            self._rollout = self._begin_episode(next_obs)
        return Step(
            transition=transition,
            info=info,
            outcome=outcome,
            observation=seen,
            meant=transition.action if sent is action else action,
            begins_episode=begins_episode,
        )

    @property
    def active(self) -> Intervention | None:
        """The intervention under way: a human's action of this step, waypoints being followed, the episode's box."""
        return None if self._rollout is None else self._rollout.supervised.active

    def _begin_episode(self, batched_obs: Any) -> _Rollout:
        self.episode += 1
        obs = self._reading.observation(unbatch(batched_obs, 0))
        observation = self._env.reset_infos[0].get("observation")
        check_given(obs, f"at the start of episode {self.episode}")
        supervised = SupervisedEpisode(
            self.supervisor,
            observation,
            number=self.episode,
            actions=self._reading.action_size,
            action_scale=self._action_scale,
            guidance=self._guidance,
            confirm=self._confirm,
        )
        self._deadline_s = time.monotonic()
        return _Rollout(obs=obs, observation=observation, supervised=supervised)

    def _action_scale(self) -> FloatArray:
        scale: FloatArray = self._env.get_attr("action_scale")[0]
        return scale

    def _wait_for_tick(self) -> None:
        """Keep the control rate on a robot; a late tick does not hurry the ones after it."""
        if self._period_s is None:
            return
        now = time.monotonic()
        if now < self._deadline_s:
            time.sleep(self._deadline_s - now)
        self._deadline_s = max(self._deadline_s, now) + self._period_s


def check_given(values: Mapping[str, Any], when: str) -> None:
    """Refuse what an environment gave, if a number in it is not finite."""
    check_finite(values, giver="The environment", when=when, advice="Mend the environment, or its sensor.")


def transition_of(
    reading: Reading,
    before: Obs,
    sent: FloatArray,
    batched: Any,
    reward: float,
    done: bool,  # noqa: FBT001
    info: Mapping[str, Any],
    *,
    when: str,
    place: int = 0,
    guided: bool = False,
) -> Transition:
    """Return what a vectorised environment's step did, as it is learned from.

    Args:
        reading: Brings observations and actions to what is learned from.
        before: What the action was chosen from.
        sent: The action, in [-1, 1]. Shape (A,).
        batched: What all environments gave; those that are done have been reset, and their last one is in `info`.
        reward: Of the step.
        done: Whether the episode is over.
        info: The environment's.
        when: Says which step it was, where something in it is not finite.
        place: Number of the environment.
        guided: Whether somebody else than the policy chose the action.

    Raises:
        ConfigError: If something that the environment gave is not finite.
    """
    truncated = bool(info.get("TimeLimit.truncated", False))
    last = reading.observation(info["terminal_observation"] if done else unbatch(batched, place))
    executed = executed_action(reading, info, sent)
    check_given({**last, "reward": reward, "executed_action": executed}, when)
    return Transition(
        observation=before,
        action=executed,
        reward=reward,
        next_observation=last,
        terminated=done and not truncated,
        truncated=truncated,
        guided=guided,
    )


def has_succeeded(transition: Transition, info: Mapping[str, Any]) -> bool:
    """Return whether an episode's last step ended it in success: as the environment says, else by a reward."""
    return bool(info.get("is_success", transition.terminated and transition.reward > 0))


def executed_action(reading: Reading, info: Mapping[str, Any], sent: FloatArray) -> npt.NDArray[np.float32]:
    """Return what was done in [-1, 1]: as the environment says in its own units, else what it was sent. Shape (A,)."""
    said = info.get("executed_action")
    return np.asarray(sent, np.float32) if said is None else reading.learned_action(said)


def unbatch(obs: Any, place: int) -> Any:
    """Return one environment's observation out of a vectorised one."""
    return {key: value[place] for key, value in obs.items()} if isinstance(obs, Mapping) else obs[place]
