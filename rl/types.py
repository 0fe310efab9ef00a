"""What flows between robot, supervisor and learner: shapes, units, frames. NumPy only.

Poses are homogeneous matrices, `T_base_tcp` = "tcp expressed in base". Lengths in m, angles in rad, forces in N.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
ByteArray = npt.NDArray[np.uint8]

Channels = Literal["auto", "first", "last"]
"""Where the channels of an image are."""
Motion = Literal["free", "guarded", "search"]
POSE_ACTIONS = 6
"""Components of an action that are a delta pose; one more is a gripper command."""

CONTROL_RATE_HZ = 10.0
"""Rate at which targets are commanded."""
CONTROL_PERIOD_S = 1.0 / CONTROL_RATE_HZ
"""Duration of a control step, [s]."""


class ComparesByValue:
    """Gives a dataclass that holds arrays an equality that says one thing: every array equal in every entry."""

    __hash__ = None  # type: ignore[assignment]  # arrays cannot be hashed

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            _same(getattr(self, f.name), getattr(other, f.name))
            for f in fields(self)  # type: ignore[arg-type]
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b))
    return bool(a == b)


@dataclass(frozen=True, kw_only=True)
class RGBDFrame:
    """One camera's colour and depth image with its calibration: a snapshot."""

    name: str
    """Name of the camera, e.g. `side`."""
    rgb: ByteArray
    """Colour image, top row first. Shape (H, W, 3), uint8."""
    depth_m: npt.NDArray[np.float32]
    """Distance along the optical axis, 0 where there is no data. Shape (H, W), [m]."""
    K: FloatArray
    """Pinhole intrinsics. Shape (3, 3), [px]."""
    T_base_cam: FloatArray
    """Camera pose in the base frame, OpenCV axes (x right, y down, z forward). Shape (4, 4), [m]."""
    T_mount_cam: FloatArray | None = None
    """The same in the frame that the camera is fixed to, as it was calibrated: in the TCP's for one on the hand, where
    it stays while the arm moves. None: that frame is the base. Shape (4, 4), [m]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RobotState(ComparesByValue):
    """What the arm measures at one control step."""

    T_base_tcp: FloatArray
    """Measured pose of the TCP in the base frame. Shape (4, 4), [m]."""
    twist: FloatArray
    """Linear [m/s] and angular [rad/s] velocity of the TCP in the base frame. Shape (6,)."""
    wrench: FloatArray
    """Force [N] and torque [N m] on the TCP in the base frame, tared at reset. Shape (6,)."""
    gripper_opening: float
    """0 closed, 1 open."""

    @property
    def contact_force_N(self) -> float:
        """Size of the force on the TCP, tared at reset, [N]."""
        return float(np.linalg.norm(self.wrench[:3]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation(ComparesByValue):
    """What the policy and the failure detector see at one control step."""

    images: Mapping[str, ByteArray]
    """Per policy camera, shape (H, W, 3), uint8."""
    state: npt.NDArray[np.float32]
    """Proprioception as the environment's datasheet lists it. Shape (P,)."""
    robot: RobotState
    """The arm's measurement behind `state`, in the base frame."""
    T_base_ref: FloatArray
    """Reference pose to which the next action is added. Shape (4, 4), [m]."""
    step: int
    """Control steps since reset, counting from 0."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """Axis-aligned box in the base frame that confines the TCP."""

    lower: FloatArray
    """Smallest x, y, z. Shape (3,), [m]."""
    upper: FloatArray
    """Largest x, y, z. Shape (3,), [m]."""

    def contains(self, position: FloatArray) -> bool:
        """Return whether a point of shape (3,), [m], lies in the closed box."""
        return bool(np.all(position >= self.lower) and np.all(position <= self.upper))

    def project(self, position: FloatArray) -> FloatArray:
        """Return the nearest point of the box. Shape (3,), [m]."""
        return np.clip(position, self.lower, self.upper)

    @property
    def volume(self) -> float:
        """Volume in m^3."""
        return float(np.prod(self.upper - self.lower))


@dataclass(frozen=True, kw_only=True)
class Waypoint:
    """One target of a corrective motion and how to go there."""

    T_base_tcp: FloatArray
    """Target pose of the TCP in the robot base frame. Shape (4, 4), [m]."""
    gripper_opening: float
    """0 closed, 1 open."""
    motion: Motion = "free"
    """`free`: until reached. `guarded`: until reached or contact. `search`: x and y of the target with a light push
    below the height of the last contact; the rest of a run of search waypoints is skipped when the TCP drops."""
    max_step_m: float = 0.010
    """Longest translation per control step, [m]."""
    blend_m: float = 0.0
    """`free` only: passed without a stop within this of the target, [m]; 0: a stop."""
    push_m: float = 0.0
    """Search only: how far below the contact height the target is commanded, [m]. Stiffness turns it into force."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one question to the agent cost."""

    model_calls: int = 0
    """Chat model calls, retries and repairs included."""
    latency_s: float = 0.0
    """Wall-clock from trigger to answer, [s]."""
    model_s: float = 0.0
    """Of that, until the model's replies had come, [s]."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    memory_hit: bool = False
    """Answered from memory."""


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Confine exploration to a box until the episode ends."""

    kind: ClassVar[Literal["prune"]] = "prune"
    box: Box
    cost: Cost = field(default_factory=Cost)
    id: str = ""
    """Folder name of the saved query under `interventions/`."""


@dataclass(frozen=True, kw_only=True)
class Guide:
    """Follow corrective waypoints until reached, blocked, or out of step budget."""

    kind: ClassVar[Literal["guide"]] = "guide"
    waypoints: tuple[Waypoint, ...]
    max_steps: int
    """Control steps after which the policy acts again."""
    cost: Cost = field(default_factory=Cost)
    id: str = ""
    """Folder name of the saved query under `interventions/`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Takeover(ComparesByValue):
    """A human's action for exactly this control step, in place of the policy's and of any waypoint."""

    kind: ClassVar[Literal["takeover"]] = "takeover"
    action: FloatArray
    """What the hand on the arm asks for; the environment guards it like any other. Shape (A,), in [-1, 1]."""
    cost: Cost = field(default_factory=Cost)
    id: str = ""
    """Name of the stretch: the same from the step on which the hand takes the arm to that before it lets go."""


Intervention = Prune | Guide | Takeover
InterventionKind = Literal["prune", "guide", "takeover"]

GuideEnding = Literal["reached", "contact", "blocked", "budget"]
Ending = GuideEnding | Literal["refused", "replaced", "taken_over", "released", "episode_over"]
"""Why an intervention is over.

Waypoints: all `reached`; the last one met its `contact`; `blocked`, no closer for a while, or searched in vain; out of
step `budget`; `refused` by whoever confirms each; `taken_over` by a human's hand. A hand: `released`. Waypoints and
boxes: `replaced` by the next. All: `episode_over`.
"""


@dataclass(frozen=True, kw_only=True)
class InterventionEnd:
    """How one intervention ended."""

    id: str
    """Folder name of the saved query under `interventions/`, or name of the human's stretch."""
    kind: InterventionKind
    how: Ending
    steps: int
    """Control steps whose action it gave, or, a box, changed."""
    waypoint: int | None = None
    """Number of the waypoint that was approached last, counting from 0; None for a box and a hand."""
    waypoints: int = 0
    """How many there were."""
    distance_m: float | None = None
    """From the measured TCP to that waypoint, [m]."""


@dataclass(frozen=True, kw_only=True)
class EpisodeOutcome:
    """How an episode ended, for supervisors, memory and logs."""

    episode: int
    """Number of the episode in its run, counting from 0."""
    success: bool
    """The reward said success."""
    terminated: bool
    """The task ended the episode."""
    truncated: bool
    """The time limit ended the episode: not a terminal state."""
    steps: int
    """Control steps."""
    guided_steps: int
    """Steps whose action a waypoint or a human gave."""
    pruned_steps: int
    """Steps whose action a box changed."""
    final_robot: RobotState | None
    """The arm's last measurement before reset: where a success was. None for an environment that does not tell."""
    intervention_ids: tuple[str, ...] = ()
    """In the order of their beginning."""
    interventions: tuple[InterventionEnd, ...] = ()
    """How each ended, in the order of their ends."""


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One control step as it was executed."""

    observation: Mapping[str, npt.NDArray[Any]]
    """Keys of the environment's observation space."""
    action: npt.NDArray[np.float32]
    """The executed action, after box, waypoint and guard. Shape (A,), in [-1, 1]."""
    reward: float
    next_observation: Mapping[str, npt.NDArray[Any]]
    terminated: bool
    """The task ended here: the value after is 0."""
    truncated: bool
    """A time limit ended the episode here: the value after is bootstrapped."""
    guided: bool
    """A waypoint or a human gave the action."""


Expert = Callable[[Observation, Mapping[str, FloatArray]], npt.NDArray[np.float32]]
"""From an observation and the simulator's named points to an action; the same for the same arguments."""
