"""Rigid transforms as 4x4 matrices: the few operations that the control loop needs."""

import math

import numpy as np

from rl.types import FloatArray

TOOL_DOWN = np.diag([1.0, -1.0, -1.0])
"""Orientation of the TCP with the fingers pointing straight down. Shape (3, 3)."""


def pose(position: FloatArray, rotation: FloatArray | None = None) -> FloatArray:
    """Return T of shape (4, 4) from a position (3,), [m], and a rotation matrix (3, 3), identity by default."""
    T = np.eye(4)
    T[:3, 3] = position
    if rotation is not None:
        T[:3, :3] = rotation
    return T


# Written out: SciPy's Rotation costs 10 to 45 us a call, ten calls a control step.
def rotvec_to_matrix(rotvec: FloatArray) -> FloatArray:
    """Return the rotation matrix (3, 3) of a rotation vector (3,), [rad] (Rodrigues' formula)."""
    x, y, z = (float(v) for v in rotvec)
    angle2 = x * x + y * y + z * z
    angle = math.sqrt(angle2)
    small = angle < 1e-4
    a = 1.0 - angle2 / 6.0 if small else math.sin(angle) / angle
    b = 0.5 - angle2 / 24.0 if small else (1.0 - math.cos(angle)) / angle2
    return np.array(
        [
            [1.0 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y],
            [b * x * y + a * z, 1.0 - b * (x * x + z * z), b * y * z - a * x],
            [b * x * z - a * y, b * y * z + a * x, 1.0 - b * (x * x + y * y)],
        ]
    )


def matrix_to_rotvec(rotation: FloatArray) -> FloatArray:
    """Return the rotation vector (3,), [rad], of a rotation matrix (3, 3)."""
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = rotation.tolist()
    axis = (r21 - r12, r02 - r20, r10 - r01)
    sine = 0.5 * math.sqrt(axis[0] ** 2 + axis[1] ** 2 + axis[2] ** 2)
    angle = math.atan2(sine, 0.5 * (r00 + r11 + r22 - 1.0))
    if angle > 3.0:  # near pi the axis vanishes here
        from scipy.spatial.transform import Rotation  # takes a third of a second to load, and hardly anybody needs it

        return np.asarray(Rotation.from_matrix(rotation).as_rotvec())
    gain = 0.5 if sine < 1e-8 else 0.5 * angle / sine
    return np.array([gain * axis[0], gain * axis[1], gain * axis[2]])


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
