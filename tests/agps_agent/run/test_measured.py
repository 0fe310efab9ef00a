"""What a run notes of its rollouts."""

import json
from typing import Any

import numpy as np
import pytest

from agps_agent.run.config import RunConfig
from agps_agent.run.diagnosis import Figures
from agps_agent.run.measured import Measured, expected_of, possible_returns
from rl.drq.config import DrQConfig
from rl.loop import Step
from rl.types import EpisodeOutcome, Observation, RobotState, Transition

CHEQUERED = np.indices((8, 8)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) % 2 * 255
"""Half black, half white: standard deviation 127.5."""


def rollout(
    measured: Measured,
    rewards: list[float],
    *,
    success: bool = False,
    guided: int = 0,
    triggered: bool | None = None,
    images: tuple[np.ndarray, np.ndarray] | None = None,
    wrenches: list[list[float]] | None = None,
) -> None:
    """Show a rollout with a camera `side` from its first step to its last."""
    first, last = images or (CHEQUERED, 255 - CHEQUERED)
    ids = ("0001",) if guided else ()
    outcome = EpisodeOutcome(
        episode=0, success=success, terminated=success, truncated=not success, steps=len(rewards), guided_steps=guided,
        pruned_steps=0, final_robot=None, intervention_ids=ids,
    )  # fmt: skip
    for n, reward in enumerate(rewards):
        transition = Transition(
            observation={"side": first, "state": np.zeros(3, np.float32)},
            action=np.zeros(6, np.float32), reward=reward, next_observation={"side": last}, terminated=False,
            truncated=False, guided=False,
        )  # fmt: skip
        is_last = n == len(rewards) - 1
        ended = outcome if is_last else None
        info = {} if wrenches is None else {"observation": seen(wrenches[n])}
        step = Step(transition=transition, info=info, outcome=ended, meant=transition.action, begins_episode=n == 0)
        measured.see(step)
    measured.finish(step, triggered=triggered)


def seen(wrench: list[float]) -> Observation:
    """An observation in which the arm measures a wrench, [N], [N m]."""
    robot = RobotState(T_base_tcp=np.eye(4), twist=np.zeros(6), wrench=np.array(wrench, float), gripper_opening=0.0)
    return Observation(images={}, state=np.zeros(1, np.float32), robot=robot, T_base_ref=np.eye(4), step=0)


def figures_of(
    measured: Measured, *, env_steps: int = 0, learned: dict[str, float] | None = None, **more: Any
) -> Figures:
    config = RunConfig(task="usb_insertion", demos=0)
    about: dict[str, Any] = {"evaluation": None, "unaided_success": None, "expected": (), "clip_target": None, **more}
    return measured.figures(env_steps=env_steps, config=config, learned=learned or {}, **about)


def test_reward_is_seen_where_it_changes() -> None:
    """0 throughout and -0.1 throughout are no reward; 1 at the end is, and so is a success in one step."""
    measured = Measured()
    for rewards, success in (([0.0, 0.0], False), ([-0.1, -0.1], False), ([0.0, 1.0], True), ([1.0], True)):
        rollout(measured, rewards, success=success)
    figures = figures_of(measured)
    assert (figures.rollouts, figures.rewarded, figures.reward_rate) == (4, 2, 0.5)


def test_help_is_counted_over_the_run_and_its_steps_over_the_newest_20() -> None:
    measured = Measured()
    rollout(measured, [0.0] * 10, guided=5)
    for _ in range(19):
        rollout(measured, [0.0] * 10, guided=0)
    assert figures_of(measured).help_share == 5 / 200
    rollout(measured, [0.0, 1.0], success=True, guided=2)  # the first one is not among the newest any more
    figures = figures_of(measured)
    assert (figures.helped, figures.helped_successes, figures.help_share) == (2, 1, 2 / 192)


def test_triggers_are_unknown_where_nobody_watches() -> None:
    measured = Measured()
    rollout(measured, [0.0])
    assert figures_of(measured).trigger_share is None
    rollout(measured, [0.0], triggered=True)
    rollout(measured, [0.0], triggered=False)
    assert figures_of(measured).trigger_share == 0.5


def test_camera_is_judged_by_its_best_image_of_five_rollouts() -> None:
    grey, measured = np.full((8, 8, 3), 90, np.uint8), Measured()
    for _ in range(4):
        rollout(measured, [0.0], images=(grey, grey))
    assert figures_of(measured).darkest is None
    rollout(measured, [0.0], images=(grey, grey))
    figures = figures_of(measured)
    assert (figures.darkest_camera, figures.darkest, figures.stillest) == ("side", 0.0, 0.0)
    rollout(measured, [0.0])
    figures = figures_of(measured)
    assert (figures.darkest, figures.stillest) == (127.5, 255.0)


def test_coloured_wall_shows_nothing() -> None:
    wall = np.zeros((8, 8, 3), np.uint8)
    wall[..., 2] = 200
    measured = Measured()
    for _ in range(5):
        rollout(measured, [0.0], images=(wall, wall))
    assert figures_of(measured).darkest == 0.0


def test_figures_of_the_learner_are_taken_over_and_the_first_error_is_kept() -> None:
    measured = Measured()
    figures_of(measured, env_steps=300, learned={"goal_error_mm": 31.0})
    learned = {"q_mean": 0.5, "q_min": -0.25, "q_max": 0.75, "target_mean": 0.5, "goal_error_mm": 12.0}
    figures = figures_of(measured, env_steps=900, learned=learned, evaluation=(800, 0.5), expected=((1_000, 1.0),))
    assert (figures.q_min, figures.q_max, figures.goal_error_mm) == (-0.25, 0.75, 12.0)
    assert (figures.first_goal_error_mm, figures.first_goal_error_steps) == (31.0, 300)
    assert (figures.policy_success, figures.expected, figures.expected_earlier) == (0.5, 0.8, 0.4)


@pytest.mark.parametrize(
    ("config", "rewards", "expected"),
    [
        (DrQConfig(clip_target=(-0.5, 1.0)), (-0.1, 10.0), (-0.5, 1.0)),
        (DrQConfig(clip_target=None, gamma=0.9, reward_scale=2.0), (-1.0, 4.0), (-5.0, 20.0)),
        (DrQConfig(clip_target=None, gamma=0.9), (-1.0, -0.5), (-10.0, 0.0)),
        (DrQConfig(clip_target=None, gamma=1.0), (-1.0, 1.0), (None, None)),
        (DrQConfig(clip_target=None), None, (None, None)),
        (DrQConfig(clip_target=None), (0.0, 0.0), (None, None)),
    ],
)
def test_range_of_returns_by_hand(
    config: DrQConfig, rewards: tuple[float, float] | None, expected: tuple[float | None, float | None]
) -> None:
    assert possible_returns(config, config.clip_target, rewards) == pytest.approx(expected)


def test_range_that_rewards_have_switched_off_judges_no_values() -> None:
    """Rewards of -1 and 0 with gamma = 0.92: returns from -1 / 0.08 = -12.5 to 0, whatever the settings say."""
    config = DrQConfig(gamma=0.92)
    assert possible_returns(config, config.clip_target, (-1.0, 0.0)) == (0.0, 1.0)
    assert possible_returns(config, None, (-1.0, 0.0)) == pytest.approx((-12.5, 0.0))


def test_expected_curve_is_that_of_the_recipe_alone() -> None:
    assert expected_of(RunConfig(task="usb_insertion"))[-1] == (2_400, 0.95)
    assert expected_of(RunConfig(task="usb_insertion", method="serl")) == ()
    assert expected_of(RunConfig(task="usb_insertion", task_options={"clearance_mm": 0.2})) == ()
    assert expected_of(RunConfig(task="usb_insertion", robot="franka")) == ()


def test_what_was_noted_survives_a_checkpoint() -> None:
    measured, again = Measured(), Measured()
    for reward in (0.0, 1.0):
        rollout(measured, [0.0, reward], guided=1, triggered=True, success=reward > 0.0)
    figures_of(measured, env_steps=5, learned={"goal_error_mm": 9.0})
    again.load_state_dict(json.loads(json.dumps(measured.state_dict())))
    assert figures_of(again) == figures_of(measured)
    rollout(again, [0.0])
    assert figures_of(again).rollouts == 3


def test_largest_contact_force_is_that_of_one_rollout() -> None:
    """5 N of a force of 3 and 4 N; torques do not count; the next rollout begins anew, one without an arm has none."""
    measured = Measured()
    rollout(measured, [0.0, 0.0, 1.0], wrenches=[[1, 0, 0, 0, 0, 0], [0, 3, -4, 9, 9, 9], [2, 0, 0, 0, 0, 0]])
    assert measured.contact_force_peak_N == 5.0
    rollout(measured, [0.0], wrenches=[[0, 0, 2, 0, 0, 0]])
    assert measured.contact_force_peak_N == 2.0
    rollout(measured, [0.0])
    assert measured.contact_force_peak_N is None
