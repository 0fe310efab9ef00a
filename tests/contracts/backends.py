"""What every backend does alike, with one task: arms that obey at once, simulated, emulated and somebody else's."""

from collections.abc import Iterator

import numpy as np
import pytest

from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError
from rl.robots.base import Backend
from rl.tasks import get_task
from rl.tasks.expert import make_expert
from rl.transforms import apply_delta, pose_difference

TASK = get_task("usb_insertion").with_inertia()
"""One task for all of them."""


class BackendContract:
    """Derive from it, and give it a fixture `backend` whose arm has been reset to home once."""

    moves = True
    """The arm takes its time to a target and measures a velocity on the way; one that obeys at once has none."""

    @pytest.fixture
    def started(self, backend: Backend) -> Iterator[Backend]:
        """A backend whose arm is at home, or a little way from it; nobody commands it between tests."""
        yield backend
        for _ in range(3):
            backend.command(TASK.home, TASK.gripper_opening)
        self.rest(backend)

    def rest(self, backend: Backend) -> None:
        """Leave the arm alone."""

    def environment(self, backend: Backend) -> ManipulationEnv:
        """Return the task on the backend."""
        return ManipulationEnv(TASK, backend, image_size=32)

    def test_state_has_the_shapes_that_the_environment_expects(self, started: Backend) -> None:
        state = started.command(TASK.home, TASK.gripper_opening)
        assert (state.T_base_tcp.shape, state.twist.shape, state.wrench.shape) == ((4, 4), (6,), (6,))
        assert np.isfinite([*state.twist, *state.wrench]).all() and 0.0 <= state.gripper_opening <= 1.0
        rotation = state.T_base_tcp[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)

    def test_arm_follows_its_targets(self, started: Backend) -> None:
        target = TASK.home
        for _ in range(8):
            target = apply_delta(target, np.array([0.003, -0.003, 0.003, 0.0, 0.0, 0.01]))
            moving = started.command(target, TASK.gripper_opening)
        assert np.all(moving.twist[:3] * [1, -1, 1] > 0.0) or not self.moves
        for _ in range(30):  # an arm that lags on a busy computer still arrives
            state = started.command(target, TASK.gripper_opening)
            error = pose_difference(state.T_base_tcp, target)
            if np.linalg.norm(error[:3]) < 0.004 and np.linalg.norm(error[3:]) < 0.03:
                break
        assert np.linalg.norm(error[:3]) < 0.004
        assert np.linalg.norm(error[3:]) < 0.03

    def test_policy_sees_the_task_s_cameras_in_its_order(self, started: Backend) -> None:
        for size in (64, 32):
            images = started.policy_images(size)
            assert list(images) == [camera.name for camera in TASK.policy_cameras]
            assert {(image.shape, image.dtype) for image in images.values()} == {((size, size, 3), np.dtype(np.uint8))}

    def test_agent_sees_calibrated_depth_from_its_cameras(self, started: Backend) -> None:
        frames = started.capture()
        assert [frame.name for frame in frames] == [camera.name for camera in TASK.agent_cameras]
        for frame in frames:
            assert frame.rgb.shape == (*frame.depth_m.shape, 3)
            assert frame.rgb.dtype == np.uint8 and frame.depth_m.dtype == np.float32
            focal_u, focal_v = frame.K[0, 0], frame.K[1, 1]
            np.testing.assert_allclose(frame.K[2], [0.0, 0.0, 1.0])
            assert 0.5 < focal_u / focal_v < 2.0
            rotation = frame.T_base_cam[:3, :3]
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
        (side,) = started.capture(["side"])
        assert side.name == "side"

    def test_task_s_points_are_told_or_none_is(self, started: Backend) -> None:
        state = started.command(TASK.home, TASK.gripper_opening)
        truth = started.truth()
        if not truth:
            return
        assert truth.keys() >= TASK.landmarks.keys() | TASK.held_points.keys()
        np.testing.assert_allclose(truth["port"], TASK.landmarks["port"], atol=1e-3)
        tip = state.T_base_tcp[:3, 3] + state.T_base_tcp[:3, :3] @ TASK.p_tcp_tool
        np.testing.assert_allclose(truth["plug_tip"], tip, atol=4e-3)

    def test_reset_brings_the_arm_to_the_start_with_a_tared_wrench(self, backend: Backend) -> None:
        start = TASK.sample_start(np.random.default_rng(3))
        state = backend.reset(start, np.random.default_rng(3))
        error = pose_difference(state.T_base_tcp, start)
        assert np.linalg.norm(error[:3]) < 0.004
        assert np.linalg.norm(error[3:]) < 0.03
        assert np.linalg.norm(state.twist[:3]) < 0.02
        assert np.linalg.norm(state.wrench[:3]) < 1.0
        assert abs(state.gripper_opening - TASK.gripper_opening) < 0.05

    def test_environment_stays_within_the_task_s_limits(self, backend: Backend) -> None:
        env = self.environment(backend)
        env.reset(seed=1)
        for action in np.random.default_rng(0).uniform(-3.0, 3.0, (8, 6)).astype(np.float32):
            _, _, _, _, info = env.step(action)
            assert np.max(np.abs(info["executed_action"])) <= 1.0
            assert TASK.workspace.contains(info["observation"].T_base_ref[:3, 3])
        _, _, _, _, info = env.step(np.full(6, np.nan, np.float32))
        assert "not_a_pose" in info["violations"]

    def test_snapshot_is_gone_back_to_or_refused(self, backend: Backend) -> None:
        backend.reset(TASK.home, np.random.default_rng(0))
        try:
            saved = backend.snapshot()
        except ConfigError as refusal:
            assert "cannot be saved and restored" in str(refusal)
            return
        target = apply_delta(TASK.home, np.array([0.01, 0.0, 0.0, 0.0, 0.0, 0.0]))
        first = backend.command(target, TASK.gripper_opening)
        backend.restore(saved)
        again = backend.command(target, TASK.gripper_opening)
        np.testing.assert_array_equal(first.T_base_tcp, again.T_base_tcp)
        np.testing.assert_array_equal(first.wrench, again.wrench)


class InsertionContract(BackendContract):
    """The same where somebody tells where things are: the scripted expert does the task."""

    def test_same_expert_inserts_the_same_plug(self, backend: Backend) -> None:
        env = ManipulationEnv(TASK, backend, image_size=32)
        expert = make_expert(TASK)
        _, info = env.reset(seed=5)
        for _ in range(TASK.horizon):
            _, _, terminated, truncated, info = env.step(expert(info["observation"], env.truth()))
            if terminated or truncated:
                break
        assert info["is_success"]
