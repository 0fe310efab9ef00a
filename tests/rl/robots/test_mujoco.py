import numpy as np
import pytest

from rl.errors import ConfigError
from rl.robots import panda
from rl.robots.mujoco import MujocoBackend, build_model
from rl.tasks import UsbInsertion
from rl.transforms import apply_delta

TASK = UsbInsertion()


@pytest.fixture(scope="module")
def backend():
    backend = MujocoBackend(TASK)
    yield backend
    backend.close()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _hold(backend, T, periods):
    for _ in range(periods):
        state = backend.command(T, TASK.gripper_opening)
    return state


def test_arm_starts_where_it_was_asked_to(backend, rng):
    T_start = TASK.sample_start(rng)
    np.testing.assert_allclose(backend.reset(T_start, rng).T_base_tcp, T_start, atol=2e-4)


def test_wrench_is_zero_after_reset(backend, rng):
    np.testing.assert_array_equal(backend.reset(TASK.home, rng).wrench, np.zeros(6))


def test_arm_reaches_its_target_without_static_error(backend, rng):
    backend.reset(TASK.home, rng)
    target = apply_delta(TASK.home, np.array([0.03, -0.02, 0.02, 0.0, 0.0, 0.05]))
    np.testing.assert_allclose(_hold(backend, target, 10).T_base_tcp, target, atol=2e-4)


def test_one_centimetre_step_does_not_overshoot_by_half_a_millimetre(backend, rng):
    for axis in range(3):
        backend.reset(TASK.home, rng)
        target = TASK.home.copy()
        target[axis, 3] += 0.01
        furthest = max(_hold(backend, target, 1).T_base_tcp[axis, 3] for _ in range(6))
        assert furthest < target[axis, 3] + 5e-4


def test_pressing_on_the_rim_pushes_back_with_stiffness_times_depth(backend, rng):
    contact = TASK.home.copy()
    contact[:3, 3] = TASK.landmarks["port_right"] + [0.0, 0.0, TASK.p_tcp_tool[2]]
    above = apply_delta(contact, np.array([0.0, 0.0, 0.005, 0.0, 0.0, 0.0]))
    backend.reset(above, rng)
    state = _hold(backend, apply_delta(contact, np.array([0.0, 0.0, -0.005, 0.0, 0.0, 0.0])), 12)
    assert state.wrench[2] == pytest.approx(0.005 * panda.Impedance().stiffness, rel=0.1)
    sunk_m = TASK.landmarks["port"][2] - backend.truth()["plug_tip"][2]
    assert sunk_m < 1e-4


def test_force_saturates_far_from_the_target(backend, rng):
    contact = TASK.home.copy()
    contact[:3, 3] = TASK.landmarks["port_right"] + [0.0, 0.0, TASK.p_tcp_tool[2]]
    backend.reset(contact, rng)
    state = _hold(backend, apply_delta(contact, np.array([0.0, 0.0, -0.2, 0.0, 0.0, 0.0])), 10)
    assert state.wrench[2] < panda.Impedance().max_force + 3.0


def test_elbow_does_not_drift_under_random_motion(backend, rng):
    backend.reset(TASK.home, rng)
    null = panda.null_direction(backend.data.qpos[:7])
    start = null @ backend.data.qpos[:7]
    for _ in range(200):
        _hold(backend, apply_delta(TASK.home, rng.uniform(-1, 1, 6) * [0.05, 0.05, 0.05, 0.1, 0.1, 0.1]), 1)
    _hold(backend, TASK.home, 10)
    assert abs(null @ backend.data.qpos[:7] - start) < 0.01


def test_restored_snapshot_continues_bit_for_bit(backend, rng):
    backend.reset(TASK.home, rng)
    targets = [apply_delta(TASK.home, rng.uniform(-1, 1, 6) * 0.02) for _ in range(6)]
    _hold(backend, targets[0], 2)
    snapshot = backend.snapshot()
    first = [backend.command(T, 0.2) for T in targets]
    backend.reset(TASK.home, rng)
    backend.restore(snapshot)
    assert [backend.command(T, 0.2) for T in targets] == first


def test_gripper_follows_its_command(backend, rng):
    backend.reset(TASK.home, rng)
    for _ in range(10):
        state = backend.command(TASK.home, 0.8)
    assert state.gripper_opening == pytest.approx(0.8, abs=0.02)


def test_port_moves_only_when_asked_to():
    backend = MujocoBackend(UsbInsertion(port_jitter_m=0.03, port_jitter_rad=0.2))
    ports = []
    for seed in range(3):
        backend.reset(TASK.home, np.random.default_rng(seed))
        ports.append(backend.truth()["port"])
    assert len({tuple(port) for port in ports}) == 3
    assert all(np.max(np.abs(port - TASK.landmarks["port"])) <= 0.03 for port in ports)


def test_timestep_that_does_not_divide_the_period_is_refused():
    with pytest.raises(ConfigError, match=r"timestep_s is 0\.003"):
        MujocoBackend(TASK, timestep_s=0.003)


def test_camera_on_the_hand_is_where_its_mounting_says(backend, rng):
    T_base_tcp = backend.reset(TASK.sample_start(rng), rng).T_base_tcp
    for frame in backend.capture(["wrist_1", "side"]):
        mount = T_base_tcp if frame.name == "wrist_1" else np.eye(4)
        np.testing.assert_allclose(mount @ frame.T_mount_cam, frame.T_base_cam, atol=1e-6)


def test_image_that_nobody_sees_lacks_the_shadows_alone(backend, rng):
    backend.reset(TASK.sample_start(rng), rng)
    shown, plain = (backend.capture(["side", "wrist_1"], shadows=shadows) for shadows in (True, False))
    for one, other in zip(shown, plain, strict=True):
        np.testing.assert_array_equal(one.depth_m, other.depth_m)
    darker = plain[0].rgb.mean(axis=2) - shown[0].rgb.mean(axis=2)
    assert (darker > 10).mean() > 0.01
    np.testing.assert_array_equal(shown[1].rgb, plain[1].rgb)  # no shadows fall there at all


def test_mounting_of_a_camera_is_the_same_in_every_episode():
    backend = MujocoBackend(UsbInsertion(camera_jitter_m=0.005, camera_jitter_rad=0.015))
    captured = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        backend.reset(TASK.sample_start(rng), rng)
        captured.append(backend.capture(["wrist_1"])[0])
    backend.close()
    first, second = captured
    assert np.abs(first.T_base_cam - second.T_base_cam).max() > 0.001
    np.testing.assert_array_equal(first.T_mount_cam, second.T_mount_cam)


def test_scaled_friction_and_mass_change_nothing_else():
    plain, other = build_model(TASK), build_model(UsbInsertion(friction_scale=0.5, mass_scale=4.0))
    np.testing.assert_allclose(other.geom_friction[:, 0], 0.5 * plain.geom_friction[:, 0])
    np.testing.assert_array_equal(other.geom_friction[:, 1:], plain.geom_friction[:, 1:])
    assert other.body("held").mass[0] == pytest.approx(4 * 0.015)
    arm = [plain.body(name).id for name in panda.BODY_NAMES]
    np.testing.assert_array_equal(other.body_mass[arm], plain.body_mass[arm])
    # What the arm lifts of the load stays 15 g: the other 45 g weigh on it.
    assert (other.body_gravcomp * other.body_mass)[other.body("held").id] == pytest.approx(0.015)
    for name in ("qpos0", "tendon_length0", "tendon_lengthspring", "actuator_gear", "cam_pos"):
        np.testing.assert_allclose(getattr(other, name), getattr(plain, name), atol=1e-12)
