import time
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from rl.envs import make_env
from rl.errors import ConfigError
from rl.loop import RolloutLoop
from rl.supervisor import NullSupervisor
from rl.transforms import apply_delta, pose
from rl.types import (
    Box,
    EpisodeOutcome,
    Guide,
    Intervention,
    InterventionEnd,
    Observation,
    Prune,
    RobotState,
    Takeover,
    Waypoint,
)

DOWN = np.diag([1.0, -1.0, -1.0])
START = pose(np.array([0.5, 0.0, 0.1]), DOWN)
SCALE = np.array([0.01, 0.01, 0.01, 0.06, 0.06, 0.06])


class PointArm(gym.Env):
    """An arm that is always where it was commanded; terminates below z = 0.05 m, truncates after `horizon` steps."""

    action_scale = SCALE

    def __init__(self, horizon: int = 20, wall_x: float = np.inf) -> None:
        self.horizon, self.wall_x = horizon, wall_x
        self.observation_space = gym.spaces.Dict({"state": gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)})
        self.action_space = gym.spaces.Box(-1, 1, (6,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.T, self.count = START, 0
        return self._obs(), self._info(np.zeros(6))

    def step(self, action):
        executed = np.clip(action, -0.9, 0.9)  # a guard that acts: what is executed is not what was sent
        executed[0] = min(executed[0], (self.wall_x - self.T[0, 3]) / SCALE[0])
        self.T, self.count = apply_delta(self.T, executed * SCALE), self.count + 1
        terminated = bool(self.T[2, 3] < 0.05)
        truncated = self.count >= self.horizon and not terminated
        return self._obs(), float(terminated), terminated, truncated, self._info(executed)

    def _obs(self):
        return {"state": self.T[:3, 3].astype(np.float32)}

    def _info(self, executed):
        robot = RobotState(T_base_tcp=self.T, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)
        observation = Observation(
            images={}, state=self._obs()["state"], robot=robot, T_base_ref=self.T, step=self.count
        )
        return {
            "observation": observation,
            "executed_action": executed.astype(np.float32),
            "is_success": bool(self.T[2, 3] < 0.05),
        }


class Scripted(NullSupervisor):
    """Answers with one intervention at one step of the first episode, and remembers what it was told."""

    def __init__(self, answer: Intervention, at_step: int) -> None:
        self.answer, self.at_step = answer, at_step
        self.outcomes: list[EpisodeOutcome] = []
        self.ends: list[InterventionEnd] = []
        self.starts = 0

    def start_episode(self, episode: int, observation: Observation) -> None:
        self.starts += 1

    def review(self, observation, *, active=None):
        return self.answer if observation.step == self.at_step and self.starts == 1 else None

    def note_end(self, end: InterventionEnd) -> None:
        self.ends.append(end)

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        self.outcomes.append(outcome)


def still(obs) -> np.ndarray:
    return np.zeros(6, np.float32)


def outward(obs) -> np.ndarray:
    return np.array([1, 0, 0, 0, 0, 0], np.float32)


def loop(policy=still, supervisor=None, horizon: int = 20, wall_x: float = np.inf, **options) -> RolloutLoop:
    env = DummyVecEnv([lambda: PointArm(horizon, wall_x)])
    return RolloutLoop(env, policy=policy, supervisor=supervisor, **options)


def run_episode(running: RolloutLoop):
    steps = [running.step()]
    while steps[-1].outcome is None:
        steps.append(running.step())
    return steps


def test_stored_action_is_the_executed_one():
    step = loop(policy=outward).step()
    np.testing.assert_allclose(step.transition.action, [0.9, 0, 0, 0, 0, 0], atol=1e-6)


def test_time_limit_truncates_and_does_not_terminate():
    last = run_episode(loop(horizon=5))[-1]
    assert (last.transition.terminated, last.transition.truncated) == (False, True)
    assert not last.outcome.success


def test_next_observation_of_the_last_step_belongs_to_its_own_episode():
    last = run_episode(loop(policy=outward, horizon=5))[-1]
    np.testing.assert_allclose(last.transition.next_observation["state"][0], 0.5 + 5 * 0.009, atol=1e-6)


def test_first_observation_after_an_episode_is_the_reset_one():
    running = loop(policy=outward, horizon=5)
    run_episode(running)
    np.testing.assert_allclose(running.step().transition.observation["state"], START[:3, 3], atol=1e-6)


def test_step_says_where_an_episode_begins_also_after_a_reset_in_the_middle():
    running = loop(horizon=3)
    begins = [running.step().begins_episode for _ in range(5)]
    running.reset()
    assert begins == [True, False, False, True, False]
    assert [running.step().begins_episode for _ in range(2)] == [True, False]


def test_waypoints_replace_the_policy_until_they_are_reached():
    down = pose(np.array([0.5, 0.0, 0.04]), DOWN)
    guide = Guide(waypoints=(Waypoint(T_base_tcp=down, gripper_opening=0.0),), max_steps=20, id="0001")
    supervisor = Scripted(guide, at_step=3)
    steps = run_episode(loop(supervisor=supervisor))
    assert [step.transition.guided for step in steps[:4]] == [False, False, False, True]
    assert supervisor.outcomes[0].success
    assert supervisor.outcomes[0].guided_steps == len(steps) - 3
    assert supervisor.outcomes[0].intervention_ids == ("0001",)


def test_box_confines_the_policy_to_the_end_of_the_episode_and_not_beyond():
    box = Box(lower=np.array([0.45, -0.1, 0.0]), upper=np.array([0.52, 0.1, 0.2]))
    supervisor = Scripted(Prune(box=box, id="0001"), at_step=0)
    running = loop(policy=outward, supervisor=supervisor, horizon=10)
    boxed = run_episode(running)
    free = run_episode(running)
    assert max(step.transition.next_observation["state"][0] for step in boxed) <= 0.52 + 1e-6
    assert free[-1].transition.next_observation["state"][0] > 0.58
    assert supervisor.outcomes[0].pruned_steps > 0
    assert supervisor.outcomes[1].pruned_steps == 0


class Hand(Scripted):
    """Pushes the arm down on the steps 3 to 5 of the first episode, and boxes it in from the start."""

    def __init__(self) -> None:
        super().__init__(Prune(box=Box(lower=np.array([0.45, -0.1, 0.095]), upper=np.ones(3)), id="box"), at_step=0)
        self.seen: list[Intervention | None] = []

    def review(self, observation, *, active=None):
        self.seen.append(active)
        if self.starts == 1 and 3 <= observation.step < 6:
            return Takeover(action=np.array([0, 0, -1, 0, 0, 0]), id="human-1")
        return super().review(observation, active=active)


def test_takeover_replaces_the_policy_for_its_own_step_and_is_guarded_and_counted():
    hand = Hand()
    steps = run_episode(loop(policy=outward, supervisor=hand, horizon=8))
    assert [step.transition.guided for step in steps] == [False] * 3 + [True] * 3 + [False] * 2
    np.testing.assert_allclose(steps[3].transition.action, [0, 0, -0.9, 0, 0, 0], atol=1e-6)  # guarded
    assert steps[5].transition.next_observation["state"][2] < 0.095  # a box confines the policy, not the human
    np.testing.assert_allclose(steps[6].transition.action[0], 0.9, atol=1e-6)
    assert (hand.outcomes[0].guided_steps, hand.outcomes[0].intervention_ids) == (3, ("box", "human-1"))
    assert [type(active) for active in hand.seen[1:8]] == [Prune] * 3 + [Takeover] * 3 + [Prune]


def test_takeover_ends_the_waypoints_that_were_being_followed():
    up = pose(np.array([0.5, 0.0, 0.2]), DOWN)

    class Impatient(Scripted):
        def review(self, observation, *, active=None):
            if observation.step == 3:
                return Takeover(action=np.zeros(6), id="human-1")
            return super().review(observation, active=active)

    guide = Guide(waypoints=(Waypoint(T_base_tcp=up, gripper_opening=0.0),), max_steps=20, id="0001")
    steps = run_episode(loop(supervisor=Impatient(guide, at_step=1), horizon=8))
    assert [step.transition.guided for step in steps] == [False, True, True, True, False, False, False, False]


def test_two_robots_in_one_loop_are_refused():
    with pytest.raises(ConfigError, match="n_envs=1"):
        RolloutLoop(DummyVecEnv([PointArm, PointArm]), policy=still)


def _guided_loop(env, *, confirm, motions=("free", "free", "free")):
    _, info = env.reset(seed=0)
    start = info["observation"].robot.T_base_tcp
    targets = [start.copy() for _ in motions]
    for k, target in enumerate(targets):
        target[2, 3] -= 0.02 * (k + 1)
    pairs = zip(targets, motions, strict=True)
    waypoints = tuple(Waypoint(T_base_tcp=T, gripper_opening=0.0, motion=motion) for T, motion in pairs)
    guide = Guide(waypoints=waypoints, max_steps=40, id="0001")
    supervisor = _AnswersOnce(guide)
    return RolloutLoop(DummyVecEnv([lambda: env]), policy=lambda _: np.zeros(6), supervisor=supervisor, confirm=confirm)


class _AnswersOnce(NullSupervisor):
    def __init__(self, answer):
        self.answer = answer

    def review(self, observation, *, active=None):
        answer, self.answer = self.answer, None
        return answer


def test_each_further_waypoint_is_asked_for_once():
    asked = []

    def confirm(guide, index):
        asked.append(index)
        return True

    loop = _guided_loop(make_env("usb_insertion", robot="fake"), confirm=confirm)
    assert sum(loop.step().transition.guided for _ in range(20)) > 5
    assert asked == [1, 2]


def test_refused_waypoint_ends_the_guidance():
    loop = _guided_loop(make_env("usb_insertion", robot="fake"), confirm=lambda guide, index: False)
    guided = [loop.step().transition.guided for _ in range(25)]
    assert guided[0] and not any(guided[guided.index(False) :])
    assert loop.active is None


def test_search_is_not_asked_for_step_by_step():
    asked = []
    motions = ("free", "search", "search")
    loop = _guided_loop(
        make_env("usb_insertion", robot="fake"), confirm=lambda guide, k: asked.append(k), motions=motions
    )
    for _ in range(25):
        loop.step()
    assert asked == []
    assert loop.active is None  # the search is over


def test_restarted_episode_keeps_its_number():
    env = make_env("usb_insertion", robot="fake", horizon=3)
    loop = RolloutLoop(DummyVecEnv([lambda: env]), policy=lambda _: np.zeros(6))
    while loop.step().outcome is None:
        pass
    number = loop.episode
    env.reset(seed=5)  # somebody else's episode
    loop.restart()
    assert loop.episode == number
    assert loop.step().info["episode_step"] == 1


def plan(*positions: tuple[float, float, float], max_steps: int = 50) -> Guide:
    waypoints = (Waypoint(T_base_tcp=pose(np.array(p), DOWN), gripper_opening=0.0) for p in positions)
    return Guide(waypoints=tuple(waypoints), max_steps=max_steps, id="0001")


def ends_of(supervisor: Scripted, **options) -> tuple[InterventionEnd, ...]:
    """How the interventions of one episode ended; it hears of each, and of all with the outcome."""
    run_episode(loop(supervisor=supervisor, **options))
    assert tuple(supervisor.ends) == supervisor.outcomes[0].interventions
    return supervisor.outcomes[0].interventions


def test_plan_that_was_followed_says_that_it_reached_its_end_and_when():
    (end,) = ends_of(Scripted(plan((0.518, 0.0, 0.1)), at_step=3))  # at 9 mm a step
    assert (end.id, end.kind, end.how, end.steps) == ("0001", "guide", "reached", 2)
    assert (end.waypoint, end.waypoints) == (0, 1)
    np.testing.assert_allclose(end.distance_m, 0.0, atol=1e-9)


def test_plan_that_is_blocked_says_how_far_from_which_waypoint():
    there_and_on = plan((0.509, 0.0, 0.1), (0.517, 0.0, 0.1))
    (end,) = ends_of(Scripted(there_and_on, at_step=0), horizon=30, wall_x=0.509)
    assert (end.how, end.waypoint, end.waypoints, end.steps) == ("blocked", 1, 2, 13)  # one to get there, 12 in vain
    np.testing.assert_allclose(end.distance_m, 0.008, atol=1e-9)


def test_plan_out_of_steps_refused_or_cut_off_by_the_episode_says_so():
    far = plan((0.59, 0.0, 0.1), (0.5, 0.0, 0.1), max_steps=4)
    (end,) = ends_of(Scripted(far, at_step=0))
    assert (end.how, end.steps) == ("budget", 4)
    (end,) = ends_of(Scripted(replace(far, max_steps=50), at_step=0), horizon=5)
    assert (end.how, end.steps) == ("episode_over", 5)
    near = plan((0.509, 0.0, 0.1), (0.5, 0.0, 0.1))
    (end,) = ends_of(Scripted(near, at_step=0), confirm=lambda guide, index: False)
    assert (end.how, end.steps, end.waypoint) == ("refused", 1, 1)


def test_box_says_how_often_it_acted_and_that_the_episode_ended_it():
    box = Prune(box=Box(lower=np.array([0.45, -0.1, 0.0]), upper=np.array([0.518, 0.1, 0.2])), id="0001")
    (end,) = ends_of(Scripted(box, at_step=0), policy=outward, horizon=10)
    assert (end.kind, end.how, end.steps, end.distance_m) == ("prune", "episode_over", 9, None)


def test_hand_ends_waypoints_and_is_released_itself():
    class Impatient(Scripted):
        def review(self, observation, *, active=None):
            if self.starts == 1 and 3 <= observation.step < 5:
                return Takeover(action=np.zeros(6), id="human-1")
            return super().review(observation, active=active)

    guide, hand = ends_of(Impatient(plan((0.5, 0.0, 0.2)), at_step=1), horizon=8)
    assert (guide.id, guide.how, guide.steps) == ("0001", "taken_over", 2)
    assert (hand.id, hand.kind, hand.how, hand.steps) == ("human-1", "takeover", "released", 2)


def test_new_plan_replaces_the_one_before():
    class Restless(Scripted):
        def review(self, observation, *, active=None):
            return replace(self.answer, id=f"{observation.step}") if observation.step < 2 else None

    first, second = ends_of(Restless(plan((0.5, 0.0, 0.2)), at_step=0), horizon=5)
    assert (first.id, first.how, first.steps) == ("0", "replaced", 1)
    assert (second.id, second.how, second.steps) == ("1", "episode_over", 4)


def test_end_is_told_before_the_next_review():
    class Listening(Scripted):
        heard = ()

        def review(self, observation, *, active=None):
            self.heard = (*self.heard, len(self.ends))
            return super().review(observation, active=active)

    supervisor = Listening(plan((0.509, 0.0, 0.1)), at_step=0)
    run_episode(loop(supervisor=supervisor, horizon=4))
    assert supervisor.heard[:4] == (0, 0, 1, 1)


def test_tick_is_waited_for_before_anybody_decides():
    decided: list[float] = []

    def policy(obs):
        decided.append(time.monotonic())
        return still(obs)

    running = loop(policy=policy, rate_hz=10.0)
    running.reset()
    began = time.monotonic()
    for _ in range(2):
        running.step()
    assert decided[1] - began >= 0.1


def test_disturbance_changes_what_guidance_sends_and_not_what_it_meant():
    far = Waypoint(T_base_tcp=pose(np.array([0.7, 0.0, 0.1]), DOWN), gripper_opening=0.0)
    guide = Guide(waypoints=(far,), max_steps=10)
    running = loop(supervisor=Scripted(guide, at_step=2), horizon=5)
    seen: list[tuple[int, int]] = []

    def half(action, episode, step):
        seen.append((episode, step))
        return 0.5 * action

    running.disturb = half
    steps = run_episode(running)
    assert [step.transition.guided for step in steps] == [False, False, True, True, True]
    assert [float(step.transition.action[0]) for step in steps] == pytest.approx([0, 0, 0.5, 0.5, 0.5])
    assert [float(step.meant[0]) for step in steps] == pytest.approx([0, 0, 1, 1, 1])
    assert seen == [(0, 3), (0, 4), (0, 5)]


def test_without_a_disturbance_what_was_executed_was_meant():
    for step in run_episode(loop(policy=outward, horizon=3)):
        np.testing.assert_array_equal(step.meant, step.transition.action)
        assert step.meant[0] == pytest.approx(0.9)  # as far as the guard let it
