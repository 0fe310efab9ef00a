import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

import rl.envs
from rl.envs import make_env
from rl.errors import ConfigError
from rl.tasks import TASKS, UsbInsertion
from rl.tasks.expert import make_expert


@pytest.fixture(scope="module")
def env():
    env = make_env("usb_insertion")
    yield env
    env.close()


@pytest.fixture
def fake():
    return make_env("usb_insertion", robot="fake")


def _run(env, seed, steps=8):
    env.action_space.seed(seed)
    frames = [env.reset(seed=seed)]
    frames += [env.step(env.action_space.sample()) for _ in range(steps)]
    return frames


def _action(**components):
    names = "x y z rx ry rz".split()
    return np.array([components.get(name, 0.0) for name in names], np.float32)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("robot", ["fake", "mujoco"])
@pytest.mark.parametrize("task", TASKS.names)
def test_environment_passes_the_public_checkers(task, robot):
    env = make_env(task, robot=robot, render_mode="rgb_array")
    check_env(env, skip_render_check=True)
    check_env_for_sb3(env)
    env.close()


@pytest.mark.parametrize("name", ["UsbInsertion", "KnotHanging", "TowelFolding"])
def test_every_task_is_registered(name):
    env = gymnasium.make(f"agps/{name}-v0", robot="fake")
    assert type(env.task).__name__ == name


def test_registered_name_gives_the_environment():
    env = gymnasium.make("agps/UsbInsertion-v0", image_size=128, clearance_m=0.0005)
    assert isinstance(env, rl.envs.ManipulationEnv)
    assert env.observation_space["wrist_1"].shape == (128, 128, 3)
    assert env.task.clearance_m == 0.0005
    env.close()


@pytest.mark.parametrize("task", TASKS.names)
def test_same_seed_gives_the_same_bits_again_and_in_a_new_instance(task):
    first, second = make_env(task), make_env(task)
    _run(second, seed=1)
    for ours, theirs in zip(_run(first, seed=5), _run(second, seed=5), strict=True):
        for key in ours[0]:
            np.testing.assert_array_equal(ours[0][key], theirs[0][key])
        assert ours[-1]["observation"] == theirs[-1]["observation"]


def test_different_seeds_give_different_starts(fake):
    starts = {tuple(fake.reset(seed=seed)[1]["observation"].robot.T_base_tcp[:3, 3]) for seed in range(5)}
    assert len(starts) == 5


def test_unseeded_resets_continue_the_seeded_stream(fake):
    fake.reset(seed=0)
    second = fake.reset()[1]["observation"].robot
    fake.reset(seed=0)
    assert fake.reset()[1]["observation"].robot == second


def test_state_at_reset_is_zero_but_for_the_gripper(env):
    observation, _ = env.reset(seed=0)
    np.testing.assert_allclose(observation["state"][:18], 0.0, atol=2e-3)
    assert observation["state"][18] == pytest.approx(0.2, abs=1e-3)


def test_state_holds_displacement_in_tenths_of_a_metre(fake):
    fake.reset(seed=0)
    observation, *_ = fake.step(_action(x=1.0, rz=-0.5))
    np.testing.assert_allclose(observation["state"][:6], [0.1, 0, 0, 0, 0, -0.3], atol=1e-6)


def test_action_is_in_base_axes_and_added_to_the_last_command(fake):
    _, info = fake.reset(seed=0)
    before = info["observation"].T_base_ref
    _, _, _, _, info = fake.step(_action(x=0.5, z=-1.0))
    np.testing.assert_allclose(info["observation"].T_base_ref[:3, 3] - before[:3, 3], [0.005, 0, -0.010], atol=1e-9)


def test_commanded_reference_ignores_the_lag_and_measured_reference_takes_it(env):
    _, info = env.reset(seed=0)
    start = info["observation"].T_base_ref[:3, 3]
    _, _, _, _, info = env.step(_action(x=1.0))
    np.testing.assert_allclose(info["observation"].T_base_ref[:3, 3], start + [0.01, 0, 0], atol=1e-9)
    measured = make_env("usb_insertion", reference="measured")
    measured.reset(seed=0)
    observation = measured.step(_action(x=1.0))[4]["observation"]
    np.testing.assert_array_equal(observation.T_base_ref, observation.robot.T_base_tcp)


def test_command_never_leaves_the_workspace_and_says_so(fake):
    fake.reset(seed=0)
    for _ in range(30):
        _, _, _, _, info = fake.step(_action(y=1.0))
    assert info["violations"] == ("workspace",)
    assert info["observation"].T_base_ref[1, 3] == pytest.approx(fake.workspace.upper[1])
    np.testing.assert_allclose(info["executed_action"], 0.0, atol=1e-6)


def test_executed_action_is_what_was_commanded(fake):
    _, info = fake.reset(seed=0)
    for _ in range(20):
        before = info["observation"].T_base_ref[:3, 3]
        _, _, _, _, info = fake.step(_action(x=0.7, z=1.0))
        moved = info["observation"].T_base_ref[:3, 3] - before
        np.testing.assert_allclose(info["executed_action"][:3] * fake.action_scale[:3], moved, atol=1e-8)
        assert info["executed_action"].dtype == np.float32


def test_blocked_command_stays_on_the_leash(env):
    env.reset(seed=0)
    port = env.task.landmarks["port"] + [0.0, 0.04, env.task.p_tcp_tool[2] - 0.016]  # on the housing beside the port
    for _ in range(30):
        _, _, _, _, info = env.step(np.clip(_toward(info_pose(env), port), -1, 1))
    observation = info["observation"]
    lead = observation.T_base_ref[:3, 3] - observation.robot.T_base_tcp[:3, 3]
    assert np.linalg.norm(lead) <= env.task.leash_m + 1e-3


def info_pose(env):
    return env.snapshot().T_base_ref[:3, 3]


def _toward(start, goal):
    return np.concatenate([(goal - start) / 0.01, np.zeros(3)]).astype(np.float32)


def test_not_a_number_holds_the_arm_still(fake):
    _, info = fake.reset(seed=0)
    pose = info["observation"].robot.T_base_tcp
    _, _, _, _, info = fake.step(np.full(6, np.nan, np.float32))
    assert "not_a_pose" in info["violations"]
    np.testing.assert_allclose(info["observation"].robot.T_base_tcp, pose, atol=1e-9)


def test_horizon_truncates_and_does_not_terminate():
    env = make_env("usb_insertion", robot="fake", horizon=3)
    env.reset(seed=0)
    flags = [env.step(_action())[2:4] for _ in range(3)]
    assert flags == [(False, False), (False, False), (False, True)]


def test_success_terminates_with_reward_one_even_at_the_horizon():
    env = make_env("usb_insertion", robot="fake")
    expert = make_expert(env.task)
    steps = _episode(env, expert)[4]["episode_step"]
    env = make_env("usb_insertion", robot="fake", horizon=steps)
    _, reward, terminated, truncated, info = _episode(env, expert)
    assert (reward, terminated, truncated, info["is_success"]) == (1.0, True, False, True)


def _episode(env, expert):
    _, info = env.reset(seed=0)
    while True:
        result = env.step(expert(info["observation"], env.truth()))
        info = result[4]
        if result[2] or result[3]:
            return result


def test_restored_episode_goes_on_bit_for_bit(env):
    env.reset(seed=3)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(8)]
    for action in actions[:4]:
        env.step(action)
    snapshot = env.snapshot()
    first = [env.step(action)[4]["observation"] for action in actions[4:]]
    env.reset(seed=9)
    env.restore(snapshot)
    assert [env.step(action)[4]["observation"] for action in actions[4:]] == first


def test_capture_gives_the_named_agent_cameras(env):
    env.reset(seed=0)
    assert [frame.name for frame in env.capture()] == ["side", "wrist_1", "wrist_2"]
    frame = env.capture(["side"])[0]
    assert frame.rgb.shape == (480, 640, 3)
    assert frame.depth_m.dtype == np.float32


def test_two_environments_side_by_side_do_not_mix_their_images(env):
    other = make_env("usb_insertion", image_size=128, port_jitter_m=0.03)
    alone = _run(make_env("usb_insertion"), seed=2, steps=4)
    env.action_space.seed(2)
    together = [env.reset(seed=2)]
    other.reset(seed=0)
    for _ in range(4):
        together.append(env.step(env.action_space.sample()))
        other.step(other.action_space.sample())
    for ours, theirs in zip(alone, together, strict=True):
        np.testing.assert_array_equal(ours[0]["wrist_1"], theirs[0]["wrist_1"])


def test_task_can_be_passed_as_an_object():
    assert make_env(UsbInsertion(horizon=7), robot="fake").task.horizon == 7


@pytest.mark.parametrize("use", [lambda e: e.step(np.zeros(6)), lambda e: e.robot, lambda e: e.snapshot()])
def test_environment_without_an_episode_says_what_to_do(fake, use):
    with pytest.raises(ConfigError, match=r"^No episode has begun; call reset\(\) first\.$"):
        use(fake)


@pytest.mark.parametrize("action", [np.zeros(3), np.zeros(7), np.zeros((1, 6)), 0.0])
def test_action_of_another_shape_is_refused(fake, action):
    fake.reset(seed=0)
    with pytest.raises(ConfigError, match=r"^The action has shape .*; usb_insertion takes \(6,\)\.$"):
        fake.step(action)
