import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rl.envs.manipulation import ManipulationEnv
from rl.envs.robot import RobotEnv, Ticks, limits_at
from rl.errors import ConfigError, HardwareFault
from rl.robots.fake import FakeBackend
from rl.tasks import get_task
from rl.types import Box
from tests.clocks import MovedClock
from tests.rl.envs.robots import FailingBackend, Typed
from tests.rl.envs.test_classified import Scripted, judged

HOLD = np.zeros(6, np.float32)


def robot(*, keys=None, knows_truth=False, limits=None, **backend):
    task = get_task("usb_insertion", horizon=5)
    return RobotEnv(
        task, FailingBackend(task, **backend), knows_truth=knows_truth, keys=keys, limits=limits, settle_s=0.0
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_environment_passes_the_public_checker():
    check_env(robot(), skip_render_check=True)


def test_arm_without_faults_behaves_as_in_simulation():
    task = get_task("usb_insertion")
    real, simulated = RobotEnv(task, FailingBackend(task), knows_truth=True), ManipulationEnv(task, FakeBackend(task))
    real.action_space.seed(0)
    for env in (real, simulated):
        env.reset(seed=3)
    for _ in range(5):
        action = real.action_space.sample()
        a, b = real.step(action), simulated.step(action)
        np.testing.assert_array_equal(a[0]["state"], b[0]["state"])
        assert a[1:4] == b[1:4]


def test_fault_truncates_the_episode_with_its_last_observation():
    env = robot(fail_at=[3])
    env.reset(seed=0)
    for _ in range(2):
        before, *_ = env.step(np.full(6, 0.5, np.float32))
    after, reward, terminated, truncated, info = env.step(np.full(6, 0.5, np.float32))
    assert (reward, terminated, truncated) == (0.0, False, True)
    np.testing.assert_array_equal(after["state"], before["state"])
    assert not info["executed_action"].any()
    assert "reflex" in info["fault"]


def test_reset_after_a_fault_recovers_the_arm_and_goes_on():
    env = robot(fail_at=[1])
    env.reset(seed=0)
    env.step(HOLD)
    env.reset()
    assert env.robot_backend.calls["recover"] == 1
    assert "fault" not in env.step(HOLD)[-1]
    assert env.metrics()["faults"] == env.metrics()["recoveries"] == 1.0


def test_arm_that_is_not_recovered_is_told_by_the_next_step():
    env = robot(fail_at=[1], unrecoverable=True)
    env.reset(seed=0)
    last, *_ = env.step(HOLD)
    observation, _ = env.reset()
    np.testing.assert_array_equal(observation["state"], last["state"])
    with pytest.raises(HardwareFault, match="3 times"):
        env.step(HOLD)


def test_arm_is_held_from_a_pause_to_the_next_step():
    env = robot()
    env.reset(seed=0)
    env.step(HOLD)
    env.pause()
    assert env.robot_backend.log[-1] == "pause"
    env.step(HOLD)
    assert env.robot_backend.log[-2:] == ["resume", "command"]


@pytest.mark.parametrize(("key", "terminated"), [("success", True), ("fail", False)])
def test_key_judges_the_episode(key, terminated):
    env = robot(keys=Typed(**{key: 2}))
    env.reset(seed=0)
    assert not any(env.step(HOLD)[2:4])
    _, reward, ended, truncated, info = env.step(HOLD)
    assert (ended, truncated, info["is_success"]) == (terminated, not terminated, terminated)
    assert (reward > 0) == terminated


def test_key_from_before_an_episode_does_not_judge_it():
    env = robot(keys=Typed(success=0))
    env.reset(seed=0)
    *_, terminated, _, info = env.step(HOLD)
    assert not terminated and "operator" not in info


def test_stop_key_stops_the_arm_before_the_run():
    env = robot(keys=Typed(stop=1))
    env.reset(seed=0)
    with pytest.raises(KeyboardInterrupt):
        env.step(HOLD)
    assert env.robot_backend.log[-1] == "stop"


def test_nobody_who_knows_means_no_success():
    env = robot()
    env.reset(seed=0)
    ends = [env.step(HOLD)[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]


def test_classifier_judges_what_nobody_knows():
    env = judged(robot(), Scripted([0.9, 0.9]))
    env.reset(seed=0)
    env.step(HOLD)
    _, _, terminated, _, info = env.step(HOLD)
    assert terminated and info["is_success"] and "true_success" not in info


def test_key_overrides_the_classifier():
    env = judged(robot(keys=Typed(fail=2)), Scripted([0.9, 0.9]))
    env.reset(seed=0)
    env.step(HOLD)
    _, reward, terminated, truncated, _ = env.step(HOLD)
    assert (reward, terminated, truncated) == (0.0, False, True)


def test_fault_is_no_verdict_of_the_classifier():
    judge = Scripted([0.9, 0.9])
    env = judged(robot(fail_at=[2]), judge)
    env.reset(seed=0)
    env.step(HOLD)
    _, _, terminated, truncated, _ = env.step(HOLD)
    assert (terminated, truncated, judge.asked) == (False, True, 1)


def test_station_narrows_the_workspace_of_the_task():
    task = get_task("usb_insertion")
    lower, upper = task.workspace.lower.copy(), task.workspace.upper.copy()
    lower[0] += 0.05
    env = robot(limits=limits_at(task, Box(lower=lower, upper=upper + 1.0)))
    np.testing.assert_allclose(env.workspace.lower, lower)
    np.testing.assert_allclose(env.workspace.upper, upper)


def test_station_without_the_start_of_the_task_is_refused():
    task = get_task("usb_insertion")
    with pytest.raises(ConfigError, match="start of usb_insertion"):
        limits_at(task, Box(lower=np.array([0.6, -0.1, 0.0]), upper=np.array([0.8, 0.1, 0.4])))


def test_speed_shortens_the_executed_step():
    task = get_task("usb_insertion")
    env = robot(limits=limits_at(task, task.workspace, speed=0.2))
    _, info = env.reset(seed=0)
    start = info["observation"].robot.T_base_tcp[:3, 3]
    _, _, _, _, info = env.step(np.array([0, 0, -1, 0, 0, 0], np.float32))
    moved = np.linalg.norm(info["observation"].robot.T_base_tcp[:3, 3] - start)
    assert moved == pytest.approx(0.2 * task.guard.max_step_m)
    assert info["executed_action"][2] == pytest.approx(-0.2 * np.sqrt(3), abs=1e-6)


def test_ticks_leave_pauses_out():
    clock = MovedClock()
    ticks = Ticks(clock)
    ticks()
    clock.move(0.1)
    ticks()
    ticks.interrupt()
    clock.move(4.9)
    ticks()
    clock.move(0.15)
    ticks()
    metrics = ticks.metrics()
    assert metrics["ticks"] == 2
    assert metrics["late_ticks"] == 1
    assert metrics["tick_max_ms"] == pytest.approx(150.0)


def test_watchdog_is_told_to_wait_after_a_fault():
    env = robot(fail_at=[1])
    env.reset(seed=0)
    env.step(HOLD)
    assert env.robot_backend.log[-1] == "pause"


def test_camera_that_fails_the_agent_ends_the_episode():
    env = robot(blind=True)
    env.reset(seed=0)
    with pytest.raises(HardwareFault, match="side"):
        env.capture()
    _, _, terminated, truncated, info = env.step(HOLD)
    assert (terminated, truncated) == (False, True)
    assert "side" in info["fault"]
    assert env.metrics()["faults"] == 1.0


def test_arm_without_an_episode_is_told_nothing():
    env = robot()
    with pytest.raises(ConfigError, match="No episode has begun"):
        env.step(HOLD)
    env.reset(seed=0)
    told = list(env.robot_backend.log)
    with pytest.raises(ConfigError, match=r"The action has shape \(3,\)"):
        env.step(np.zeros(3, np.float32))
    assert env.robot_backend.log == told
