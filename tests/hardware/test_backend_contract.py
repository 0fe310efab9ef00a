"""What every backend does alike, with one task: fake, MuJoCo, and franky on the emulator."""

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("franky", reason="needs the extra robot")
pytest.importorskip("franky_sim", reason="needs the extra emulator")
pytest.importorskip("pyrealsense2", reason="needs the extra realsense")

from rl.envs.manipulation import ManipulationEnv  # noqa: E402
from rl.robots.base import Backend  # noqa: E402
from rl.robots.cameras.rig import CameraRig  # noqa: E402
from rl.robots.emulator.server import Emulator  # noqa: E402
from rl.robots.fake import FakeBackend  # noqa: E402
from rl.robots.franka.backend import FrankaBackend  # noqa: E402
from rl.robots.mujoco import MujocoBackend  # noqa: E402
from rl.robots.station import load_station  # noqa: E402
from rl.tasks import get_task  # noqa: E402
from rl.tasks.expert import make_expert  # noqa: E402
from rl.transforms import apply_delta, pose_difference  # noqa: E402

pytestmark = pytest.mark.emulated

TASK = get_task("usb_insertion").with_inertia()
"""One task for all of them."""


@pytest.fixture(scope="module", params=["fake", "mujoco", "franka"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made: Backend
    if request.param == "fake":
        made = FakeBackend(TASK)
    elif request.param == "mujoco":
        made = MujocoBackend(TASK)
    else:
        emulator: Emulator = request.getfixturevalue("emulator")
        station = load_station(emulator.station)
        made = FrankaBackend(TASK, station, cameras=CameraRig(station.cameras, TASK, clock=station.clock))
    made.reset(TASK.home, np.random.default_rng(0))
    yield made
    made.close()
    made.close()  # twice is allowed


@pytest.fixture
def started(backend: Backend) -> Iterator[Backend]:
    """A backend whose arm is at home, or a little way from it."""
    yield backend
    for _ in range(3):
        backend.command(TASK.home, TASK.gripper_opening)
    if isinstance(backend, FrankaBackend):
        backend.pause()  # nobody commands it between tests


def test_state_has_the_shapes_that_the_environment_expects(started: Backend):
    state = started.command(TASK.home, TASK.gripper_opening)
    assert (state.T_base_tcp.shape, state.twist.shape, state.wrench.shape) == ((4, 4), (6,), (6,))
    rotation = state.T_base_tcp[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)


def test_arm_follows_its_targets(started: Backend):
    target = TASK.home
    for _ in range(8):
        target = apply_delta(target, np.array([0.003, -0.003, 0.003, 0.0, 0.0, 0.01]))
        moving = started.command(target, TASK.gripper_opening)
    assert np.all(moving.twist[:3] * [1, -1, 1] > 0.0)
    for _ in range(8):
        state = started.command(target, TASK.gripper_opening)
    error = pose_difference(state.T_base_tcp, target)
    assert np.linalg.norm(error[:3]) < 0.004
    assert np.linalg.norm(error[3:]) < 0.03


def test_policy_sees_the_task_s_cameras_in_its_order(started: Backend):
    images = started.policy_images(64)
    assert list(images) == [camera.name for camera in TASK.policy_cameras]
    for image in images.values():
        assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)


def test_agent_sees_calibrated_depth_from_its_cameras(started: Backend):
    frames = started.capture()
    assert [frame.name for frame in frames] == [camera.name for camera in TASK.agent_cameras]
    for frame in frames:
        assert frame.rgb.shape == (*frame.depth_m.shape, 3)
        assert frame.K.shape == (3, 3)
        rotation = frame.T_base_cam[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    (side,) = started.capture(["side"])
    assert side.name == "side"


def test_task_s_points_are_told(started: Backend):
    truth = started.truth()
    assert truth.keys() >= TASK.landmarks.keys() | TASK.held_points.keys()
    np.testing.assert_allclose(truth["port"], TASK.landmarks["port"], atol=1e-3)
    state = started.command(TASK.home, TASK.gripper_opening)
    tip = state.T_base_tcp[:3, 3] + state.T_base_tcp[:3, :3] @ TASK.p_tcp_tool
    np.testing.assert_allclose(started.truth()["plug_tip"], tip, atol=4e-3)


def test_reset_brings_the_arm_to_the_start_with_a_tared_wrench(backend: Backend):
    start = TASK.sample_start(np.random.default_rng(3))
    state = backend.reset(start, np.random.default_rng(3))
    error = pose_difference(state.T_base_tcp, start)
    assert np.linalg.norm(error[:3]) < 0.004
    assert np.linalg.norm(error[3:]) < 0.03
    assert np.linalg.norm(state.twist[:3]) < 0.02
    assert np.linalg.norm(state.wrench[:3]) < 1.0
    assert abs(state.gripper_opening - TASK.gripper_opening) < 0.05


def test_environment_stays_within_the_task_s_limits(backend: Backend):
    env = ManipulationEnv(TASK, backend, image_size=32)
    env.reset(seed=1)
    for action in np.random.default_rng(0).uniform(-3.0, 3.0, (8, 6)).astype(np.float32):
        _, _, _, _, info = env.step(action)
        assert np.max(np.abs(info["executed_action"])) <= 1.0
        assert TASK.workspace.contains(info["observation"].T_base_ref[:3, 3])
    _, _, _, _, info = env.step(np.full(6, np.nan, np.float32))
    assert "not_a_pose" in info["violations"]


def test_same_expert_inserts_the_same_plug(backend: Backend):
    env = ManipulationEnv(TASK, backend, image_size=32)
    expert = make_expert(TASK)
    _, info = env.reset(seed=5)
    for _ in range(TASK.horizon):
        _, _, terminated, truncated, info = env.step(expert(info["observation"], env.truth()))
        if terminated or truncated:
            break
    assert info["is_success"]
