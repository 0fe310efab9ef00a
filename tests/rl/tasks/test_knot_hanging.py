from dataclasses import replace
from itertools import product

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from rl.envs import make_env
from rl.robots.mujoco import MujocoBackend
from rl.tasks import KnotHanging
from rl.tasks.cord import Cord, hanging_points
from rl.tasks.expert import make_expert
from rl.tasks.knot_hanging import passage
from rl.types import RobotState

TASK = KnotHanging()
ROBOT = RobotState(T_base_tcp=TASK.home, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.05)
BASE, TIP = TASK.landmarks["hook_base"], TASK.landmarks["hook_tip"]
SQUARE = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
START = np.array([0.1, 0.2, -1.0])
END = np.array([0.1, 0.2, 3.0])


@pytest.fixture(scope="module")
def env():
    env = make_env("knot_hanging")
    yield env
    env.close()


@pytest.fixture(scope="module")
def blind():
    env = make_env("knot_hanging", horizon=200)
    env.backend.policy_images = lambda image_size: {}
    yield env
    env.close()


def _wander(env, *, seed, steps):
    """Move between random places around the hook, so that the loop swings and catches; return the last info."""
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    for step in range(steps):
        if step % 12 == 0:
            goal, turn = rng.uniform(BASE + [-0.07, -0.12, 0.0], BASE + [0.07, 0.01, 0.14]), rng.uniform(-0.5, 0.5, 3)
        way = (goal - info["observation"].T_base_ref[:3, 3]) / TASK.translation_scale_m
        _, _, terminated, _, info = env.step(np.clip([*way, *turn * (step % 12 < 6)], -1, 1).astype(np.float32))
        if terminated:
            break
    return info


def _act(env, info, *, steps, noise=0.0, wrong=0.0, seed=0):
    """Let the expert act, with noise and a wrong idea of where the hook is; return the last info."""
    expert, rng = make_expert(env.task), np.random.default_rng(seed)
    for _ in range(steps):
        truth = {name: point + wrong * name.startswith("hook") for name, point in env.truth().items()}
        action = expert(info["observation"], truth) + noise * rng.normal(size=6)
        _, _, terminated, _, info = env.step(np.clip(action, -1, 1).astype(np.float32))
        if terminated:
            break
    return info


# The cord


def test_cord_hangs_as_its_rest_shape_says(blind):
    blind.reset(seed=0)
    for _ in range(10):
        blind.step(np.zeros(6, np.float32))
    T = blind.robot.T_base_tcp
    loop = np.array([blind.truth()[name] for name in TASK.cord.points])
    np.testing.assert_allclose((loop - T[:3, 3]) @ T[:3, :3], hanging_points(TASK.cord), atol=1.5e-3)


def test_stiffer_cord_hangs_wider():
    width = [np.ptp(hanging_points(Cord(bending=bending))[:, 0]) for bending in (5e-5, 1e-4, 2e-4)]
    assert width[0] + 0.005 < width[1] < width[2] - 0.005


def test_links_keep_their_length_and_close_the_loop():
    points = hanging_points(TASK.cord)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    np.testing.assert_allclose(steps, TASK.cord.link_m, atol=1e-9)
    np.testing.assert_allclose(points[TASK.cord.links, :2], 0.0, atol=1e-6)


def test_flung_cord_comes_to_rest():
    backend = MujocoBackend(TASK)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        backend.reset(TASK.home, rng)
        for link, axis in product(range(TASK.cord.links), "xy"):
            spin = rng.normal() * (25.0 if link == 0 else 8.0)
            for side in ("left", "right"):
                backend.data.joint(f"{side}_{link}_{axis}").qvel = spin
        for _ in range(30):
            backend.command(TASK.home, TASK.gripper_opening)
        assert np.abs(backend.data.qvel).max() < 15.0
        assert not backend.data.warning.number.any()


# The rule of success


@pytest.mark.parametrize("loop", [SQUARE, SQUARE[::-1]], ids=["forth", "back"])
def test_passage_is_a_fraction_of_the_segment(loop):
    assert passage(loop, START, END) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("start", "end"),
    [([1.5, 0, -1], [1.5, 0, 1]), ([0, 0, 0.1], [0, 0, 1]), ([-2, 0, 0.5], [2, 0, 0.5])],
    ids=["beside", "too short", "parallel"],
)
def test_segment_that_misses_the_loop_has_no_passage(start, end):
    assert passage(SQUARE, np.array(start, float), np.array(end, float)) is None


def test_passages_to_and_fro_cancel():
    there_and_back = np.vstack([SQUARE, SQUARE[::-1] + [0.0, 0.0, 0.1]])
    assert passage(there_and_back, START, END) is None


def _hung(*, depth, above_m, aside_m=0.0):
    """Return the truth of a loop at rest with its pads above a place on the peg."""
    pads = BASE + depth * (TIP - BASE) + [aside_m, 0.0, above_m]
    held = {name: pads + point * [1, -1, -1] for name, point in TASK.held_points.items()}
    return {**TASK.landmarks, **held}


@pytest.mark.parametrize(
    ("loop", "success"),
    [
        ({"depth": 0.4, "above_m": 0.03}, True),
        ({"depth": 0.4, "above_m": 0.04}, False),
        ({"depth": 0.7, "above_m": 0.03}, True),
        ({"depth": 0.8, "above_m": 0.03}, False),
        ({"depth": 1.1, "above_m": 0.03}, False),
        ({"depth": 0.4, "above_m": 0.03, "aside_m": 0.03}, False),
        ({"depth": 0.4, "above_m": -0.01}, False),
    ],
    ids=["seated", "too high", "outer part", "near the tip", "in front", "beside", "below"],
)
def test_success_is_a_loop_around_the_inner_peg_just_below_the_pads(loop, success):
    assert TASK.is_success(_hung(**loop), ROBOT) is success


class Released(KnotHanging):
    """The same scene with a loop that nothing holds."""

    def scene_mjcf(self):
        scene = super().scene_mjcf()
        loose = f'<body name="loop"><freejoint name="loop"/>{scene.held}</body>'
        return replace(scene, world=scene.world + loose, held="")


def _stays_when_released(env, released):
    """Let go of the loop where it is and as it moves, open, retreat, and look a second later."""
    model, data = env.backend.model, env.backend.data
    released.reset(env.robot.T_base_tcp, np.random.default_rng(0))
    for joint in (model.joint(i).name for i in range(model.njnt)):
        released.data.joint(joint).qpos = data.joint(joint).qpos
        released.data.joint(joint).qvel = data.joint(joint).qvel
    held, velocity = data.body("held"), np.empty(6)
    mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, held.id, velocity, 0)
    spin = held.xmat.reshape(3, 3).T @ velocity[:3]
    released.data.joint("loop").qpos = np.concatenate([held.xpos, held.xquat])
    released.data.joint("loop").qvel = np.concatenate([velocity[3:], spin])
    target = env.snapshot().T_base_ref.copy()
    for step in range(14):
        target[2, 3] += 0.01 * (step > 2)
        released.command(target, 0.3)
    truth = released.truth()
    return truth["knot"][2] > truth["hook_base"][2] - 0.13  # 9.5 cm below it when it hangs, 21 cm on the table


def test_no_loop_that_counts_as_hung_falls_when_it_is_released(blind):
    released = MujocoBackend(Released())
    counts = {(rule, stays): 0 for rule in (True, False) for stays in (True, False)}
    rng = np.random.default_rng(1)
    for seed in range(36):
        wrong = rng.normal(size=3) * [0.012, 0.0, 0.02] * (seed % 2)
        _, info = blind.reset(seed=seed)
        info = _act(
            blind, info, steps=int(rng.integers(6, 28)), noise=(0.0, 0.7, 1.5)[seed % 3], wrong=wrong, seed=seed
        )
        counts[bool(info["is_success"]), bool(_stays_when_released(blind, released))] += 1
    assert counts[True, False] == 0, counts
    assert counts[True, True] >= 10, counts
    assert counts[False, False] >= 10, counts


# The expert


def _expert_steps(env, seeds):
    lengths = []
    for seed in seeds:
        info = _act(env, env.reset(seed=seed)[1], steps=TASK.horizon)
        lengths.append(info["episode_step"] if info["is_success"] else np.inf)
    return np.array(lengths)


def test_expert_hangs_the_knot(blind):
    assert _expert_steps(blind, range(5)).max() <= 20


@pytest.mark.slow
def test_expert_hangs_98_of_100_knots_in_20_steps_on_average(blind):
    steps = _expert_steps(blind, range(100))
    assert np.isfinite(steps).sum() >= 98
    assert steps[np.isfinite(steps)].mean() <= 20


def test_expert_follows_a_hook_that_was_moved_and_turned():
    env = make_env("knot_hanging", hook_jitter_m=0.03, hook_jitter_rad=0.15, horizon=200)
    env.backend.policy_images = lambda image_size: {}
    assert _expert_steps(env, range(3)).max() <= 25


@pytest.mark.parametrize("seed", [3, 16, 27])
def test_expert_takes_over_from_anywhere(blind, seed):
    info = _wander(blind, seed=seed, steps=24)
    info = _act(blind, info, steps=40)
    assert info["is_success"]


def test_expert_hangs_the_knot_of_an_arm_that_obeys_at_once():
    assert _expert_steps(make_env("knot_hanging", robot="fake"), range(3)).max() <= 20


# The environment


def test_starts_lie_in_the_papers_region():
    rng = np.random.default_rng(0)
    starts = np.array([TASK.sample_start(rng) for _ in range(300)])
    offset = starts[:, :3, 3] - TASK.home[:3, 3]
    assert np.all(np.abs(offset) <= [0.06, 0.06, 0.0])
    assert np.all(np.abs(offset[:, :2]).max(axis=0) > 0.057)
    assert 0.057 < np.abs(np.arctan2(starts[:, 1, 0], starts[:, 0, 0])).max() <= 0.06
    assert all(TASK.workspace.contains(start[:3, 3]) for start in starts)


def test_cameras_are_two_on_the_hand_and_one_at_the_side(env):
    assert [camera.name for camera in TASK.policy_cameras] == ["wrist_1", "wrist_2", "side"]
    assert [camera.name for camera in TASK.agent_cameras] == ["side", "wrist_1", "wrist_2"]


def _pixels(frame, name, truth):
    """Return the colours within two pixels of a point, (25, 3)."""
    p = np.linalg.inv(frame.T_base_cam) @ [*truth[name], 1.0]
    u, v, w = frame.K @ p[:3]
    column, row = round(u / w), round(v / w)
    return frame.rgb[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).astype(int)


def test_side_camera_shows_blue_tip_yellow_root_and_red_knot(env):
    env.reset(seed=0)
    frame, truth = env.capture(["side"])[0], env.truth()
    tip, root, knot = (_pixels(frame, name, truth) for name in ("hook_tip", "hook_base", "knot"))
    assert ((tip[:, 2] > 100) & (tip[:, 2] > 2 * tip[:, 0])).mean() > 0.9
    assert ((root[:, 0] > 100) & (root[:, 0] > 2 * root[:, 2])).any()
    assert ((knot[:, 0] > 80) & (knot[:, 0] > 3 * knot[:, 1])).mean() > 0.5


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_environment_passes_the_public_checkers():
    env = make_env("knot_hanging", render_mode="rgb_array")
    check_env(env, skip_render_check=True)
    check_env_for_sb3(env)
    env.close()


def test_snapshot_of_a_loop_on_the_hook_replays_bit_for_bit(env):
    _, info = env.reset(seed=1)
    info = _act(env, info, steps=9)
    snapshot = env.snapshot()
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (5, 6)).astype(np.float32)
    first = [env.step(action)[4]["observation"] for action in actions]
    env.reset(seed=7)
    env.restore(snapshot)
    assert [env.step(action)[4]["observation"] for action in actions] == first


def test_random_light_and_colour_change_the_images_and_nothing_else(env):
    varied = make_env("knot_hanging", light_jitter=0.4, colour_jitter=0.3)
    (ours, info), (theirs, other) = env.reset(seed=0), varied.reset(seed=0)
    assert np.abs(ours["side"].astype(int) - theirs["side"]).mean() > 2
    assert info["observation"].robot == other["observation"].robot
