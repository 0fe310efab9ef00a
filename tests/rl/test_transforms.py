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


def random_pose(rng: np.random.Generator) -> np.ndarray:
    return pose(rng.normal(size=3), rotvec_to_matrix(rng.normal(size=3) * rng.uniform(0.0, 3.0)))


def test_every_rotation_vector_is_a_rotation(rng):
    for _ in range(300):
        R = rotvec_to_matrix(rng.normal(size=3) * rng.uniform(0.0, 10.0))
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-13)
        assert np.linalg.det(R) == pytest.approx(1.0)


def test_turning_back_is_the_transpose(rng):
    for rotvec in rng.normal(size=(100, 3)):
        np.testing.assert_allclose(rotvec_to_matrix(-rotvec), rotvec_to_matrix(rotvec).T, atol=1e-14)


def test_angle_of_a_rotation_is_at_most_half_a_turn(rng):
    for _ in range(200):
        rotvec = rng.normal(size=3) * 5.0
        found = matrix_to_rotvec(rotvec_to_matrix(rotvec))
        assert np.linalg.norm(found) <= np.pi + 1e-9
        np.testing.assert_allclose(rotvec_to_matrix(found), rotvec_to_matrix(rotvec), atol=1e-9)


@pytest.mark.parametrize("axis", np.eye(3).tolist() + [[0.6, 0.8, 0.0], [0.0, -0.6, 0.8]])
@pytest.mark.parametrize("angle", [np.pi, np.pi - 1e-10, 3.0001, 2.9999])
def test_half_a_turn_keeps_its_axis(axis, angle):
    found = matrix_to_rotvec(rotvec_to_matrix(angle * np.array(axis)))
    assert np.linalg.norm(found) == pytest.approx(angle, abs=1e-7)
    assert abs(found @ axis) == pytest.approx(angle, abs=1e-7)


def test_inverse_of_a_product_is_the_product_of_the_inverses_turned_round(rng):
    for _ in range(50):
        A, B = random_pose(rng), random_pose(rng)
        np.testing.assert_allclose(invert(A @ B), invert(B) @ invert(A), atol=1e-12)
        np.testing.assert_allclose(invert(invert(A)), A, atol=1e-12)


def test_difference_of_a_pose_from_itself_is_nothing(rng):
    for _ in range(50):
        T = random_pose(rng)
        np.testing.assert_allclose(pose_difference(T, T), np.zeros(6), atol=1e-12)
        np.testing.assert_allclose(apply_delta(T, np.zeros(6)), T, atol=1e-15)


def test_turn_does_not_move_and_move_does_not_turn(rng):
    T = random_pose(rng)
    turned, moved = apply_delta(T, np.array([0, 0, 0, 0.1, 0.2, 0.3])), apply_delta(T, np.array([1.0, 2, 3, 0, 0, 0]))
    np.testing.assert_array_equal(turned[:3, 3], T[:3, 3])
    np.testing.assert_array_equal(moved[:3, :3], T[:3, :3])


def test_part_of_a_way_divides_it(rng):
    """A third and then the rest of a turn about one axis is the whole."""
    A, B = random_pose(rng), random_pose(rng)
    way = pose_difference(A, B)
    third = apply_delta(A, way / 3)
    np.testing.assert_allclose(pose_difference(third, B), 2 * way / 3, atol=1e-9)


def test_arguments_are_left_as_they_were(rng):
    T, delta = random_pose(rng), rng.normal(size=6)
    before = T.copy(), delta.copy()
    apply_delta(T, delta)
    invert(T)
    pose_difference(T, np.eye(4))
    np.testing.assert_array_equal(T, before[0])
    np.testing.assert_array_equal(delta, before[1])
