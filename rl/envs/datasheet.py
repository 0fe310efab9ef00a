"""What each number of a state and of an action is, for whoever reads a recording: `ManipulationEnv`, as a table."""

from dataclasses import dataclass

from rl.types import POSE_ACTIONS


@dataclass(frozen=True)
class Component:
    """One number of a vector."""

    name: str
    unit: str
    """What 1.0 is; empty where nobody knows."""
    frame: str
    """Axes, and what it is measured from; empty where nobody knows."""


def _axes(name: str, unit: str, frame: str) -> tuple[Component, ...]:
    return tuple(Component(f"{name}_{axis}", unit, frame) for axis in "xyz")


STATE: tuple[Component, ...] = (
    *_axes("tcp_position", "0.1 m", "base axes, minus that at reset"),
    *_axes("tcp_rotation_vector", "0.1 rad", "base axes, from the orientation at reset"),
    *_axes("tcp_velocity", "0.1 m/s", "base axes"),
    *_axes("tcp_angular_velocity", "0.6 rad/s", "base axes"),
    *_axes("tcp_force", "10 N, then tanh", "base axes, tared at reset"),
    *_axes("tcp_torque", "1 N m, then tanh", "base axes, tared at reset"),
    Component("gripper_opening", "open; 0 is closed", ""),
)
"""The state of `ManipulationEnv`."""


def action_components(size: int, *, translation_m: float, rotation_rad: float) -> tuple[Component, ...]:
    """Return what an action of `ManipulationEnv` is: executed, after the guard, each in [-1, 1].

    Args:
        size: 6, or 7 with a gripper command.
        translation_m: Translation of a unit action per axis, [m].
        rotation_rad: Rotation of a unit action per axis, [rad].
    """
    pose = (
        *_axes("translation", f"{translation_m:g} m", "base axes, added to the reference pose"),
        *_axes("rotation_vector", f"{rotation_rad:g} rad", "base axes, added to the reference pose"),
    )
    gripper = Component("gripper", "open above 0.5, closed below -0.5, between them as before", "")
    return (*pose, gripper) if size > POSE_ACTIONS else pose


def nameless(kind: str, size: int) -> tuple[Component, ...]:
    """Return components of which nobody said what they are."""
    return tuple(Component(f"{kind}_{number}", "", "") for number in range(size))
