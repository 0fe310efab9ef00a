"""The motions that franky's 1 kHz thread runs, and the way of a joint motion."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rl.errors import ConfigError
from rl.robots import panda
from rl.robots.franka.config import ArmConfig
from rl.robots.franka.faults import DEAD_MAN_S, StopReason
from rl.robots.real.line import corners, place
from rl.types import Box, FloatArray

PATIENCE_S = 0.05
"""Robot time for which a force may be above the limit: hitting the table at 0.1 m/s does so for some milliseconds."""


class Tracking:
    """Cartesian impedance tracking, what franky's CartesianImpedanceTracker runs, with stops that need no Python.

    tau = J^T (K clip(e) - D v) + posture in the null space; |K clip(e)| is the contact force that it can exert. In the
    1 kHz thread the arm is stopped when |F - bias| stays above the limit for `PATIENCE_S`, and when the motion is older
    than `DEAD_MAN_S`. Handing over to a fresh motion of the same gains is seamless and rewinds that clock.

    The patience is a second motion, alike but for its clock: the first hands over to it when the force is too large,
    and it stops when that is so after its patience. The next fresh motion takes over from either.
    """

    def __init__(
        self,
        franky: Any,
        config: ArmConfig,
        *,
        T_base_target: FloatArray,
        bias_N: FloatArray,
        note: Callable[[StopReason, Any], None],
    ) -> None:
        """Build the motion; nothing moves before `motion` is given to the arm.

        Args:
            franky: The module.
            config: Gains and limits.
            T_base_target: First target. Shape (4, 4), [m].
            bias_N: Force that counts as none, as the control box reports it. Shape (3,), [N].
            note: Told why one of the stops acted, with the state of that moment.
        """
        self._franky = franky
        self.motion = _impedance(franky, config)
        self._alarmed = _impedance(franky, config)
        self.set_target(T_base_target)
        measure = franky.Measure
        axes = (measure.FORCE_X, measure.FORCE_Y, measure.FORCE_Z)
        x2, y2, z2 = ((axis - float(bias)) ** 2 for axis, bias in zip(axes, bias_N, strict=True))
        too_much = x2 + y2 + z2 > (config.stop_force_factor * config.max_contact_force_N) ** 2
        stops: tuple[tuple[Any, StopReason, Any], ...] = (
            (self._alarmed, "force", too_much & (measure.REL_TIME > PATIENCE_S)),
            (self._alarmed, "dead man", measure.REL_TIME > DEAD_MAN_S),
            (self.motion, "dead man", measure.REL_TIME > DEAD_MAN_S),
        )
        for motion, what, condition in stops:
            reaction = franky.TorqueReaction(condition, franky.TorqueStopMotion())
            reaction.register_callback(lambda state, relative, absolute, what=what: note(what, state))
            motion.add_reaction(reaction)
        self.motion.add_reaction(franky.TorqueReaction(too_much, self._alarmed))

    def set_target(self, T_base_target: FloatArray) -> None:
        """Pull towards a pose (4, 4), [m]."""
        reference = self._franky.CartesianReference(target=self._franky.Affine(T_base_target))
        self.motion.set_reference(reference)
        self._alarmed.set_reference(reference)


def _impedance(franky: Any, config: ArmConfig) -> Any:
    motion = franky.CartesianImpedanceTrackingMotion(
        translational_stiffness=config.translational_stiffness,
        rotational_stiffness=config.rotational_stiffness,
        gains_time_constant=0.001,  # gains are faded in from the start of each motion
        translational_error_clip=np.full(3, config.max_contact_force_N / config.translational_stiffness),
        rotational_error_clip=np.full(3, config.max_contact_torque_Nm / config.rotational_stiffness),
        posture_task=franky.PostureTask(np.array(config.home_q), config.nullspace_stiffness),
        lower_joint_limits=panda.JOINT_LIMITS[:, 0],
        upper_joint_limits=panda.JOINT_LIMITS[:, 1],
    )
    motion.set_gains(
        franky.CartesianImpedanceGains.isotropic(
            config.translational_stiffness,
            config.rotational_stiffness,
            config.translational_damping,
            config.rotational_damping,
        )
    )
    return motion


def check_way(franky: Any, robot: Any, q_from: FloatArray, q_to: FloatArray, *, workspace: Box, slack_m: float) -> None:
    """Refuse a joint motion that leaves the joint ranges, or on whose way the TCP leaves the workspace.

    Args:
        franky: The module.
        robot: Knows the kinematics.
        q_from: Where it starts. Shape (7,), [rad].
        q_to: Where it ends. Shape (7,), [rad].
        workspace: Of the TCP, base frame, [m].
        slack_m: How far outside it the way may lead, [m].

    Raises:
        ConfigError: If it does.
    """
    if q_to.shape != (7,) or not np.all(np.isfinite(q_to)):
        raise ConfigError("A posture has seven finite joint angles.")
    if np.any(q_to < panda.JOINT_LIMITS[:, 0]) or np.any(q_to > panda.JOINT_LIMITS[:, 1]):
        raise ConfigError(f"The posture {np.round(q_to, 3).tolist()} is outside the joint ranges; choose another.")
    state, frame = robot.state, franky.Frame.EndEffector
    for part in np.linspace(0.0, 1.0, 11):
        T = np.array(robot.model.pose(frame, q_from + part * (q_to - q_from), state.F_T_EE, state.EE_T_K).matrix)
        out_m = float(np.max(np.abs(T[:3, 3] - workspace.project(T[:3, 3]))))
        if out_m > slack_m:
            raise ConfigError(
                f"The joint motion would pass {place(T)}, {1000 * out_m:.0f} mm outside the workspace "
                f"{corners(workspace)}; go nearer first."
            )
