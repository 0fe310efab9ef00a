import numpy as np
import pytest

from rl.envs import make_env
from rl.errors import ConfigError
from rl.tasks import UsbInsertion, get_task
from rl.tasks.expert import make_expert
from rl.types import RobotState

TASK = UsbInsertion()
ROBOT = RobotState(T_base_tcp=TASK.home, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.2)


def _truth(offset):
    return {**TASK.landmarks, "plug_tip": TASK.landmarks["port"] + offset}


def _expert_lengths(env, seeds):
    expert = make_expert(env.task)
    lengths = []
    for seed in seeds:
        _, info = env.reset(seed=seed)
        done = False
        while not done:
            _, _, terminated, truncated, info = env.step(expert(info["observation"], env.truth()))
            done = terminated or truncated
        assert terminated, f"seed {seed}"
        lengths.append(info["episode_step"])
    return lengths


def test_unknown_task_names_the_known_ones():
    with pytest.raises(ConfigError, match="Unknown task 'usb'; known: .*usb_insertion"):
        get_task("usb")


def test_unknown_field_names_the_known_ones():
    with pytest.raises(ConfigError, match="has no field 'clearance'.*clearance_m"):
        get_task("usb_insertion", clearance=0.1)


def test_starts_lie_in_the_papers_region():
    rng = np.random.default_rng(0)
    starts = np.array([TASK.sample_start(rng) for _ in range(500)])
    offset = starts[:, :3, 3] - TASK.home[:3, 3]
    assert np.all(np.abs(offset) <= [0.06, 0.06, 0.05])
    assert np.all(np.abs(offset).max(axis=0) > [0.058, 0.058, 0.048])
    yaw = np.arctan2(starts[:, 1, 0], starts[:, 0, 0])
    assert 0.058 < np.abs(yaw).max() <= 0.06
    assert all(TASK.workspace.contains(start[:3, 3]) for start in starts)


@pytest.mark.parametrize(
    ("offset", "success"),
    [
        ([0.0, 0.0, -0.0106], True),
        ([0.0, 0.0, -0.0104], False),
        ([0.0014, -0.0014, -0.012], True),
        ([0.0016, 0.0, -0.012], False),
        ([0.0, 0.0016, -0.012], False),
    ],
)
def test_success_is_depth_inside_the_opening(offset, success):
    assert TASK.is_success(_truth(np.array(offset)), ROBOT) is success


def test_success_is_measured_in_the_ports_own_axes():
    turned = UsbInsertion(success_xy_m=0.001)
    port = TASK.landmarks["port"]
    across = np.array([np.sin(0.5), np.cos(0.5), 0.0]) * 0.01
    tip = port + across / 0.01 * 0.0009 + [0.0, 0.0, -0.011]
    points = {"port": port, "port_left": port - across, "port_right": port + across, "plug_tip": tip}
    assert turned.is_success(points, ROBOT)


@pytest.mark.parametrize("overrides", [{}, {"lead_in_m": 0.0}, {"port_jitter_m": 0.03, "port_jitter_rad": 0.15}])
def test_expert_inserts_the_plug(overrides):
    env = make_env("usb_insertion", **overrides)
    env.backend.policy_images = lambda image_size: {}
    assert max(_expert_lengths(env, range(3))) <= 35


def test_pressing_beside_the_opening_never_counts_as_inserted():
    env = make_env("usb_insertion", horizon=60, start_xy_m=0.0, start_z_m=0.0, start_yaw_rad=0.0, start_height_m=0.01)
    env.backend.policy_images = lambda image_size: {}
    env.reset(seed=0)
    aside = np.array([0.4, 0.4, 0.0, 0.0, 0.0, 0.0], np.float32)
    env.step(aside)
    for _ in range(30):
        _, reward, _, _, info = env.step(np.array([0, 0, -1.0, 0, 0, 0], np.float32))
    assert reward == 0.0
    assert info["observation"].robot.wrench[2] > 20.0


def test_random_light_and_colour_change_the_images_and_nothing_else():
    plain, varied = make_env("usb_insertion"), make_env("usb_insertion", light_jitter=0.4, colour_jitter=0.3)
    (ours, info), (theirs, other) = plain.reset(seed=0), varied.reset(seed=0)
    assert np.abs(ours["wrist_1"].astype(int) - theirs["wrist_1"]).mean() > 2
    assert info["observation"].robot == other["observation"].robot


def test_random_camera_pose_is_reported_with_the_frame():
    plain, varied = make_env("usb_insertion"), make_env("usb_insertion", camera_jitter_m=0.005, camera_jitter_rad=0.02)
    plain.reset(seed=0)
    varied.reset(seed=0)
    moved = varied.capture(["side"])[0].T_base_cam[:3, 3] - plain.capture(["side"])[0].T_base_cam[:3, 3]
    assert 1e-4 < np.linalg.norm(moved) < 0.03
