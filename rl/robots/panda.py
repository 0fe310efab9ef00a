"""The Panda / FR3 chain: forward kinematics, inverse kinematics and MJCF text of our own.

The two arms share these kinematics and nearly the same shells; joint ranges are the FR3's where both have them. Meshes
are read by path from the gymnasium-robotics wheel, which is never imported; without it, capsules take their place.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rl.errors import ConfigError
from rl.transforms import pose_difference, rotvec_to_matrix
from rl.types import FloatArray

HOME_Q = (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398)
"""The manufacturer's ready posture. Shape (7,), [rad]."""

TCP_OFFSET_M = 0.1034
"""From the hand's flange face to the point between the fingertips, along z, [m]."""

FINGER_TRAVEL_M = 0.04
"""Travel of each finger, [m]."""

JOINT_NAMES = (*(f"joint{i}" for i in range(1, 8)), "left_finger", "right_finger")
"""Joints of arm and gripper, base first."""
BODY_NAMES = (*(f"link{i}" for i in range(8)), "hand", "left_finger", "right_finger")
"""Bodies of arm and gripper, base first; what the gripper holds is `held`."""


@dataclass(frozen=True)
class _Link:
    """A link: where its joint frame sits in the previous one, and its inertia (identified by Gaz et al., RA-L 2019)."""

    position: tuple[float, float, float]
    """Joint origin in the previous link's frame, [m]."""
    roll: float
    """Rotation about x from the previous link's frame, [rad]."""
    limits: tuple[float, float]
    """Joint range, [rad]."""
    torque: float
    """Joint torque limit, [N m]."""
    mass: float
    """Mass, [kg]."""
    com: tuple[float, float, float]
    """Centre of mass in the link's frame, [m]."""
    inertia: tuple[float, float, float, float, float, float]
    """xx, yy, zz, xy, xz, yz about the centre of mass, [kg m^2]."""
    capsule: tuple[float, float, float, float, float, float, float]
    """Stand-in shape when meshes are missing: from (3), to (3), radius, [m]."""


_H = np.pi / 2
_LINKS = (
    _Link((0, 0, 0.333), 0.0, (-2.7437, 2.7437), 87, 4.970684, (0.003875, 0.002081, -0.04762),
          (0.70337, 0.70661, 0.0091170, -0.000139, 0.006772, 0.019169), (0, 0, -0.16, 0, 0, 0.0, 0.06)),
    _Link((0, 0, 0), -_H, (-1.7628, 1.7628), 87, 0.646926, (-0.003141, -0.02872, 0.003495),
          (0.007962, 0.02811, 0.025995, -0.003925, 0.010254, 0.000704), (0, 0, 0, 0, -0.15, 0, 0.06)),
    _Link((0, -0.316, 0), _H, (-2.8973, 2.8973), 87, 3.228604, (0.027518, 0.039252, -0.066502),
          (0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805), (0, 0, -0.08, 0.06, 0.03, 0, 0.055)),
    _Link((0.0825, 0, 0), _H, (-3.0421, -0.1518), 87, 3.587895, (-0.05317, 0.104419, 0.027454),
          (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641), (0, 0, 0.02, -0.08, 0.08, 0, 0.055)),
    _Link((-0.0825, 0.384, 0), -_H, (-2.8065, 2.8065), 12, 1.225946, (-0.011953, 0.041065, -0.038437),
          (0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229), (0, 0, -0.21, 0, 0.05, 0, 0.05)),
    _Link((0, 0, 0), _H, (0.5445, 3.7525), 12, 1.666555, (0.060149, -0.014117, -0.010517),
          (0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341), (0, 0, 0, 0.085, 0.02, 0, 0.048)),
    _Link((0.088, 0, 0), _H, (-2.8973, 2.8973), 12, 0.735522, (0.010517, -0.004252, 0.061597),
          (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741), (0, 0, 0.05, 0, 0, 0.085, 0.045)),
)  # fmt: skip
_FLANGE_M = 0.107
"""Flange face along z of link 7, [m]. The hand sits there, turned by -45 degrees."""

JOINT_LIMITS = np.array([link.limits for link in _LINKS])
"""Lowest and highest angle of each joint. Shape (7, 2), [rad]."""


def _x_rotation(angle: float) -> FloatArray:
    return rotvec_to_matrix(np.array([angle, 0.0, 0.0]))


def _fixed(position: tuple[float, float, float], rotation: FloatArray) -> FloatArray:
    T = np.eye(4)
    T[:3, :3] = rotation
    T[:3, 3] = position
    return T


_JOINT_FRAMES = tuple(_fixed(link.position, _x_rotation(link.roll)) for link in _LINKS)
_T_LINK7_TCP = _fixed((0, 0, _FLANGE_M + TCP_OFFSET_M), rotvec_to_matrix(np.array([0, 0, -np.pi / 4])))


def forward_kinematics(q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the pose T_base_tcp (4, 4), [m], and the geometric Jacobian (6, 7) in base axes, translation first.

    Args:
        q: Joint angles. Shape (7,), [rad].
    """
    T = np.eye(4)
    axes, origins = np.empty((7, 3)), np.empty((7, 3))
    for i, (T_fixed, angle) in enumerate(zip(_JOINT_FRAMES, q, strict=True)):
        T = T @ T_fixed
        axes[i], origins[i] = T[:3, 2], T[:3, 3]
        cos, sin = np.cos(angle), np.sin(angle)
        T = T @ np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    T = T @ _T_LINK7_TCP
    jacobian = np.vstack([np.cross(axes, T[:3, 3] - origins).T, axes.T])
    return T, jacobian


def inverse_kinematics(T_base_tcp: FloatArray, q_start: FloatArray) -> FloatArray:
    """Return joint angles (7,), [rad], that reach a TCP pose, close to `q_start` in the elbow's free motion.

    Raises:
        ConfigError: If the pose is out of reach or outside the joint ranges.
    """
    q = np.array(q_start, dtype=np.float64)
    for _ in range(100):
        T, jacobian = forward_kinematics(q)
        error = pose_difference(T, T_base_tcp)
        if np.max(np.abs(error)) < 1e-9:
            break
        pseudo_inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + 1e-8 * np.eye(6))
        posture = 0.1 * (q_start - q)
        q = q + pseudo_inverse @ error + posture - pseudo_inverse @ (jacobian @ posture)
    inside = np.all(q >= JOINT_LIMITS[:, 0]) and np.all(q <= JOINT_LIMITS[:, 1])
    if np.max(np.abs(error)) > 1e-6 or not inside:
        x, y, z = T_base_tcp[:3, 3]
        raise ConfigError(f"The arm cannot reach TCP position ({x:.3f}, {y:.3f}, {z:.3f}) m; ask for a pose nearer.")
    return q


def null_direction(q: FloatArray) -> FloatArray:
    """Return the unit joint motion (7,) that leaves the TCP still: the elbow swing."""
    _, jacobian = forward_kinematics(q)
    direction = np.linalg.svd(jacobian)[2][6]
    return np.asarray(direction * np.sign(direction[np.argmax(np.abs(direction))]))


def find_mesh_folder() -> Path | None:
    """Return the folder of the Panda meshes in the installed gymnasium-robotics wheel, or None."""
    spec = importlib.util.find_spec("gymnasium_robotics")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "envs/assets/kitchen_franka/franka_assets/meshes"
    return folder if (folder / "visual" / "link0.stl").is_file() else None


_BODIES = (*(f"link{i}" for i in range(8)), "hand", "finger")
_HAND_CAPSULE = (0.0, -0.07, 0.035, 0.0, 0.07, 0.035, 0.032)
_FINGER_CAPSULE = (0.0, 0.01, 0.01, 0.0, 0.01, 0.045, 0.009)
_BASE_CAPSULE = (-0.06, 0.0, 0.07, 0.0, 0.0, 0.09, 0.075)


def assets_mjcf(mesh_folder: Path | None) -> str:
    """Return the content of `<asset>` for the arm: materials, low-poly and full meshes."""
    materials = (
        '<material name="arm" rgba=".93 .93 .92 1" specular=".35" shininess=".4"/>'
        '<material name="hand" rgba=".86 .86 .85 1" specular=".3" shininess=".3"/>'
        '<material name="finger" rgba=".22 .23 .25 1" specular=".2" shininess=".2"/>'
    )
    if mesh_folder is None:
        return materials
    return materials + "".join(
        f'<mesh name="{body}_{detail}" file="{mesh_folder / folder / body}.stl" inertia="shell"/>'
        for body in _BODIES
        for detail, folder in (("low", "collision"), ("full", "visual"))
    )


def _visuals(body: str, material: str, capsule: tuple[float, ...], mesh_folder: Path | None) -> str:
    """Return the geoms that are only seen: group 1 low-poly, group 2 full."""
    common = f'material="{material}" contype="0" conaffinity="0" mass="0"'
    if mesh_folder is not None:
        return "".join(
            f'<geom type="mesh" mesh="{body}_{detail}" group="{group}" {common}/>'
            for detail, group in (("low", 1), ("full", 2))
        )
    ends, radius = " ".join(f"{v:g}" for v in capsule[:6]), capsule[6]
    return "".join(f'<geom type="capsule" fromto="{ends}" size="{radius}" group="{g}" {common}/>' for g in (1, 2))


def _finger_mjcf(side: str, turn: str, added: str, mesh_folder: Path | None) -> str:
    return (
        f'<body name="{side}_finger" pos="0 0 .0584" {turn} gravcomp="1">'
        '<inertial pos="0 .01 .03" mass=".015" diaginertia="2.4e-6 2.4e-6 7.5e-7"/>'
        f'<joint name="{side}_finger" type="slide" axis="0 1 0" range="0 {FINGER_TRAVEL_M}" '
        'armature=".1" damping="20"/>'
        + _visuals("finger", "finger", _FINGER_CAPSULE, mesh_folder)
        + f'<geom name="{side}_finger" type="box" size=".009 .007 .0265" pos="0 .0085 .0275" '
        f'group="3" contype="2" conaffinity="4" mass="0"/>{added}</body>'
    )  # fmt: skip


def arm_mjcf(*, held_mjcf: str, finger_mjcf: str, hand_cameras_mjcf: str, mesh_folder: Path | None) -> str:
    """Return the body tree of the arm from its base to the fingers.

    Args:
        held_mjcf: What the gripper holds, as children of the frame `tcp` (axes of the TCP).
        finger_mjcf: What is part of each finger, in its frame; {side} stands for left or right.
        hand_cameras_mjcf: Cameras in the hand's frame.
        mesh_folder: Folder of the meshes, None for capsules.
    """
    hand = (
        f'<body name="hand" pos="0 0 {_FLANGE_M}" quat="0.9238795325 0 0 -0.3826834324" gravcomp="1">'
        '<inertial pos="-.01 0 .03" mass=".73" diaginertia=".001 .0025 .0017"/>'
        + _visuals("hand", "hand", _HAND_CAPSULE, mesh_folder)
        + '<geom name="hand" type="box" size=".031 .102 .033" pos="0 0 .033" group="3" contype="2" conaffinity="4"'
        f' mass="0"/><site name="tcp" pos="0 0 {TCP_OFFSET_M}" size=".002" group="4"/>{hand_cameras_mjcf}'
        f'<body name="held" pos="0 0 {TCP_OFFSET_M}" gravcomp="1">{held_mjcf}</body>'
        + _finger_mjcf("left", "", finger_mjcf.format(side="left"), mesh_folder)
        + _finger_mjcf("right", 'quat="0 0 0 1"', finger_mjcf.format(side="right"), mesh_folder)
        + "</body>"
    )
    tree = hand
    for number, link in reversed(tuple(enumerate(_LINKS, start=1))):
        tree = (
            f'<body name="link{number}" pos="{_numbers(link.position)}" euler="{link.roll:.10f} 0 0" gravcomp="1">'
            f'<inertial pos="{_numbers(link.com)}" mass="{link.mass}" fullinertia="{_numbers(link.inertia)}"/>'
            f'<joint name="joint{number}" axis="0 0 1" range="{_numbers(link.limits)}" armature=".1" damping="1" '
            f'actuatorfrcrange="{-link.torque} {link.torque}"/>'
            + _visuals(f"link{number}", "arm", link.capsule, mesh_folder)
            + tree
            + "</body>"
        )
    base = _visuals("link0", "arm", _BASE_CAPSULE, mesh_folder)
    return f'<body name="link0">{base}{tree}</body>'


@dataclass(frozen=True, kw_only=True)
class Impedance:
    """Cartesian impedance at the TCP: a spring and a damper to the target, saturated."""

    stiffness: float = 2000.0
    """Translational stiffness, [N/m]; HIL-SERL's value."""
    damping: float = 200.0
    """Translational damping, [N s/m]: a 1 cm step settles in 0.25 s without overshoot (98 rang for 0.5 s)."""
    max_force: float = 40.0
    """Largest force per axis, [N]."""
    rotational_stiffness: float = 200.0
    """Rotational stiffness, [N m/rad]."""
    rotational_damping: float = 15.0
    """Rotational damping, [N m s/rad]."""
    max_torque: float = 15.0
    """Largest torque per axis, [N m]."""
    posture_stiffness: float = 20.0
    """Stiffness of the elbow swing towards home, [N m/rad]; acts along the null direction only."""
    posture_damping: float = 2.0
    """Damping of the elbow swing, [N m s/rad]."""


def control_mjcf(q_home: FloatArray, impedance: Impedance) -> tuple[str, str]:
    """Return the contents of `<tendon>` and `<actuator>`: impedance in the base frame, posture, fingers.

    Position actuators between the TCP site and a reference site pull with stiffness x error in base axes. Rotations are
    rotation vectors, so their reference site points gripper-down: at home they are zero, far from the jump at pi. The
    posture is a fixed tendon along the Jacobian's null vector at home: plain joint springs would pull the TCP off.

    Args:
        q_home: Posture at the middle of the workspace. Shape (7,), [rad].
        impedance: Gains.
    """
    null = null_direction(q_home)
    joints = "".join(f'<joint joint="joint{i + 1}" coef="{c:.12g}"/>' for i, c in enumerate(null))
    tendon = (
        f'<fixed name="posture" stiffness="{impedance.posture_stiffness}" damping="{impedance.posture_damping}" '
        f'springlength="{null @ q_home:.12g}">{joints}</fixed>'
    )
    gains = (
        ("base", 0, impedance.stiffness, impedance.damping, impedance.max_force),
        ("base_down", 3, impedance.rotational_stiffness, impedance.rotational_damping, impedance.max_torque),
    )
    actuators = ""
    for reference, first, kp, kv, limit in gains:
        for axis in range(first, first + 3):
            gear = " ".join("1" if k == axis else "0" for k in range(6))
            actuators += (
                f'<position name="{"x y z rx ry rz".split()[axis]}" site="tcp" refsite="{reference}" gear="{gear}" '
                f'kp="{kp}" kv="{kv}" forcerange="{-limit} {limit}"/>'
            )
    for side in ("left", "right"):
        actuators += (
            f'<position name="{side}_finger" joint="{side}_finger" kp="1000" kv="20" forcerange="-70 70" '
            f'ctrlrange="0 {FINGER_TRAVEL_M}"/>'
        )
    return tendon, actuators


REFERENCE_SITES_MJCF = (
    '<site name="base" size=".001" group="4"/><site name="base_down" quat="0 1 0 0" size=".001" group="4"/>'
)
"""Frames in the world that the impedance measures from: base axes, and the gripper-down orientation."""


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{v:.9g}" for v in values)
