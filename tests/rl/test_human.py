from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rl.envs.factory import make_env
from rl.errors import ConfigError
from rl.human import SimulatedHuman, SimulatedHumanConfig
from rl.tasks.expert import make_expert
from rl.transforms import pose
from rl.types import FloatArray, Observation, RobotState

SCALE = np.array([0.01] * 3 + [0.06] * 3)
SOBER = SimulatedHumanConfig(
    reaction_s=0.0,
    near_speed=1.0,
    bias_m=0.0,
    tremor_m=0.0,
    tremor_rad=0.0,
    tired_slowing=0.0,
    tired_tremor=0.0,
    tired_oversight=0.0,
    notice=1.0,
    patience_s=0.5,
    explore_s=0.0,
    stretch_s=1.0,
    rewarded_share=0.0,
)
"""Nothing keeps this one from being the expert."""


class World:
    """A thing at 1 m along x that may move, an arm that moves as told, and an expert that always wants to go along x.

    Keeps what the expert was shown while the human had the arm.
    """

    def __init__(self) -> None:
        self.x_m = 0.0
        self.thing = np.array([1.0, 0.0, 0.0])
        self.step = 0
        self.shown: list[tuple[Observation, FloatArray]] = []

    def observation(self, opening: float = 1.0) -> Observation:
        T = pose(np.array([self.x_m, 0.0, 0.0]))
        robot = RobotState(T_base_tcp=T, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=opening)
        return Observation(images={}, state=np.zeros(1, np.float32), robot=robot, T_base_ref=T, step=self.step)

    def truth(self) -> dict[str, FloatArray]:
        return {"port": self.thing.copy(), "port_left": self.thing + [0, 0.01, 0], "plug_tip": np.zeros(3)}

    def expert(self, observation: Observation, truth) -> FloatArray:
        self.shown.append((observation, truth))
        return np.array([0.5, 0, 0, 0, 0, 0], np.float32)


def sit_down(world: World, config: SimulatedHumanConfig = SOBER, *, seed: int = 0, watched_s: float = 0.0):
    human = SimulatedHuman(expert=world.expert, truth=world.truth, action_scale=SCALE, config=config, seed=seed)
    human.load_state_dict({**human.state_dict(), "watched": round(10 * watched_s)})
    return human


def watch(
    human: SimulatedHuman,
    world: World,
    steps: int = 60,
    *,
    policy: Callable[[int], float] = lambda step: 0.0,
    success: bool = False,
) -> list[FloatArray | None]:
    """Run one rollout of a policy that says how far it goes along x, as an action; the human may replace it."""
    human.start_episode()
    actions = []
    world.x_m = 0.0
    for world.step in range(steps):
        action = human.read(world.observation())
        actions.append(action)
        world.x_m += SCALE[0] * (policy(world.step) if action is None else float(action[0]))
    human.finish_episode(success=success)
    return actions


def taken(actions: list[FloatArray | None]) -> list[int]:
    return [step for step, action in enumerate(actions) if action is not None]


def stretches(actions: list[FloatArray | None]) -> list[int]:
    """Return the lengths of the stretches."""
    marks = "".join(" " if action is None else "x" for action in actions)
    return [len(stretch) for stretch in marks.split()]


# --- when -------------------------------------------------------------------------------------------------------


def test_rollout_that_goes_nowhere_is_taken_over_once_patience_ends() -> None:
    world = World()
    assert taken(watch(sit_down(world), world))[0] == 5  # five motions of nothing, the first seen at step 1


@pytest.mark.parametrize(("pace", "taken_over"), [(0.5, False), (0.2, False), (0.05, True), (-0.5, True)])
def test_headway_is_the_share_of_the_wanted_motion_that_was_made(pace: float, taken_over: bool) -> None:
    world = World()
    assert bool(taken(watch(sit_down(world), world, policy=lambda step: pace))) is taken_over


def test_policy_explores_alone_at_first() -> None:
    world = World()
    assert taken(watch(sit_down(world, replace(SOBER, explore_s=2.0)), world))[0] == 20


def test_gripper_that_is_on_the_wrong_side_is_no_headway() -> None:
    human = SimulatedHuman(
        expert=lambda observation, truth: np.array([0, 0, 0, 0, 0, 0, -1.0]),
        truth=lambda: {},
        action_scale=SCALE,
        config=SOBER,
        seed=0,
    )
    world = World()
    for opening, taken_over in ((0.0, False), (1.0, True)):
        human.start_episode()
        for world.step in range(10):
            action = human.read(world.observation(opening))
        assert (action is not None) is taken_over


def test_share_of_failures_is_overlooked() -> None:
    world = World()
    human = sit_down(world, replace(SOBER, notice=0.7))
    noticed = np.mean([bool(taken(watch(human, world, steps=10))) for _ in range(400)])
    assert noticed == pytest.approx(0.7, abs=0.06)


def test_stretches_last_as_long_as_configured_and_the_policy_gets_its_turn_between() -> None:
    world = World()
    lengths = [n for seed in range(30) for n in stretches(watch(sit_down(world, seed=seed), world, 100))[:-1]]
    assert min(lengths) >= 5 and max(lengths) <= 15
    assert np.mean(lengths) == pytest.approx(10.0, abs=1.0)


def test_human_does_not_wait_for_exploration_while_too_few_rollouts_are_rewarded() -> None:
    world = World()
    human = sit_down(world, replace(SOBER, rewarded_share=1 / 3, explore_s=2.0, eager_s=0.3))
    assert [taken(watch(human, world, success=True))[0] for _ in range(2)] == [3, 20]


def test_human_goes_on_to_the_end_while_too_few_rollouts_are_rewarded() -> None:
    world = World()
    human = sit_down(world, replace(SOBER, rewarded_share=1 / 3))
    watch(human, world, success=False)
    assert stretches(watch(human, world, success=True)) == [55]
    assert len(stretches(watch(human, world))) > 1  # one of two was rewarded


# --- how --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reaction_s", "steps"), [(0.0, 0), (0.3, 3)])
def test_human_acts_on_what_was_there_a_reaction_time_ago_but_knows_its_own_hand(reaction_s: float, steps: int) -> None:
    world = World()
    human = sit_down(world, replace(SOBER, reaction_s=reaction_s, stretch_s=10.0))
    watch(human, world, steps=20)
    observation, _ = world.shown[-1]
    assert observation.step == 19 - steps
    np.testing.assert_allclose(observation.T_base_ref[0, 3], world.x_m - 0.005, atol=1e-9)


def test_lateness_between_two_steps_is_drawn_for_each_rollout() -> None:
    world = World()
    human = sit_down(world, replace(SOBER, reaction_s=0.23, stretch_s=10.0))
    ages = []
    for _ in range(200):
        watch(human, world, steps=20)
        ages.append(19 - world.shown[-1][0].step)
    assert set(ages) == {2, 3} and np.mean(ages) == pytest.approx(2.3, abs=0.1)


def test_what_moves_is_followed_and_what_stops_is_believed_to_go_on() -> None:
    world = World()
    human = sit_down(world, replace(SOBER, reaction_s=0.3, stretch_s=10.0))
    thing, arm = [], []
    for world.step in range(30):
        world.x_m = 0.001 * min(world.step, 20)
        world.thing = np.array([1.0 + world.x_m, 0.0, 0.0])
        human.read(world.observation())
        if world.shown:
            observation, truth = world.shown[-1]
        thing.append(truth["port"][0] if world.shown else np.nan)
        arm.append(observation.robot.T_base_tcp[0, 3] if world.shown else np.nan)
    # Three steps late, three steps of extrapolation; then it has stood still for three steps, and for long enough.
    assert (thing[18], thing[23], thing[29]) == pytest.approx((1.018, 1.023, 1.020))
    assert (arm[18], arm[23], arm[29]) == pytest.approx((0.018, 0.023, 0.020))


def test_bias_holds_through_a_stretch_and_is_drawn_anew_for_the_next() -> None:
    world = World()
    human = sit_down(world, replace(SOBER, bias_m=0.002))
    seen = []
    for _ in range(200):
        world.shown.clear()
        first = stretches(watch(human, world, steps=30))[0]
        shown = world.shown[5 : 5 + first]  # the five before told whether there was headway
        errors = np.array([truth["port"] - world.thing for _, truth in shown])
        np.testing.assert_allclose(errors, errors[:1].repeat(len(errors), 0), atol=1e-12)
        seen.append(errors[0])
    assert np.std(seen) == pytest.approx(0.002, rel=0.1)
    assert abs(np.mean(seen)) < 0.0003


def test_points_of_one_thing_are_misjudged_alike_and_those_of_two_are_not() -> None:
    world = World()
    watch(sit_down(world, replace(SOBER, bias_m=0.002)), world, steps=10)
    truth = world.shown[-1][1]
    np.testing.assert_allclose(truth["port_left"] - truth["port"], [0, 0.01, 0], atol=1e-12)
    assert np.linalg.norm(truth["port"] - truth["plug_tip"] - [1.0, 0.0, 0.0]) > 1e-4


def test_tremor_shakes_each_step_by_itself() -> None:
    world = World()
    human = sit_down(world, replace(SOBER, tremor_m=0.001, tremor_rad=0.003, stretch_s=200.0))
    actions = np.array([action for action in watch(human, world, steps=900) if action is not None])
    np.testing.assert_allclose(np.std(actions * SCALE, axis=0), [0.001] * 3 + [0.003] * 3, rtol=0.12)
    assert abs(np.corrcoef(actions[1:, 1], actions[:-1, 1])[0, 1]) < 0.1


@pytest.mark.parametrize(("wanted", "made"), [(0.05, 0.031), (0.5, 0.4), (1.0, 1.0)])
def test_small_motions_are_made_gently_and_large_ones_in_full(wanted: float, made: float) -> None:
    human = SimulatedHuman(
        expert=lambda observation, truth: np.array([wanted, 0, 0, 0, 0, 0, 1.0]),
        truth=lambda: {},
        action_scale=SCALE,
        config=replace(SOBER, near_speed=0.6, stretch_s=10.0),
        seed=0,
    )
    world = World()
    for world.step in range(10):
        action = human.read(world.observation())
    np.testing.assert_allclose(action, [made, 0, 0, 0, 0, 0, 1.0], atol=1e-4)


# --- over the session -------------------------------------------------------------------------------------------


def test_human_tires_by_63_percent_within_the_configured_time() -> None:
    world = World()
    human = sit_down(world, replace(SOBER, tiring_s=6.0))
    assert human.tiredness == 0.0
    watch(human, world, steps=60)
    assert human.tiredness == pytest.approx(1 - np.exp(-1))


def test_tired_human_reacts_later() -> None:
    config = replace(SOBER, reaction_s=0.3, tired_slowing=1.0, stretch_s=10.0)
    ages = []
    for watched_s in (0.0, 100_000.0):
        world = World()
        watch(sit_down(world, config, watched_s=watched_s), world, steps=30)
        ages.append(29 - world.shown[-1][0].step)
    assert ages == [3, 6]


def test_tired_human_shakes_more() -> None:
    config = replace(SOBER, tremor_m=0.0005, tired_tremor=1.0, stretch_s=200.0)
    spreads = []
    for watched_s in (0.0, 100_000.0):
        world = World()
        actions = watch(sit_down(world, config, watched_s=watched_s), world, steps=400)
        spreads.append(np.std([action[1] for action in actions if action is not None]))
    assert spreads[1] / spreads[0] == pytest.approx(2.0, rel=0.15)


def test_tired_human_overlooks_more() -> None:
    world = World()
    human = sit_down(world, replace(SOBER, tired_oversight=0.5), watched_s=100_000.0)
    noticed = np.mean([bool(taken(watch(human, world, steps=10))) for _ in range(300)])
    assert noticed == pytest.approx(0.5, abs=0.08)


def test_seed_fixes_every_error() -> None:
    def session(seed: int) -> list[FloatArray | None]:
        world = World()
        human = sit_down(world, SimulatedHumanConfig(), seed=seed)
        return [action for _ in range(5) for action in watch(human, world, steps=80)]

    assert all(a is b is None or np.array_equal(a, b) for a, b in zip(session(1), session(1), strict=True))
    assert any(
        (a is None) != (b is None) or not np.array_equal(a, b) for a, b in zip(session(1), session(2), strict=True)
    )


def test_resumed_session_goes_on_as_if_it_had_not_stopped() -> None:
    world = World()
    human = sit_down(world, SimulatedHumanConfig())
    watch(human, world)
    later = sit_down(world, SimulatedHumanConfig(), seed=9)
    later.load_state_dict(human.state_dict())
    for a, b in zip(watch(human, world), watch(later, world), strict=True):
        assert a is b is None or np.array_equal(a, b)


# --- with a task ------------------------------------------------------------------------------------------------


def test_human_who_has_the_arm_brings_the_plug_to_the_port() -> None:
    env = make_env("usb_insertion", robot="fake")
    config = SimulatedHumanConfig(explore_s=0.0, patience_s=0.1, notice=1.0, headway=1.0, rewarded_share=1.0)
    human = SimulatedHuman(
        expert=make_expert(env.task), truth=env.truth, action_scale=env.action_scale, config=config, seed=0
    )
    successes = []
    for seed in range(10):
        _, info = env.reset(seed=seed)
        human.start_episode()
        done = False
        while not done:
            action = human.read(info["observation"])
            _, _, terminated, truncated, info = env.step(np.zeros(6) if action is None else action)
            done = terminated or truncated
        successes.append(info["is_success"])
        human.finish_episode(success=False)
    assert sum(successes) >= 8  # a bias may bring the plug beside the port


@pytest.mark.parametrize("wrong", [{"notice": 1.2}, {"stretch_s": 0.0}, {"tremor_m": -0.1}, {"rewarded_window": 0}])
def test_number_that_nobody_has_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SimulatedHumanConfig(**wrong)
