"""Rigid transforms as 4x4 matrices: the few operations that the control loop needs."""

import numpy as np
from scipy.spatial.transform import Rotation

from rl.types import FloatArray


def pose(position: FloatArray, rotation: FloatArray | None = None) -> FloatArray:
    """Return T of shape (4, 4) from a position (3,), [m], and a rotation matrix (3, 3), identity by default."""
    T = np.eye(4)
    T[:3, 3] = position
    if rotation is not None:
        T[:3, :3] = rotation
    return T


def rotvec_to_matrix(rotvec: FloatArray) -> FloatArray:
    """Return the rotation matrix (3, 3) of a rotation vector (3,), [rad]."""
    return np.asarray(Rotation.from_rotvec(rotvec).as_matrix())


def matrix_to_rotvec(rotation: FloatArray) -> FloatArray:
    """Return the rotation vector (3,), [rad], of a rotation matrix (3, 3)."""
    return np.asarray(Rotation.from_matrix(rotation).as_rotvec())


def invert(T: FloatArray) -> FloatArray:
    """Return the inverse of a rigid transform (4, 4)."""
    R = T[:3, :3]
    return pose(-R.T @ T[:3, 3], R.T)


def apply_delta(T_base_ref: FloatArray, delta: FloatArray) -> FloatArray:
    """Return the pose displaced by a delta (6,): translation [m] and rotation vector [rad], both in base axes."""
    return pose(T_base_ref[:3, 3] + delta[:3], rotvec_to_matrix(delta[3:6]) @ T_base_ref[:3, :3])


def pose_difference(T_base_from: FloatArray, T_base_to: FloatArray) -> FloatArray:
    """Return the delta (6,) for which `apply_delta(T_base_from, delta)` is `T_base_to`."""
    return np.concatenate(
        [T_base_to[:3, 3] - T_base_from[:3, 3], matrix_to_rotvec(T_base_to[:3, :3] @ T_base_from[:3, :3].T)]
    )
