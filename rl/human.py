"""A human for simulations: watches, takes the arm for a stretch, and is as late, imprecise and tired as people are.

Nobody to hold a SpaceMouse is at hand in a simulation, so the HIL-SERL baseline (arXiv:2410.21845) would have no human.
This one is made of the task's scripted expert and the simulator's truth, and of what keeps a person from being either.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.bounds import check_bounds
from rl.errors import ConfigError
from rl.supervisor import Hand
from rl.transforms import pose_difference
from rl.types import CONTROL_PERIOD_S, Expert, FloatArray, Observation


@dataclass(frozen=True, kw_only=True)
class SimulatedHumanConfig:
    """How late, imprecise, tired and inattentive the human is; what is good practice comes from HIL-SERL's authors."""

    reaction_s: float = 0.23
    """Age of what the human acts on, [s]: people press a button 0.23 s after a light (Woods et al. 2015), and steer
    with 0.2-0.3 s of effective delay (McRuer and Weir 1969). Rounded up or down to control steps in each rollout."""
    near_speed: float = 0.6
    """Share of the scripted expert's smallest motions that the human makes; it grows to all of a full one. Somebody who
    sees late moves gently near the goal, and pushes a SpaceMouse to its stop only far from it. Ours."""
    bias_m: float = 0.0005
    """Standard deviation per axis, [m], of how wrongly a stretch takes the place of each thing. Ours, so that somebody
    who has the arm throughout succeeds in 26 of 30 rollouts of USB insertion, 26 of knot hanging and 27 of towel
    folding, where the expert does in all."""
    tremor_m: float = 0.0003
    """Standard deviation of a step's translation from the intended one, per axis, [m]: 3 % of a full push, as hands
    in mid-air shake. Ours."""
    tremor_rad: float = 0.003
    """The same of rotations, [rad]: 5 % of a full turn. Ours."""

    tiring_s: float = 1800.0
    """Time of watching within which the human becomes tired by 63 %, [s]: half an hour is when vigilance has fallen
    (Mackworth 1948)."""
    tired_slowing: float = 0.15
    """Share by which somebody tired through and through reacts later. Ours, a tenth in half an hour."""
    tired_tremor: float = 0.5
    """Share by which somebody tired through and through shakes more and misjudges more."""
    tired_oversight: float = 0.2
    """Share of what would be noticed that somebody tired through and through does not notice: 10-15 % after half an
    hour (Mackworth 1948)."""

    notice: float = 0.85
    """Share of failing rollouts that the human, when fresh, notices: who watches a robot for an hour looks away."""
    patience_s: float = 1.5
    """Time without headway after which a rollout counts as failing, [s]. Also the pause between two stretches."""
    eager_s: float = 0.5
    """The same while too few rollouts are rewarded, [s]. Rollouts last 4 to 6 s here: whoever waits longer is too late
    to bring a success. Ours."""
    headway: float = 0.2
    """Less than this share of the motion that the human would make, on average over that time, is no headway."""
    explore_s: float = 2.0
    """Time that the policy has for itself at the start of a rollout, [s]: HIL-SERL lets it explore for 20 to 30 steps
    before helping."""
    stretch_s: float = 1.5
    """Average duration of a stretch, [s]; each is drawn between half and one and a half of it. HIL-SERL's authors
    advise against long interventions that bring the success themselves: values are then overestimated."""
    rewarded_share: float = 1 / 3
    """Least share of rollouts that should end in success (HIL-SERL): while it is lower, as at the start, the human does
    not wait for `explore_s`, has patience for `eager_s` only, and at the end of a stretch looks again and goes on."""
    rewarded_window: int = 9
    """Newest rollouts over which that share is taken: what somebody remembers. Ours."""

    def __post_init__(self) -> None:
        """Refuse what nobody can be."""
        check_bounds(self, "human.{}".format)
        for name in ("reaction_s", "bias_m", "tremor_m", "tremor_rad", "explore_s", "eager_s", "headway"):
            if getattr(self, name) < 0.0:
                raise ConfigError(f"human.{name} is {getattr(self, name)}; ask for at least 0.")
        for name in ("tired_slowing", "tired_tremor"):
            if getattr(self, name) < 0.0:
                raise ConfigError(f"human.{name} is {getattr(self, name)}; ask for at least 0.")
        for name in ("tiring_s", "patience_s", "stretch_s"):
            if getattr(self, name) <= 0.0:
                raise ConfigError(f"human.{name} is {getattr(self, name)}; ask for more than 0.")
        for name in ("near_speed", "tired_oversight", "notice", "rewarded_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"human.{name} is {getattr(self, name)}; ask for a value in [0, 1].")
        if self.rewarded_window < 1:
            raise ConfigError(f"human.rewarded_window is {self.rewarded_window}; ask for at least 1.")


@dataclass(frozen=True)
class _Glimpse:
    """What there was to see at one control step."""

    observation: Observation
    truth: Mapping[str, FloatArray]


class SimulatedHuman(Hand):
    """Takes the arm for a stretch where a rollout makes no headway, and steers as the scripted expert would.

    The human sees arm and scene `reaction_s` late and takes for granted that they went on moving as they did; knows
    where it has sent the arm itself; misjudges by a constant per thing and stretch; shakes; tires; and overlooks some
    failures. A thing is what has one first word in the names of the simulator's points: `port`, `port_left` are one.

    Headway is measured with the expert alone: how much of the motion that the expert would have made the arm made.
    """

    def __init__(
        self,
        *,
        expert: Expert,
        truth: Callable[[], Mapping[str, FloatArray]],
        action_scale: FloatArray,
        config: SimulatedHumanConfig | None = None,
        period_s: float = CONTROL_PERIOD_S,
        seed: int,
    ) -> None:
        """Sit down fresh.

        Args:
            expert: How to do the task, of an observation and the truth.
            truth: The simulator's named points now, base frame, each (3,), [m].
            action_scale: Translation [m] and rotation [rad] of a unit action. Shape (6,).
            config: What keeps the human from being the expert.
            period_s: Duration of a control step, [s].
            seed: Fixes every error.
        """
        self.config = config or SimulatedHumanConfig()
        self._expert = expert
        self._truth = truth
        self._scale = np.asarray(action_scale, dtype=np.float64)
        self._period_s = period_s
        self._rng = np.random.default_rng(seed)
        self._watched = 0
        """Control steps since the human sat down."""
        self._rewarded: deque[bool] = deque(maxlen=self.config.rewarded_window)
        self.start_episode()

    @property
    def tiredness(self) -> float:
        """0 fresh, 1 tired through and through: 1 - exp(-time watched / tiring_s)."""
        return 1.0 - float(np.exp(-self._watched * self._period_s / self.config.tiring_s))

    def start_episode(self) -> None:
        """Draw how late the human is in this rollout, and whether a failure would be noticed."""
        config = self.config
        reaction_s = config.reaction_s * (1.0 + config.tired_slowing * self.tiredness)
        self._delay = int(round(reaction_s / self._period_s, 9) + self._rng.random())
        self._watches = bool(self._rng.random() < config.notice * (1.0 - config.tired_oversight * self.tiredness))
        self._seen: deque[_Glimpse] = deque(maxlen=2 * self._delay + 2)
        self._headways: deque[float] = deque(maxlen=max(self._steps(max(config.patience_s, config.eager_s)), 1))
        self._holds, self._steps_left = False, 0
        self._bias: dict[str, FloatArray] = {}

    def read(self, observation: Observation) -> FloatArray | None:
        """Return the action of a stretch, shape (A,), in [-1, 1]; None while the policy may go on."""
        self._watched += 1
        self._seen.append(_Glimpse(observation, self._truth()))
        if self._steps_left == 0:
            if not self._takes_or_keeps_the_arm(observation.step):
                return None
            self._look_anew()
        self._steps_left -= 1
        return self._steer(observation)

    def finish_episode(self, *, success: bool) -> None:
        """Remember whether the rollout was rewarded."""
        self._rewarded.append(success)

    def state_dict(self) -> dict[str, Any]:
        """Return how long the human has been sitting there, what it remembers and its random state."""
        return {"watched": self._watched, "rewarded": list(self._rewarded), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._watched = state["watched"]
        self._rewarded.clear()
        self._rewarded.extend(state["rewarded"])
        self._rng.bit_generator.state = state["rng"]

    def _steps(self, seconds: float) -> int:
        return round(seconds / self._period_s)

    def _glimpse(self, steps_ago: int) -> _Glimpse:
        return self._seen[-1 - min(steps_ago, len(self._seen) - 1)]

    def _is_stuck(self, steps: int) -> bool:
        """Return whether there was too little headway in the last steps."""
        newest = list(self._headways)[-steps:]
        return len(newest) == steps and float(np.mean(newest)) < self.config.headway

    def _judge_headway(self) -> None:
        """Compare what the arm did a moment ago with what the human would have done.

        Headway of a step = <moved, wanted> / <wanted, wanted> in [-1, 1], motions in units of an action; 0 while the
        gripper is not where it is wanted, 1 where nothing is wanted.
        """
        if len(self._seen) < self._delay + 2:
            return
        before, after = self._glimpse(self._delay + 1), self._glimpse(self._delay)
        wanted = self._expert(before.observation, before.truth)
        moved = pose_difference(before.observation.robot.T_base_tcp, after.observation.robot.T_base_tcp) / self._scale
        effort = float(wanted[:6] @ wanted[:6])
        if _toggles_gripper(wanted, before.observation.robot.gripper_opening):
            headway = 0.0
        elif effort < 1e-3:
            headway = 1.0
        else:
            headway = float(np.clip(moved @ wanted[:6] / effort, -1.0, 1.0))
        self._headways.append(headway)

    def _takes_or_keeps_the_arm(self, step: int) -> bool:
        """Decide whether the hand is on the arm from this step on."""
        too_few_rewards = sum(self._rewarded) < self.config.rewarded_share * max(len(self._rewarded), 1)
        if self._holds:
            self._holds = too_few_rewards
        elif self._watches:
            self._judge_headway()
            config = self.config
            explore_s, patience_s = (0.0, config.eager_s) if too_few_rewards else (config.explore_s, config.patience_s)
            self._holds = step >= self._steps(explore_s) and self._is_stuck(max(self._steps(patience_s), 1))
        return self._holds

    def _look_anew(self) -> None:
        """Draw how long the stretch lasts and how wrongly the scene is seen in it."""
        config = self.config
        self._steps_left = max(self._steps(config.stretch_s * self._rng.uniform(0.5, 1.5)), 1)
        things = sorted({_thing(name) for name in self._glimpse(0).truth})
        spread = config.bias_m * (1.0 + config.tired_tremor * self.tiredness)
        self._bias = {thing: self._rng.normal(0.0, spread, 3) for thing in things}
        self._headways.clear()

    def _steer(self, observation: Observation) -> npt.NDArray[np.float32]:
        """Return the expert's action on what the human believes, slowed down and shaken."""
        late, before = self._glimpse(self._delay), self._glimpse(2 * self._delay)
        scene = {
            name: point + (point - before.truth[name]) + self._bias[_thing(name)] for name, point in late.truth.items()
        }
        arm = late.observation.robot
        T_base_tcp = arm.T_base_tcp.copy()
        T_base_tcp[:3, 3] += arm.T_base_tcp[:3, 3] - before.observation.robot.T_base_tcp[:3, 3]
        believed = replace(
            late.observation, robot=replace(arm, T_base_tcp=T_base_tcp), T_base_ref=observation.T_base_ref
        )
        wanted = self._expert(believed, scene)
        config, tiredness = self.config, self.tiredness
        spread = np.array([config.tremor_m] * 3 + [config.tremor_rad] * 3) * (1.0 + config.tired_tremor * tiredness)
        action = np.array(wanted, dtype=np.float64)
        haste = float(np.max(np.abs(action[:6])))
        gain = config.near_speed + (1.0 - config.near_speed) * haste
        action[:6] = gain * action[:6] + self._rng.normal(0.0, spread) / self._scale
        return np.clip(action, -1.0, 1.0).astype(np.float32)


def _thing(point: str) -> str:
    return point.split("_")[0]


def _toggles_gripper(wanted: FloatArray, opening: float) -> bool:
    """Return whether an action commands the gripper to the other side of where it is."""
    return len(wanted) > 6 and abs(wanted[6]) > 0.5 and (wanted[6] > 0) != (opening > 0.5)
