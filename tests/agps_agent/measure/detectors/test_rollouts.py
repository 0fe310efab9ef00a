"""Rollouts with a label: good ones succeed, bad ones go wrong at their onset and never succeed."""

from collections.abc import Iterator

import numpy as np
import pytest

from agps_agent.measure.detectors.mishaps import LIFTED_M, OPEN_STEPS, dropped, from_step, missed_grasp
from agps_agent.measure.detectors.rollouts import KINDS, RolloutMaker
from rl.errors import ConfigError
from rl.rollout import Moment
from rl.tasks import get_task
from rl.tasks.base import simulated
from tests.agps_agent.measure.detectors.synthetic import observation


@pytest.fixture(scope="module")
def usb() -> Iterator[RolloutMaker]:
    with RolloutMaker(simulated(get_task("usb_insertion", horizon=24)), image_size=16) as maker:
        maker.demonstrations(2)
        yield maker


def test_good_rollouts_end_in_success_and_the_same_seed_gives_the_same_one(usb: RolloutMaker) -> None:
    one, other = usb.make("good", "choosing", 1)[0], usb.make("good", "choosing", 1)[0]
    assert one.onset is None and len(one.observations) < 24
    assert all(a == b for a, b in zip(one.observations, other.observations, strict=True))


def test_splits_begin_elsewhere(usb: RolloutMaker) -> None:
    starts = [usb.make("good", split, 1)[0].observations[0] for split in ("choosing", "held_out")]
    assert np.abs(starts[0].robot.T_base_tcp - starts[1].robot.T_base_tcp).max() > 1e-3


@pytest.mark.parametrize("kind", ["drift", "stall", "wrong_region"])
def test_bad_rollout_is_good_until_its_onset_and_lasts_to_the_horizon(usb: RolloutMaker, kind: str) -> None:
    bad = usb.make(kind, "choosing", 1)[0]
    assert bad.kind == kind and bad.is_bad and 2 <= bad.onset <= 12 and len(bad.observations) == 25


def test_stalled_arm_stands_still_from_the_onset_on(usb: RolloutMaker) -> None:
    stalled = usb.make("stall", "choosing", 1)[0]
    places = np.array([seen.robot.T_base_tcp[:3, 3] for seen in stalled.observations])
    after = places[stalled.onset + 2 :]  # it takes the arm two steps to come to rest
    assert np.linalg.norm(after[-1] - after[0]) < 0.004 < np.linalg.norm(places[stalled.onset] - places[0])


def test_other_light_shows_in_the_picture_and_the_rollout_succeeds(usb: RolloutMaker) -> None:
    lit = usb.make("light", "choosing", 4)
    assert all(rollout.onset is None for rollout in lit)
    brightness = [np.mean(rollout.observations[0].images["wrist_1"]) for rollout in lit]
    assert max(brightness) - min(brightness) > 5.0


def test_task_without_a_gripper_drops_nothing(usb: RolloutMaker) -> None:
    assert usb.kinds == KINDS[:-2] and KINDS[-2:] == ("missed_grasp", "dropped")


def test_task_that_nobody_can_do_is_refused() -> None:
    with (
        RolloutMaker(simulated(get_task("usb_insertion", horizon=1)), image_size=16) as maker,
        pytest.raises(ConfigError, match="Only 0 of 25 attempts at usb_insertion became a rollout of the kind good"),
    ):
        maker.demonstrations(1)


@pytest.mark.parametrize("kind", ["missed_grasp", "dropped"])
def test_towel_that_is_not_held_is_not_folded_and_the_arm_goes_on(kind: str) -> None:
    with RolloutMaker(simulated(get_task("towel_folding")), image_size=16) as maker:
        bad = maker.make(kind, "choosing", 1)[0]
    openings = np.array([seen.robot.gripper_opening for seen in bad.observations])
    places = np.array([seen.robot.T_base_tcp[:3, 3] for seen in bad.observations])
    assert openings[bad.onset + 2] > 0.5 and np.ptp(places[bad.onset :, :2], axis=0).max() > 0.03


def carried() -> list[Moment]:
    """A good rollout of ten steps that closes at 2, has lifted at 5 and opens at 8."""
    commands = [1, 1, -1, -1, -1, -1, -1, -1, 1, 1]
    heights_m = [0.1, 0.05, 0.01, 0.01, 0.03, 0.02 + LIFTED_M, 0.1, 0.1, 0.1, 0.1, 0.1]
    moments = []
    for step, height_m in enumerate(heights_m):
        seen = observation(step)
        seen.robot.T_base_tcp[2, 3] = height_m
        action = np.zeros(7, np.float32) if step == 0 else np.array([0.5] * 6 + [commands[step - 1]], np.float32)
        moments.append(Moment(obs={}, info={"observation": seen, "executed_action": action}, step=step))
    return moments


def commands_of(act: object, steps: int) -> list[float]:
    return [float(act(Moment(obs={}, info={}, step=step))[6]) for step in range(steps)]


def test_missed_grasp_closes_in_the_air() -> None:
    onset, act = missed_grasp(carried(), np.random.default_rng(0))
    assert onset == 2
    assert commands_of(act, 12) == [1, 1, 1, 1, 1, -1, -1, -1, 1, 1, 0, 0]


def test_dropped_object_falls_between_lifting_and_letting_go() -> None:
    for seed in range(5):
        onset, act = dropped(carried(), np.random.default_rng(seed))
        commands = commands_of(act, 10)
        assert 5 <= onset < 8 and commands[:onset] == [1, 1, *[-1] * (onset - 2)]
        assert commands[onset : onset + OPEN_STEPS] == [1] * min(OPEN_STEPS, 10 - onset)


def test_rollout_that_grasps_nothing_cannot_drop_it() -> None:
    empty = [
        Moment(obs={}, info={"observation": observation(step), "executed_action": np.zeros(7)}, step=step)
        for step in range(4)
    ]
    assert dropped(empty, np.random.default_rng(0)) is None and missed_grasp(empty, np.random.default_rng(0)) is None


def test_another_acts_from_the_onset_on() -> None:
    act = from_step(3, lambda now: np.zeros(6), lambda now: np.ones(6))
    assert [act(Moment(obs={}, info={}, step=step))[0] for step in range(5)] == [0, 0, 0, 1, 1]
