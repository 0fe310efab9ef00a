"""The task's MuJoCo model with joint torques in place of the simulation's impedance, stepped at the arm's 1 kHz."""

from typing import Any

import numpy as np

from rl.robots import panda
from rl.robots.base import CLOSED_BELOW
from rl.robots.engine import mujoco
from rl.robots.grasp import Grasp
from rl.robots.mujoco import apply_variation, build_model, nominal_arrays
from rl.tasks.base import SimulatedTask
from rl.types import FloatArray

TIMESTEP_S = 0.001
"""The FCI's clock, [s]."""
WRENCH_FILTER_S = 0.010
"""Time constant of the external wrench's low pass, [s]: the arm's own estimate is filtered as well."""
MAX_WIDTH_M = 2 * panda.FINGER_TRAVEL_M
"""Distance of the open fingers, [m]."""
_SETTLED_M_S = 0.002
"""Fingers slower than this have closed, [m/s]."""


class World:
    """Arm, gripper, table and what is held: exactly the simulation's, but it obeys joint torques.

    Gravity is compensated in the model, as the arm does it by itself: no torque means no motion.
    """

    def __init__(self, task: SimulatedTask, *, seed: int = 0) -> None:
        """Compile the scene with the arm at the task's home."""
        self._task = task
        self.model: Any = build_model(task, timestep_s=TIMESTEP_S)
        self.data: Any = mujoco.MjData(self.model)
        self._remove_impedance()
        self._nominal = nominal_arrays(self.model)
        joints = [self.model.joint(name) for name in panda.JOINT_NAMES]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        self._finger_actuators = [self.model.actuator(name).id for name in panda.JOINT_NAMES[7:]]
        self._tcp = self.model.site("tcp").id
        self._hand = _subtree(self.model, self.model.body("hand").id)
        scene = task.scene_mjcf()
        self._grasp = Grasp(self.model, scene.grasp) if scene.grasp else None
        # What the hand holds throughout does not touch the fingers in the model, which keep the task's opening.
        self._narrowest_m = 0.0 if task.has_gripper else task.gripper_opening * MAX_WIDTH_M
        self._goal_m = self._ramp_m = task.gripper_opening * MAX_WIDTH_M
        self._finger_speed_m_s = 0.05
        self._ties_when_closed = False
        self._no_wrench: FloatArray = np.zeros(6)
        self._contact_wrench: FloatArray = np.zeros(6)
        self.added_wrench: FloatArray = np.zeros(6)
        """Reported on top of contact: a planted fault. Shape (6,), [N] and [N m]."""
        self.data.qpos[self._qpos[:7]] = panda.inverse_kinematics(task.home, np.array(panda.HOME_Q))
        self.data.qpos[self._qpos[7:]] = self._goal_m / 2
        self.reset(seed)

    def _remove_impedance(self) -> None:
        """Silence the actuators and the tendon that hold the arm in the simulation; fingers stay as they are."""
        model = self.model
        for name in ("x", "y", "z", "rx", "ry", "rz"):
            index = model.actuator(name).id
            model.actuator_gainprm[index] = model.actuator_biasprm[index] = 0.0
        posture = model.tendon("posture").id
        for array in (model.tendon_stiffness, model.tendon_damping):
            array[posture] = 0.0

    def reset(self, seed: int) -> None:
        """Put the scene, but not the arm, to the start of an episode."""
        q, dq = self.data.qpos[self._qpos].copy(), self.data.qvel[self._dof].copy()
        mujoco.mj_resetData(self.model, self.data)
        apply_variation(self.model, self.data, self._nominal, self._task.sample_scene(np.random.default_rng(seed)))
        self.data.qpos[self._qpos], self.data.qvel[self._dof] = q, dq
        self.data.ctrl[self._finger_actuators] = self._ramp_m / 2
        mujoco.mj_forward(self.model, self.data)

    @property
    def q(self) -> FloatArray:
        """Joint angles. Shape (7,), [rad]."""
        return np.asarray(self.data.qpos[self._qpos[:7]])

    @property
    def dq(self) -> FloatArray:
        """Joint velocities. Shape (7,), [rad/s]."""
        return np.asarray(self.data.qvel[self._dof[:7]])

    @property
    def width_m(self) -> float:
        """Distance of the fingers, [m]."""
        return float(self.data.qpos[self._qpos[7:]].sum())

    def set_torque(self, torque: FloatArray) -> None:
        """Set the joint torques beyond gravity's until the next call. Shape (7,), [N m]."""
        self.data.qfrc_applied[self._dof[:7]] = torque

    def set_fingers(self, width_m: float, speed_m_s: float, force_N: float) -> None:
        """Move the fingers to a distance from each other, as far as what is between them lets them."""
        self._goal_m = float(np.clip(width_m, self._narrowest_m, MAX_WIDTH_M))
        self._finger_speed_m_s = max(speed_m_s, 0.001) / 2
        limit = float(np.clip(force_N, 1.0, 70.0))
        self.model.actuator_forcerange[self._finger_actuators] = [-limit, limit]
        closing = self._goal_m < CLOSED_BELOW * MAX_WIDTH_M
        if self._grasp and not closing:
            self._grasp.release(self.data)
        self._ties_when_closed = self._grasp is not None and closing and not self._grasp.held(self.data)

    def step(self) -> None:
        """Advance by one millisecond."""
        travel = 2 * self._finger_speed_m_s * TIMESTEP_S
        self._ramp_m += float(np.clip(self._goal_m - self._ramp_m, -travel, travel))
        self.data.ctrl[self._finger_actuators] = self._ramp_m / 2
        mujoco.mj_step(self.model, self.data)
        share = TIMESTEP_S / WRENCH_FILTER_S
        self._contact_wrench += share * (self._push_on_world() - self._contact_wrench)
        self._contact_wrench[np.abs(self._contact_wrench) < 1e-6] = 0.0
        if self._ties_when_closed and self._has_closed() and self._grasp:
            self._grasp.tie(self.data)
            self._ties_when_closed = False

    def _has_closed(self) -> bool:
        speed = np.abs(self.data.qvel[self._dof[7:]]).max()
        return self._ramp_m == self._goal_m and speed < _SETTLED_M_S and self.width_m < CLOSED_BELOW * MAX_WIDTH_M

    def _push_on_world(self) -> FloatArray:
        """Return what hand, fingers and held object exert on the world, about the TCP, base axes. Shape (6,)."""
        data = self.data
        on_hand = data.cfrc_ext[self._hand].sum(axis=0)  # torque first, about the centre of mass of the whole arm
        if not on_hand.any():
            return self._no_wrench
        torque, force = on_hand[:3], on_hand[3:]
        arm = data.subtree_com[self.model.body_rootid[self._hand[0]]] - data.site_xpos[self._tcp]
        return -np.concatenate([force, torque + np.cross(arm, force)])

    @property
    def wrench(self) -> FloatArray:
        """What the arm exerts on the world about the TCP, base axes; 0 without contact. Shape (6,), [N] and [N m]."""
        return self._contact_wrench + self.added_wrench

    def jacobian(self) -> FloatArray:
        """Return the Jacobian of the TCP in base axes, translation first. Shape (6, 7)."""
        jacobian = np.empty((6, self.model.nv))
        mujoco.mj_jacSite(self.model, self.data, jacobian[:3], jacobian[3:], self._tcp)
        return np.asarray(jacobian[:, self._dof[:7]])

    @property
    def T_base_tcp(self) -> FloatArray:
        """Pose of the model's TCP site. Shape (4, 4), [m]."""
        T = np.eye(4)
        T[:3, :3] = self.data.site_xmat[self._tcp].reshape(3, 3)
        T[:3, 3] = self.data.site_xpos[self._tcp]
        return T


def _subtree(model: Any, root: int) -> Any:
    """Return the ids of a body and of all that hangs on it; parents come before children in a model."""
    inside = {root}
    for body in range(root + 1, model.nbody):
        if int(model.body_parentid[body]) in inside:
            inside.add(body)
    return np.array(sorted(inside))
