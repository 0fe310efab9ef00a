import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from rl.transforms import apply_delta, invert, matrix_to_rotvec, pose, pose_difference, rotvec_to_matrix


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 0.1, 1.0, 2.9, 3.1, np.pi - 1e-7])
def test_rotation_vectors_agree_with_scipy(angle):
    for axis in np.random.default_rng(0).normal(size=(50, 3)):
        rotvec = angle * axis / np.linalg.norm(axis)
        matrix = Rotation.from_rotvec(rotvec).as_matrix()
        np.testing.assert_allclose(rotvec_to_matrix(rotvec), matrix, atol=1e-13)
        np.testing.assert_allclose(matrix_to_rotvec(matrix), rotvec, atol=1e-9)


def test_delta_turns_about_base_axes_and_moves_in_base_axes():
    T = apply_delta(
        pose(np.array([0.5, 0.0, 0.2]), np.diag([1.0, -1.0, -1.0])), np.array([0.01, 0, 0, 0, 0, np.pi / 2])
    )
    np.testing.assert_allclose(T[:3, 3], [0.51, 0.0, 0.2])
    np.testing.assert_allclose(T[:3, :3], [[0, 1, 0], [1, 0, 0], [0, 0, -1]], atol=1e-15)


def test_pose_difference_undoes_apply_delta():
    rng = np.random.default_rng(0)
    for _ in range(20):
        T = pose(rng.normal(size=3), rotvec_to_matrix(rng.normal(size=3)))
        delta = rng.normal(size=6) * 0.3
        np.testing.assert_allclose(pose_difference(T, apply_delta(T, delta)), delta, atol=1e-12)


def test_inverse_times_pose_is_identity():
    T = pose(np.array([1.0, 2.0, 3.0]), rotvec_to_matrix(np.array([0.1, 0.2, 0.3])))
    np.testing.assert_allclose(invert(T) @ T, np.eye(4), atol=1e-15)
