"""The environment: a task on a backend. Every commanded target passes `rl.guard.guard_target`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.guard import GuardLimits, guard_target
from rl.robots.base import CONTROL_RATE_HZ, Backend
from rl.tasks.base import Task
from rl.tasks.expert import make_expert
from rl.transforms import apply_delta, matrix_to_rotvec, pose_difference
from rl.types import Box, Expert, FloatArray, Observation, RGBDFrame, RobotState

Reference = Literal["commanded", "measured"]

STATE_SIZE = 19
_STATE_SCALE = np.array([0.1] * 3 + [0.1] * 3 + [0.1] * 3 + [0.6] * 3 + [10.0] * 3 + [1.0] * 3 + [1.0])


@dataclass(frozen=True, kw_only=True)
class EnvSnapshot:
    """A moment of an episode."""

    backend: Any
    robot: RobotState
    T_base_start: FloatArray
    T_base_ref: FloatArray
    opening: float
    step: int
    rng: Mapping[str, Any]


class ManipulationEnv(gymnasium.Env[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32]]):
    """A task at 10 Hz with images, proprioception, a delta-pose action and a sparse reward.

    Observation space, a `Dict`:

    | key | shape | content |
    |---|---|---|
    | one per policy camera | (image_size, image_size, 3) uint8 | colour image, top row first |
    | `state` | (19,) float32 | below |

    | state | unit, frame |
    |---|---|
    | 0-2 | TCP position minus that at reset, base axes, in 0.1 m |
    | 3-5 | rotation vector from the TCP orientation at reset to the present one, base axes, in 0.1 rad |
    | 6-8 | TCP velocity, base axes, in 0.1 m/s |
    | 9-11 | TCP angular velocity, base axes, in 0.6 rad/s |
    | 12-14 | tanh of the force on the TCP, base axes, tared at reset, in 10 N |
    | 15-17 | tanh of the torque on the TCP, base axes, tared at reset, in 1 N m |
    | 18 | gripper opening, 0 closed, 1 open |

    Action, (6,) or (7,) in [-1, 1]: translation and rotation vector in base axes, times `action_scale`, added to the
    reference pose; then, where the task has one, the gripper command: above 0.5 opens, below -0.5 closes, between them
    the last command stays. The guard shortens targets that leave the limits.

    Reward as the task says, by default 1.0 on success, else 0.0. `terminated` on success, `truncated` at the task's
    horizon.

    Every info holds `observation` (`rl.types.Observation`), `is_success`, `executed_action` (what was commanded after
    the guard, as an action; zeros at reset), `violations` (names of the limits that acted) and `episode_step`.
    """

    def __init__(
        self,
        task: Task,
        backend: Backend,
        *,
        image_size: int = 64,
        reference: Reference = "commanded",
        render_mode: str | None = None,
        limits: GuardLimits | None = None,
    ) -> None:
        """Put a task on a backend.

        Args:
            task: What to do and within which limits.
            backend: Arm, cameras and scene.
            image_size: Side of the policy images, [px].
            reference: Pose that actions are added to: the last commanded one, or the measured one.
            render_mode: `rgb_array` or None.
            limits: Of each control step; the task's if None.
        """
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": int(CONTROL_RATE_HZ),
            "gripper": task.has_gripper,  # what an algorithm asks before it treats the last component as a command
            "position_scale_m": float(_STATE_SCALE[0]),  # the state begins with the TCP's way since reset, in this unit
            "rotation_scale_rad": float(_STATE_SCALE[3]),  # and then its rotation, in this one
        }
        self.task = task
        self.image_size = image_size
        self.reference: Reference = reference
        self.render_mode = render_mode
        self._backend = backend
        self._limits = limits or task.guard
        images = {
            camera.name: gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
            for camera in task.policy_cameras
        }
        state = gymnasium.spaces.Box(-np.inf, np.inf, (STATE_SIZE,), np.float32)
        spaces: dict[str, gymnasium.Space[Any]] = {**images, "state": state}
        self.observation_space: gymnasium.spaces.Dict = gymnasium.spaces.Dict(spaces)  # type: ignore[assignment]
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (task.actions,), np.float32)
        self._T_base_start = self._T_base_ref = task.home
        self._opening = task.gripper_opening
        self._step = 0
        self._has_begun = False

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the policy's cameras."""
        return tuple(camera.name for camera in self.task.policy_cameras)

    @property
    def horizon(self) -> int:
        """Control steps until an episode is truncated."""
        return self.task.horizon

    @property
    def p_tcp_tool(self) -> FloatArray:
        """Working point of what is held, in the TCP frame. Shape (3,), [m]."""
        return self.task.p_tcp_tool

    @property
    def action_scale(self) -> FloatArray:
        """Translation [m] and rotation [rad] of a unit action. Shape (6,)."""
        return self.task.action_scale

    @property
    def workspace(self) -> Box:
        """Where the TCP may be commanded to, base frame, [m]."""
        return self._limits.workspace

    @property
    def knows_truth(self) -> bool:
        """Whether success is what really happened in the scene, and not what somebody saw."""
        return True

    def pause(self) -> None:
        """Hold the arm until the next step; a simulated one waits by itself."""
        return None

    def halt(self) -> None:
        """Stop the arm until the next `reset`; a simulated one waits by itself."""
        return None

    def metrics(self) -> dict[str, float]:
        """Return counters and figures of the hardware; a simulated arm has none."""
        return {}

    @property
    def robot(self) -> RobotState:
        """What the arm measured last.

        Raises:
            ConfigError: Before the first `reset`.
        """
        self._check_begun()
        return self._robot

    @property
    def backend(self) -> Backend:
        """Arm, cameras and scene."""
        return self._backend

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Start an episode at a random pose of the task's start region."""
        super().reset(seed=seed)
        T_base_start = self.task.start(self.np_random)
        self._robot = self._backend.reset(T_base_start, self.np_random)
        self._has_begun = True
        self._T_base_start = self._robot.T_base_tcp
        self._T_base_ref = T_base_start if self.reference == "commanded" else self._robot.T_base_tcp
        self._opening = self.task.gripper_opening
        self._step = 0
        observation = self._observe()
        info = self._info(observation, success=False, executed=np.zeros(self.task.actions, np.float32), violations=())
        return self._policy_view(observation), info

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Command one guarded target and advance by one control period.

        Raises:
            ConfigError: Before the first `reset`, or if the action has another shape.
        """
        action = np.clip(self._checked(action), -1.0, 1.0)
        target = apply_delta(self._T_base_ref, action[:6] * self.action_scale)
        guarded = guard_target(
            target, T_base_ref=self._T_base_ref, T_base_tcp=self._robot.T_base_tcp, limits=self._limits
        )
        self._opening = self._gripper_command(action)
        moved = np.clip(pose_difference(self._T_base_ref, guarded.T_base_tcp) / self.action_scale, -1.0, 1.0)
        executed = np.concatenate([moved, np.nan_to_num(action[6:])]).astype(np.float32)

        self._robot = self._backend.command(guarded.T_base_tcp, self._opening)
        self._T_base_ref = guarded.T_base_tcp if self.reference == "commanded" else self._robot.T_base_tcp
        self._step += 1
        success = self.knows_truth and self.task.is_success(self._backend.truth(), self._robot)
        truncated = self._step >= self.task.horizon and not success
        observation = self._observe()
        info = self._info(observation, success=success, executed=executed, violations=guarded.violations)
        return self._policy_view(observation), self.task.reward(success), success, truncated, info

    def render(self) -> Any:
        """Return the agent's default camera image when `render_mode` is `rgb_array`."""
        if self.render_mode != "rgb_array":
            return None
        return self.capture([self.task.agent_cameras[0].name])[0].rgb

    def capture(self, cameras: Collection[str] | None = None, *, shadows: bool = True) -> tuple[RGBDFrame, ...]:
        """Return full-resolution RGB-D of the named agent cameras, of all if None; the default one is the first."""
        return self._backend.capture(cameras, shadows=shadows)

    def expert(self) -> Expert:
        """Return the task's scripted expert.

        Raises:
            ConfigError: If it has none, or nobody tells it here where things are.
        """
        if not self.knows_truth:
            raise ConfigError(
                f"The scripted expert of {self.task.name} must know where things are, and a real table tells nobody; "
                "use a simulation or an emulated station, or somebody with a device in the hand."
            )
        return make_expert(self.task)

    def truth(self) -> Mapping[str, FloatArray]:
        """Return named points that only a simulator knows, base frame, (3,), [m]: for experts, tests and benchmarks."""
        return self._backend.truth()

    def snapshot(self) -> EnvSnapshot:
        """Return this moment, to continue from it later."""
        return EnvSnapshot(
            backend=self._backend.snapshot(),
            robot=self.robot,
            T_base_start=self._T_base_start,
            T_base_ref=self._T_base_ref,
            opening=self._opening,
            step=self._step,
            rng=self.np_random.bit_generator.state,
        )

    def restore(self, snapshot: EnvSnapshot) -> tuple[dict[str, npt.NDArray[Any]], Observation]:
        """Go back to a snapshot; return what is observed there."""
        self._backend.restore(snapshot.backend)
        self._robot, self._has_begun = snapshot.robot, True
        self._T_base_start, self._T_base_ref = snapshot.T_base_start, snapshot.T_base_ref
        self._opening, self._step = snapshot.opening, snapshot.step
        self.np_random.bit_generator.state = dict(snapshot.rng)
        observation = self._observe()
        return self._policy_view(observation), observation

    def close(self) -> None:
        """Release the backend."""
        self._backend.close()

    def _checked(self, action: npt.NDArray[np.float32]) -> FloatArray:
        """Return an action that can be commanded now."""
        self._check_begun()
        array = np.asarray(action, dtype=np.float64)
        if array.shape != self.action_space.shape:
            raise ConfigError(f"The action has shape {array.shape}; {self.task.name} takes {self.action_space.shape}.")
        return array

    def _check_begun(self) -> None:
        if not self._has_begun:
            raise ConfigError("No episode has begun; call reset() first.")

    def _gripper_command(self, action: FloatArray) -> float:
        if not self.task.has_gripper or not abs(action[6]) > 0.5:  # not a number keeps too
            return self._opening
        return 1.0 if action[6] > 0.0 else 0.0

    def _observe(self) -> Observation:
        robot = self._robot
        rotation = matrix_to_rotvec(robot.T_base_tcp[:3, :3] @ self._T_base_start[:3, :3].T)
        position = robot.T_base_tcp[:3, 3] - self._T_base_start[:3, 3]
        state = np.concatenate([position, rotation, robot.twist, robot.wrench, [robot.gripper_opening]]) / _STATE_SCALE
        state[12:18] = np.tanh(state[12:18])
        return Observation(
            images=self._backend.policy_images(self.image_size),
            state=state.astype(np.float32),
            robot=robot,
            T_base_ref=self._T_base_ref,
            step=self._step,
        )

    def _policy_view(self, observation: Observation) -> dict[str, npt.NDArray[Any]]:
        return {**observation.images, "state": observation.state}

    def _info(
        self,
        observation: Observation,
        *,
        success: bool,
        executed: npt.NDArray[np.float32],
        violations: tuple[str, ...],
    ) -> dict[str, Any]:
        return {
            "observation": observation,
            "is_success": success,
            "executed_action": executed,
            "violations": violations,
            "episode_step": self._step,
        }
