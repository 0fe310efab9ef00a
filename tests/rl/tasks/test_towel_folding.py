import numpy as np
import pytest

from rl.envs import make_env
from rl.tasks import TowelFolding
from rl.tasks.expert import make_expert
from rl.transforms import pose
from rl.types import RobotState

TASK = TowelFolding()
GOAL = TASK.landmarks["corner_goal"]


@pytest.fixture(scope="module")
def env():
    env = _without_images(make_env(TASK))
    yield env
    env.close()


def _without_images(env):
    env.backend.policy_images = lambda image_size: {}
    return env


def _robot(*, height=0.05, opening=1.0):
    T = pose(GOAL + [0.0, 0.0, height])
    return RobotState(T_base_tcp=T, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=opening)


def _success(offset, **robot):
    return TASK.is_success({**TASK.landmarks, "corner_grasp": GOAL + offset}, _robot(**robot))


def _act(*, gripper, z=0.0, x=0.0, y=0.0):
    return np.array([x, y, z, 0.0, 0.0, 0.0, gripper], np.float32)


def _expert_steps(env, steps, *, seed=0):
    """Reset and follow the expert for some steps; return the last info."""
    expert = make_expert(env.task)
    _, info = env.reset(seed=seed)
    for _ in range(steps):
        *_, info = env.step(expert(info["observation"], env.truth()))
    return info


def _expert_lengths(env, seeds):
    """Return the length of each successful episode of the expert."""
    expert, lengths = make_expert(env.task), []
    for seed in seeds:
        _, info = env.reset(seed=seed)
        terminated = truncated = False
        while not (terminated or truncated):
            _, _, terminated, truncated, info = env.step(expert(info["observation"], env.truth()))
        lengths += [info["episode_step"]] if terminated else []
    return lengths


def _held(env):
    return bool(env.backend.data.eq_active[env.backend.model.equality("tie_0").id])


def test_corner_on_the_opposite_one_with_the_open_gripper_above_is_success():
    assert _success([0.03, 0.03, 0.0])


@pytest.mark.parametrize(
    ("offset", "robot"),
    [
        ([0.04, 0.03, 0.0], {}),  # 5 cm beside it
        ([0.0, 0.0, 0.04], {"height": 0.1}),  # still in the air
        ([0.0, 0.0, 0.0], {"opening": 0.1}),  # still held
        ([0.0, 0.0, 0.0], {"height": 0.02}),  # the fingers are still on it
    ],
)
def test_nothing_less_is_success(offset, robot):
    assert not _success(offset, **robot)


def test_reward_is_ten_for_success_and_a_cost_per_step():
    assert (TASK.reward(True), TASK.reward(False)) == (10.0, -0.1)


def test_start_region_is_the_papers():
    rng = np.random.default_rng(0)
    starts = np.stack([TASK.sample_start(rng) for _ in range(200)])
    offset = np.abs(starts[:, :3, 3] - TASK.home[:3, 3]).max(axis=0)
    np.testing.assert_allclose(offset, [0.05, 0.05, 0.0], atol=0.002)
    assert np.all(offset <= 0.05)
    assert 0.019 < np.abs(np.arctan2(starts[:, 1, 0], starts[:, 0, 0])).max() <= 0.02
    assert all(TASK.workspace.contains(start[:3, 3]) for start in starts)


def test_points_of_the_simulated_towel_are_at_the_nominal_corners(env):
    env.reset(seed=0)
    assert env.truth().keys() == TASK.landmarks.keys()
    for name, point in TASK.landmarks.items():
        np.testing.assert_allclose(env.truth()[name], point, atol=1e-3)


@pytest.mark.parametrize("robot", ["fake", "mujoco"])
def test_expert_folds_the_towel_in_35_steps(robot):
    env = _without_images(make_env(TASK, robot=robot))
    lengths = _expert_lengths(env, range(3))
    assert len(lengths) == 3
    assert max(lengths) <= 35


def test_expert_folds_a_towel_that_lies_elsewhere():
    env = _without_images(make_env(TASK, towel_jitter_m=0.03, towel_jitter_rad=0.3))
    assert len(_expert_lengths(env, range(2))) == 2


def test_expert_picks_up_again_what_was_dropped(env):
    _expert_steps(env, 15)
    assert _held(env)
    for _ in range(3):
        *_, info = env.step(_act(gripper=1.0))
    assert not _held(env)
    expert, terminated = make_expert(TASK), False
    for _ in range(32):
        _, _, terminated, _, info = env.step(expert(info["observation"], env.truth()))
        if terminated:
            break
    assert terminated


@pytest.mark.slow
def test_expert_succeeds_in_98_of_100_episodes(env):
    lengths = _expert_lengths(env, range(100))
    assert len(lengths) >= 98
    assert np.mean(lengths) <= 33


def test_towel_dropped_half_way_is_no_success(env):
    _expert_steps(env, 18)
    for _ in range(10):
        _, reward, terminated, _, info = env.step(_act(gripper=1.0, z=0.5))
    assert (reward, terminated, info["is_success"]) == (-0.1, False, False)


def test_fingers_that_close_on_the_corner_hold_it(env):
    info = _expert_steps(env, 16)
    assert _held(env)
    assert np.linalg.norm(env.truth()["corner_grasp"] - info["observation"].robot.T_base_tcp[:3, 3]) < 0.02


@pytest.mark.parametrize(("down", "aside", "holds"), [(-1.0, 0.0, True), (-0.6, 0.0, False), (-1.0, 1.0, False)])
def test_fingers_hold_the_towel_only_when_they_close_on_it(down, aside, holds):
    env = _without_images(make_env(TASK, start_xy_m=0.0))
    env.reset(seed=0)
    for _ in range(6):
        env.step(_act(gripper=1.0, z=down, x=-0.5 * aside, y=0.5 * aside))
    for _ in range(2):
        *_, info = env.step(_act(gripper=-1.0))
    assert info["observation"].robot.gripper_opening < 0.1
    assert _held(env) is holds


def test_closed_fingers_that_come_down_on_the_towel_hold_nothing(env):
    env.reset(seed=0)
    for _ in range(9):
        env.step(_act(gripper=-1.0, z=-1.0))
    assert not _held(env)


def test_gripper_keeps_its_last_command_between_the_thresholds(env):
    env.reset(seed=0)
    openings = []
    for gripper in (0.4, -0.6, -0.6, 0.5, 0.6, 0.6, -0.5):
        *_, info = env.step(_act(gripper=gripper))
        openings.append(round(info["observation"].robot.gripper_opening))
    assert openings == [1, 0, 0, 0, 1, 1, 1]
    assert info["executed_action"][6] == np.float32(-0.5)


@pytest.mark.parametrize("steps", [7, 8, 15])
def test_episode_restored_in_the_middle_of_a_grasp_goes_on_bit_for_bit(env, steps):
    info = _expert_steps(env, steps)
    expert, actions, first = make_expert(TASK), [], []
    snapshot = env.snapshot()
    for step in range(8):
        action = expert(info["observation"], env.truth())
        action[6] = action[6] if step in (0, 5) else 0.0  # keeps
        *_, info = env.step(action)
        actions.append(action)
        first.append((info["observation"].robot, env.truth()["corner_right"]))
    _expert_steps(env, 3, seed=1)
    env.restore(snapshot)
    for action, (robot, corner) in zip(actions, first, strict=True):
        *_, info = env.step(action)
        assert info["observation"].robot == robot
        np.testing.assert_array_equal(env.truth()["corner_right"], corner)


def test_restored_grasp_and_gripper_command_are_those_of_the_snapshot(env):
    _expert_steps(env, 12)
    snapshot = env.snapshot()
    env.reset(seed=1)
    assert not _held(env)
    env.restore(snapshot)
    assert _held(env)
    *_, info = env.step(_act(gripper=0.0))
    assert info["observation"].robot.gripper_opening < 0.1


def test_folded_corner_is_drawn_on_top_of_the_towel():
    env = make_env(TASK)
    assert _reds(env, _expert_steps(env, 0)) > 300  # the corner to grasp shows
    info = _expert_steps(env, 31)
    assert info["is_success"]
    assert _reds(env, info) > 300
    env.close()


def _reds(env, info):
    red, green, blue = np.moveaxis(env.capture(["side"])[0].rgb.astype(int), 2, 0)
    return int(np.sum((red > 100) & (green < 70) & (blue < 70)))


def test_both_corners_stand_out_in_the_side_image():
    env = make_env(TASK, start_height_m=0.15)
    env.reset(seed=0)
    frame = env.capture(["side"])[0]
    T_cam_base = np.linalg.inv(frame.T_base_cam)
    for name, channel in (("corner_grasp", 0), ("corner_goal", 2)):
        inward = 0.01 * np.sign(np.array(TASK.towel_position) - TASK.landmarks[name]) * [1.0, 1.0, 0.0]
        u, v, w = frame.K @ (T_cam_base @ [*(TASK.landmarks[name] + inward), 1.0])[:3]
        colour = frame.rgb[round(v / w), round(u / w)].astype(int)
        assert colour[channel] > np.delete(colour, channel).max() + 50
    env.close()


def test_random_towel_pose_stays_within_its_limits():
    env = _without_images(make_env(TASK, towel_jitter_m=0.03, towel_jitter_rad=0.2))
    moved = []
    for seed in range(4):
        env.reset(seed=seed)
        moved.append(env.truth()["corner_grasp"] - TASK.landmarks["corner_grasp"])
    assert np.ptp(moved, axis=0)[:2].min() > 0.01
    assert np.abs(moved).max() < 0.03 + 0.2 * 0.17 + 1e-3
