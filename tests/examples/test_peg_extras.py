"""The detector and the reward of the package in examples/outside_task."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agps_agent.detectors import FailureDetector, Watch, make_detector
from agps_agent.detectors.base import load_detector
from rl.demonstrations import mistaken
from rl.envs import JudgedEnv, make_env
from rl.errors import ConfigError
from rl.rewards import Setting, make_reward
from rl.rollout import last_of, run_episode
from rl.tasks import get_task
from rl.types import Observation, RobotState

PACKAGE = Path("examples/outside_task").resolve()
FORCE = f"{PACKAGE}/agps_peg_in_hole/detector.py:ForceDetector"
DEPTH = "agps_peg_in_hole.reward:DepthReward"
EMBEDDING = np.zeros(4)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package on the search path, as if it were installed."""
    if not (PACKAGE / "agps_peg_in_hole" / "task.py").is_file():
        pytest.skip("the task of the package is not here")
    monkeypatch.syspath_prepend(str(PACKAGE))
    yield
    for name in [name for name in sys.modules if name.startswith("agps_peg_in_hole")]:
        del sys.modules[name]


def seen(step: int, *, force_N: float, z_m: float = 0.1) -> Observation:
    T_base_tcp = np.eye(4)
    T_base_tcp[2, 3] = z_m
    wrench = np.array([0.0, 0.0, force_N, 0.0, 0.0, 0.0])
    robot = RobotState(T_base_tcp=T_base_tcp, twist=np.zeros(6), wrench=wrench, gripper_opening=0.0)
    return Observation(images={}, state=np.zeros(0, np.float32), robot=robot, T_base_ref=T_base_tcp, step=step)


def fires(detector: FailureDetector, forces_N: list[float], *, slides_m: float = 0.0) -> list[int]:
    """Steps at which it fires; the arm moves down by `slides_m` per step."""
    steps = [seen(n, force_N=f, z_m=0.1 - slides_m * n) for n, f in enumerate(forces_N)]
    return [step.step for step in steps if detector.update(step, EMBEDDING).triggered]


@pytest.fixture
def force() -> FailureDetector:
    return make_detector(FORCE, horizon=50)


def test_peg_that_presses_for_three_steps_is_stuck(force: FailureDetector) -> None:
    assert fires(force, [0.0, 13.0, 13.0, 13.0, 13.0]) == [3, 4]


def test_knock_on_the_way_in_is_no_failure(force: FailureDetector) -> None:
    assert fires(force, [13.0, 13.0, 11.0, 13.0, 13.0]) == []


def test_peg_that_slides_home_may_press(force: FailureDetector) -> None:
    assert fires(force, [13.0] * 6, slides_m=0.002) == []


def test_help_gets_the_time_to_work(force: FailureDetector) -> None:
    force.rearm()
    assert fires(force, [13.0] * 12) == [10, 11]


def test_it_watches_beside_others(force: FailureDetector) -> None:
    watch = Watch([make_detector("stall", horizon=50), force], max_references=20)
    watch.reset()
    readings = [watch.update(seen(n, force_N=20.0), EMBEDDING) for n in range(4)]
    assert readings[2] is not None and readings[2].reason == "the peg is stuck and presses with 20 N"


def test_settings_out_of_bounds_are_refused() -> None:
    config = load_detector(FORCE).config_class  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="steps is 0; ask for at least 1"):
        config(steps=0)


@pytest.mark.usefixtures("package")
def test_reward_of_depth_agrees_with_the_truth_of_good_and_bad_rollouts() -> None:
    env = make_env("agps_peg_in_hole.task:PegInHole")
    judged = JudgedEnv(env, make_reward(DEPTH, Setting(task=env.task, image_size=env.image_size)))
    good = env.expert()
    bad = mistaken(good, env.task.landmarks, angle_rad=0.0, distance_m=0.005)
    for expert, succeeds in ((good, True), (bad, False)):
        last = last_of(run_episode(judged, lambda now, expert=expert: expert(now.observation, env.truth()), seed=0))
        assert last.info["is_success"] is succeeds and last.info["true_success"] is succeeds
        assert (last.info["depth_m"] >= env.task.success_depth_m) is succeeds
    judged.close()


@pytest.mark.usefixtures("package")
def test_reward_of_depth_refuses_another_task() -> None:
    with pytest.raises(ConfigError, match="knows peg_in_hole, not usb_insertion"):
        make_reward(DEPTH, Setting(task=get_task("usb_insertion"), image_size=64))
