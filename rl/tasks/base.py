"""What a task is: its limits, cameras, start and end (`Task`), and for a simulator its scene too (`SimulatedTask`)."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Interval

from rl.bounds import NotNegative, Positive, check_bounds
from rl.config import GuidedConfig
from rl.drq.config import DrQConfig
from rl.errors import ConfigError
from rl.guard import MAX_TILT_RAD, GuardLimits
from rl.registry import file_reference, load_reference
from rl.transforms import TOOL_DOWN as TOOL_DOWN
from rl.transforms import apply_delta, pose_difference
from rl.types import POSE_ACTIONS, Box, ByteArray, Expert, FloatArray, RobotState

TABLE_MJCF = (
    '<light name="key" directional="true" pos="1.6 .6 1.4" dir="-.8 -.35 -1" diffuse=".50 .50 .48" '
    'specular=".2 .2 .2" castshadow="true"/>'
    '<light name="fill" directional="true" pos=".2 -.8 1.2" dir=".4 .6 -1" diffuse=".18 .18 .20" '
    'specular="0 0 0" castshadow="false"/>'
    '<geom name="table" type="box" size=".45 .6 .02" pos=".45 0 -.02" material="table" '
    'contype="4" conaffinity="2"/>'
)
"""The part of each task's world that is the same: lights and a table, which wants a material `table`."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where a camera is mounted and where it looks."""

    name: str
    mount: Literal["world", "hand"]
    """Frame of the fields below: the base frame, or the hand (z out of the fingers, origin at its flange face)."""
    position: tuple[float, float, float]
    """Optical centre, [m]."""
    target: tuple[float, float, float]
    """Point at the image centre, [m]."""
    up: tuple[float, float, float]
    """Direction that is up in the image."""
    fovy_deg: float
    """Vertical field of view, [deg]."""

    def axes(self) -> tuple[FloatArray, FloatArray]:
        """Return the image's right and up directions in the mount's frame, unit vectors of shape (3,)."""
        look = np.subtract(self.target, self.position)
        look = look / np.linalg.norm(look)
        right = np.cross(look, self.up)
        right = right / np.linalg.norm(right)
        return right, np.cross(right, look)


@dataclass(frozen=True, kw_only=True)
class SceneVariation:
    """What is random about the simulated scene of one episode; the defaults change nothing."""

    moved: Mapping[str, tuple[FloatArray, float]]
    """Per movable body, its position (3,), [m], and its turn about z, [rad]."""
    light_gain: float = 1.0
    """Factor on every light."""
    light_shift: tuple[float, float] = (0.0, 0.0)
    """Added to the x and y of the direction of the lights."""
    colour_gain: Mapping[str, FloatArray] | None = None
    """Per material, a factor (3,) on its colour."""
    camera_shift: Mapping[str, FloatArray] | None = None
    """Per camera, translation in its mount's frame, [m], and rotation vector in its own, [rad]. Shape (6,)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training run of a task starts from where nothing else is asked for: what measures best."""

    method: str = "agps"
    """Name of the method, or ALGORITHM+HELPER."""
    demos: int = 20
    """Demonstrations (paper: 20)."""
    max_env_steps: int = 10_000
    """Budget of control steps."""
    max_minutes: float = 240.0
    """Limit on wall-clock training time, [min]: a guard against a machine that hangs; steps are the budget."""
    agent_demos: int = 10
    """Demonstrations with which the policy begins to act: those that nobody gave are the agent's."""
    demo_noise: float = 0.0
    """Noise of the agent's demonstrations, over the length of each step."""
    warm_up_updates: int = 400
    """Updates on demonstrations before the policy acts, of an algorithm without a first stage of its own."""
    pretrain_steps: int = 4_000
    """Updates of ConRFT's first stage, on demonstrations alone (paper: 48,000)."""
    eval_every: int = 400
    """Control steps from one evaluation of the policy alone to the next."""
    final_policy: str = "last"
    """Which policy a run ends with: `last`, or `best` of those that were evaluated on the way."""
    expected: tuple[tuple[int, float], ...] = ()
    """What was measured of this recipe: control steps, rising, and the success of the policy alone after them, in
    [0, 1]. Empty where nothing was."""
    reward_frames: tuple[int, int] = (200, 1000)
    """Frames of success and of failure that a reward classifier is fitted on (paper and HIL-SERL: 200, 1000)."""
    learners: tuple[GuidedConfig, ...] = (DrQConfig(learning_starts=100, train_freq=1, gradient_steps=2),)
    """At most one configuration per algorithm, found by its class, else by the nearest class that this derives from;
    what differs from that class's defaults goes on top of the run's preset."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A manipulation task on a table in front of the arm: all that a real table needs. Every number is a field.

    Subclasses are one file each, frozen dataclasses. What the command line offers to change is made from their fields:
    `clearance_m: Positive = 0.0003` becomes `--task-options.clearance-mm`, more than 0.
    """

    name: ClassVar[str]
    """Letters, digits, _ and -: names folders and the memory."""
    instruction: ClassVar[str]
    """One sentence that says what to do."""
    actions: ClassVar[int] = 6
    """Size of the action: 6 for a delta pose, 7 with a gripper command."""
    recipe: ClassVar[Recipe] = Recipe()
    """What a training run of this task starts from."""
    operator_reset: ClassVar[str] = ""
    """What a person has to do on a real table before each episode; empty: nothing."""
    prompt: ClassVar[str | Path | None] = None
    """File of what the agent is told, beside the class's module or absolute. None: NAME.md there, if there is one."""

    horizon: Annotated[int, Ge(1)]
    """Control steps until an episode is truncated."""
    translation_scale_m: Positive = 0.010
    """Translation of a unit action per axis, [m]."""
    rotation_scale_rad: Positive = 0.06
    """Rotation of a unit action per axis, [rad]."""
    leash_m: Positive = 0.015
    """Largest lead of the commanded over the measured position, [m]: times the stiffness it bounds the push."""
    leash_rad: Positive = 0.10
    """Largest lead of the commanded over the measured orientation, [rad]."""
    max_tilt_rad: NotNegative = MAX_TILT_RAD
    """Largest rotation away from gripper-down, [rad]."""
    gripper_opening: Annotated[float, Interval(ge=0, le=1)] = 1.0
    """Opening at reset, and throughout where the action has no gripper command: 0 closed, 1 open."""
    start_scale: Positive = 1.0
    """Size of the start region over the task's own. It grows to the sides and upwards, within the workspace: below it
    may be what the arm must not start in."""

    def __post_init__(self) -> None:
        """Refuse numbers that are out of bounds.

        Raises:
            ConfigError: With the field, its value and its limit.
        """
        check_bounds(self)

    @classmethod
    def prompt_file(cls) -> Path | None:
        """Return the file of what the agent is told: that of the class, else of the nearest class it derives from."""
        for kind in cls.__mro__:
            own, module = vars(kind), sys.modules.get(kind.__module__)
            beside = Path(getattr(module, "__file__", None) or "here").parent
            if own.get("prompt") is not None:
                return Path(beside, own["prompt"])
            if "name" in own and (file := beside / f"{own['name']}.md").is_file():
                return file
        return None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Let another process have the task: one whose class is in a lone file is found there by that file."""
        reference = file_reference(type(self))
        return super().__reduce_ex__(protocol) if reference is None else (_from_file, (reference, vars(self)))

    @property
    def has_gripper(self) -> bool:
        """Whether the last component of the action commands the gripper."""
        return self.actions > POSE_ACTIONS

    @property
    def action_scale(self) -> FloatArray:
        """Translation [m] and rotation [rad] of a unit action. Shape (6,)."""
        return np.array([self.translation_scale_m] * 3 + [self.rotation_scale_rad] * 3)

    @property
    def guard(self) -> GuardLimits:
        """What the arm may be told to do in one control step. A full diagonal action is within the step limits."""
        return GuardLimits(
            workspace=self.workspace,
            max_step_m=self.translation_scale_m * np.sqrt(3),
            max_step_rad=self.rotation_scale_rad * np.sqrt(3),
            max_tilt_rad=self.max_tilt_rad,
            leash_m=self.leash_m,
            leash_rad=self.leash_rad,
            nominal_rotation=TOOL_DOWN,
        )

    @property
    @abstractmethod
    def workspace(self) -> Box:
        """Where the TCP may be commanded to, base frame, [m]."""

    @property
    @abstractmethod
    def p_tcp_tool(self) -> FloatArray:
        """Working point of what is held, in the TCP frame. Shape (3,), [m]."""

    @property
    @abstractmethod
    def policy_cameras(self) -> tuple[Camera, ...]:
        """Cameras of the policy, in the order of the observation space."""

    @property
    @abstractmethod
    def agent_cameras(self) -> tuple[Camera, ...]:
        """Cameras of the agent, the default one first."""

    @property
    @abstractmethod
    def home(self) -> FloatArray:
        """TCP pose in the middle of the start region, T_base_tcp. Shape (4, 4), [m]."""

    @abstractmethod
    def sample_start(self, rng: np.random.Generator) -> FloatArray:
        """Return the TCP pose at the start of an episode. Shape (4, 4), [m]."""

    def start(self, rng: np.random.Generator) -> FloatArray:
        """Return the TCP pose at the start of an episode, from the region as `start_scale` makes it. Shape (4, 4), [m].

        The way from the pose of `home` to what `sample_start` draws is made longer or shorter.
        """
        T_base_start = self.sample_start(rng)
        if self.start_scale == 1.0:
            return T_base_start
        way = pose_difference(self.home, T_base_start)
        scaled = apply_delta(self.home, way * self.start_scale)
        if self.start_scale > 1.0 and way[2] < 0.0:
            scaled[2, 3] = T_base_start[2, 3]
        scaled[:3, 3] = self.workspace.project(scaled[:3, 3])
        return scaled

    def retreat(self, T_base_tcp: FloatArray) -> tuple[FloatArray, ...]:
        """Return the poses through which the tool leaves what it may be in, before it rises: back along its axis.

        Args:
            T_base_tcp: Where the TCP is. Shape (4, 4), [m].
        """
        T = T_base_tcp.copy()
        T[:3, 3] -= 0.03 * T[:3, 2]
        return (T,)

    def is_success(self, truth: Mapping[str, FloatArray], robot: RobotState) -> bool:
        """Return whether the task is done: asked where a simulator or an emulator knows, never on a real table.

        Args:
            truth: Named points that the simulator knows, base frame, each (3,), [m].
            robot: What the arm measures.
        """
        return False

    def reward(self, success: bool) -> float:
        """Return the reward of a control step that ended in success or not."""
        return 1.0 if success else 0.0


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a benchmark of grounding varies about a scene, takes away and takes for hidden."""

    jitter: Mapping[str, float] = field(default_factory=dict)
    """How much what shall be found moves and turns: fields of the task."""
    materials: tuple[str, ...] = ()
    """Materials that are made invisible to take it away; none: it is always there."""
    thickness_m: float = 0.006
    """What is this far in front of a keypoint hides it, [m]: keypoints are inside of rods and cloth."""


@dataclass(frozen=True, kw_only=True)
class SimulatedTask(Task):
    """A task with a scene: it runs in the simulator and on the emulated arm as on a real table."""

    subject: ClassVar[Subject] = Subject()
    """What a benchmark of grounding does with the scene."""

    timestep_s: Positive = 0.002
    """Physics step of a simulator, [s]: as long as the stiffest contact of the scene bears."""

    light_jitter: NotNegative = 0.0
    """Relative change of brightness, and of the lights' direction, each episode; 0.4 is strong."""
    colour_jitter: NotNegative = 0.0
    """Relative change of each material's colour each episode; 0.3 is strong."""
    camera_jitter_m: NotNegative = 0.0
    """Each camera moves by a normal deviate of this size each episode, [m]; `capture` reports where it really is."""
    camera_jitter_rad: NotNegative = 0.0
    """Each camera turns by a normal deviate of this size each episode, [rad]."""
    friction_scale: Positive = 1.0
    """Sliding friction of all that touches, over the scene's own."""
    mass_scale: Positive = 1.0
    """Mass of all that is held or lies there, over the scene's own. The arm does not know: what it holds weighs on it
    by what is more, or lifts it by what is less."""

    @abstractmethod
    def scene_mjcf(self) -> "SceneMjcf":
        """Return the scene without the arm as MJCF text."""

    @property
    @abstractmethod
    def landmarks(self) -> Mapping[str, FloatArray]:
        """Named points of the nominal scene, base frame, each (3,), [m]: for simulators, experts and tests only."""

    @property
    def held_points(self) -> Mapping[str, FloatArray]:
        """Named points of what the gripper holds throughout, in the TCP frame, each (3,), [m]."""
        return {}

    @abstractmethod
    def is_success(self, truth: Mapping[str, FloatArray], robot: RobotState) -> bool:
        """Return whether the task is done.

        Args:
            truth: Named points that the simulator knows, base frame, each (3,), [m].
            robot: What the arm measures.
        """

    def sample_scene(self, rng: np.random.Generator) -> SceneVariation:
        """Return what differs about the scene in this episode."""
        return self.vary(rng, moved={}, materials=())

    def vary(
        self, rng: np.random.Generator, *, moved: Mapping[str, tuple[FloatArray, float]], materials: Collection[str]
    ) -> SceneVariation:
        """Return the variation of lights, colours and cameras that is switched on, beside what has moved.

        Draws the same numbers whatever is switched on.

        Args:
            rng: Source of what is random.
            moved: Per movable body, its position (3,), [m], and its turn about z, [rad].
            materials: Names of the materials whose colour may change.
        """
        gain, *direction = rng.uniform(-1.0, 1.0, 3) * self.light_jitter
        colours = {name: 1.0 + self.colour_jitter * rng.uniform(-1.0, 1.0, 3) for name in sorted(materials)}
        sizes = np.array([self.camera_jitter_m] * 3 + [self.camera_jitter_rad] * 3)
        names = dict.fromkeys(camera.name for camera in (*self.agent_cameras, *self.policy_cameras))
        cameras = {name: rng.normal(size=6) * sizes for name in names}
        return SceneVariation(
            moved=moved,
            light_gain=1.0 + float(gain),
            light_shift=(float(direction[0]), float(direction[1])),
            colour_gain=colours if self.colour_jitter else None,
            camera_shift=cameras if self.camera_jitter_m or self.camera_jitter_rad else None,
        )

    def expert(self) -> Expert | None:
        """Return the scripted expert, which knows where things are; None where nobody has written one."""
        return None

    def with_inertia(self) -> "SimulatedTask":
        """Return the task as the scripted expert can do it with an arm that has inertia, real or emulated."""
        return self


def simulated(task: Task) -> SimulatedTask:
    """Return a task that has a scene.

    Raises:
        ConfigError: If it has none.
    """
    if not isinstance(task, SimulatedTask):
        raise ConfigError(
            f"Task {task.name} is for a real table and has no scene to simulate; use --robot franka, or derive it from "
            "rl.tasks.base.SimulatedTask."
        )
    return task


def _from_file(reference: str, values: Mapping[str, Any]) -> Task:
    kind = load_reference(reference)
    task: Task = object.__new__(kind)
    vars(task).update(values)
    return task


@dataclass(frozen=True, kw_only=True)
class SoftGrasp:
    """What closing fingers can hold of something soft."""

    bodies: tuple[str, ...]
    """Bodies of the points that can be held."""
    points: int
    """Points that can be held at once, the nearest to the TCP first."""
    reach: Box
    """Where a point must be when the fingers have closed, TCP frame, [m]."""
    finger_geoms: tuple[str, ...] = ()
    """Geoms that touch nothing while something is held."""


@dataclass(frozen=True, kw_only=True)
class SceneMjcf:
    """A task's part of the MuJoCo model; sites named `truth/<point>` are reported by `Backend.truth`.

    Contact bits: what belongs to the hand has contype 2 and conaffinity 4, the rigid world 4 and 2.
    """

    assets: str
    """Content of `<asset>`."""
    world: str
    """Bodies, geoms and lights in the base frame. Movable bodies are mocap bodies."""
    held: str = ""
    """Geoms and bodies in the TCP frame that the hand holds."""
    fingers: str = ""
    """Geoms in the frame of each finger, {side} in their names: z towards its tip, y away from the other finger."""
    extension: str = ""
    """Content of `<extension>`."""
    equality: str = ""
    """Content of `<equality>`."""
    contact: str = ""
    """Content of `<contact>`."""
    tendon: str = ""
    """Added to `<tendon>`."""
    actuator: str = ""
    """Added to `<actuator>` after the arm's and the fingers'."""
    sensor: str = ""
    """Added to `<sensor>` after the wrench's."""
    option: str = 'integrator="implicitfast" cone="elliptic" impratio="10"'
    """Attributes of `<option>` but for the timestep."""
    truth_bodies: Mapping[str, str] = field(default_factory=dict)
    """Point that `Backend.truth` reports, by name, to the body whose origin it is."""
    textures: Mapping[str, ByteArray] = field(default_factory=dict)
    """Image of each `2d` texture that materials name. Shape (H, W, 3), uint8."""
    grasp: SoftGrasp | None = None
    """What the fingers can hold, None for nothing."""
