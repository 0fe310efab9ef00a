import mujoco
import numpy as np
import pytest

from rl.errors import ConfigError
from rl.robots import panda
from rl.robots.mujoco import build_model
from rl.tasks import UsbInsertion
from rl.tasks.base import TOOL_DOWN
from rl.transforms import pose, pose_difference

HOME_Q = np.array(panda.HOME_Q)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_ready_posture_points_straight_down_at_the_documented_place():
    T_base_tcp, _ = panda.forward_kinematics(HOME_Q)
    np.testing.assert_allclose(T_base_tcp[:3, :3], TOOL_DOWN, atol=1e-5)
    np.testing.assert_allclose(T_base_tcp[:3, 3], [0.3069, 0.0, 0.4869], atol=1e-4)


def test_forward_kinematics_equals_the_simulated_chain(rng):
    model = build_model(UsbInsertion())
    data = mujoco.MjData(model)
    for q in rng.uniform(panda.JOINT_LIMITS[:, 0], panda.JOINT_LIMITS[:, 1], (5, 7)):
        data.qpos[:7] = q
        mujoco.mj_kinematics(model, data)
        T_base_tcp, _ = panda.forward_kinematics(q)
        np.testing.assert_allclose(T_base_tcp[:3, 3], data.site("tcp").xpos, atol=1e-8)
        np.testing.assert_allclose(T_base_tcp[:3, :3], data.site("tcp").xmat.reshape(3, 3), atol=1e-8)


def test_jacobian_is_the_derivative_of_the_pose(rng):
    q, dq = HOME_Q + 0.1, rng.normal(size=7) * 1e-6
    T, jacobian = panda.forward_kinematics(q)
    T_next, _ = panda.forward_kinematics(q + dq)
    np.testing.assert_allclose(pose_difference(T, T_next), jacobian @ dq, atol=1e-11)


def test_inverse_kinematics_reaches_the_pose():
    T_base_tcp = pose(np.array([0.5, 0.1, 0.2]), TOOL_DOWN)
    reached, _ = panda.forward_kinematics(panda.inverse_kinematics(T_base_tcp, HOME_Q))
    np.testing.assert_allclose(reached, T_base_tcp, atol=1e-8)


def test_pose_out_of_reach_is_refused():
    with pytest.raises(ConfigError, match="cannot reach"):
        panda.inverse_kinematics(pose(np.array([1.5, 0.0, 0.2]), TOOL_DOWN), HOME_Q)


def test_null_direction_leaves_the_tcp_still():
    _, jacobian = panda.forward_kinematics(HOME_Q)
    np.testing.assert_allclose(jacobian @ panda.null_direction(HOME_Q), 0.0, atol=1e-12)


def test_arm_without_meshes_has_the_same_dynamics(monkeypatch):
    with_meshes = build_model(UsbInsertion())
    monkeypatch.setattr(panda, "find_mesh_folder", lambda: None)
    without = build_model(UsbInsertion())
    assert without.nmesh == 0
    np.testing.assert_array_equal(without.body_mass, with_meshes.body_mass)
    np.testing.assert_array_equal(without.body_inertia, with_meshes.body_inertia)
