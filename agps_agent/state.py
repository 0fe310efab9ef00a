"""What flows through the graph (plain floats, strings, lists) and what its nodes hold (frames, memory, model).

Frames stay in the context: a VGA frame in the state costs 5.5 MB per checkpoint and 0.2 s per trace.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from agps_agent.models.gate import CallGate, CallReason
from agps_agent.models.parsing import ReplyReason
from agps_agent.models.profiles import ModelProfile
from agps_agent.pictures import Pictures
from agps_agent.settings import AgentSettings
from agps_agent.toolbox import Toolbox
from prompts.loader import Prompt, TaskPrompt, load_prompt, load_task_prompt
from rl.errors import AgpsError
from rl.types import Box, FloatArray, Guide, Intervention, Motion, Prune, RGBDFrame, Waypoint
from tools.answers import Mode
from tools.errors import ToolReason
from tools.memory import EpisodicMemory
from tools.scene import Scene

ModeRequest = Literal["auto", "prune", "guide"]
Reason = (
    ToolReason
    | CallReason
    | ReplyReason
    | Literal[
        "answered",
        "not_visible",
        "implausible_keypoints",
        "cameras_disagree",
        "internal_error",
    ]
)
"""Why an answer is what it is: a closed set, so that it can be counted."""


class AgentFault(AgpsError):
    """The agent cannot answer: the policy goes on, and the reason is counted."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


DEMONSTRATION = "demonstration"
"""Kind of a trigger: nothing went wrong, the agent shows how it is done."""


class Trigger(TypedDict):
    """What woke the agent."""

    kind: str
    """Name of the failure detector, `user`, or `demonstration`."""
    index: float
    """The detector's index when it fired; 0 from one that does not measure."""
    threshold: float
    step: int
    """Control step of the rollout."""
    episode: NotRequired[int]
    """Number of the rollout in its run."""
    alone: NotRequired[list[int]]
    """Successes of the policy without help, and over how many of its newest rollouts."""
    last_plan: NotRequired[str]
    """How the waypoints of the question before ended, in the same rollout."""
    reason: NotRequired[str]
    """Why the detector fired, in a few words."""
    unmoved: NotRequired[list[str]]
    """Records whose targets were all seen where they were when the rollout began."""


USER_TRIGGER = Trigger(kind="user", index=0.0, threshold=0.0, step=0)
"""A person asked."""


class KeypointState(TypedDict):
    """One keypoint as it was perceived."""

    label: str
    camera: str
    uv: list[float]
    """Pixel in the camera's image, [px]."""
    xyz: list[float]
    """In the base frame, [m]."""
    depth_spread_m: float


class PruneGuidance(BaseModel):
    """Confine exploration to a box."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: Literal["prune"] = "prune"
    lower: list[float] = Field(min_length=3, max_length=3)
    upper: list[float] = Field(min_length=3, max_length=3)


class WaypointState(BaseModel):
    """A waypoint as plain numbers."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    T_base_tcp: list[list[float]] = Field(min_length=4, max_length=4)
    gripper_opening: float
    motion: Motion = "free"
    max_step_m: float = 0.010
    blend_m: float = 0.0
    push_m: float = 0.0


class GuideGuidance(BaseModel):
    """Follow waypoints."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: Literal["guide"] = "guide"
    waypoints: list[WaypointState] = Field(min_length=1)
    max_steps: int = Field(ge=1)


class NoGuidance(BaseModel):
    """Let the policy act."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["none"] = "none"
    reason: Reason
    message: str


Guidance = Annotated[PruneGuidance | GuideGuidance | NoGuidance, Field(discriminator="kind")]
"""The graph's answer."""


class GraphState(TypedDict, total=False):
    """Channels of the graph; every value survives a JSON round trip."""

    mode_request: ModeRequest
    trigger: Trigger
    mode: Mode
    failure_mode: str
    """What goes wrong in the rollout, as the model named it; empty when nobody was asked."""
    reason: str
    """One sentence: why this answer."""
    recalled: bool
    """The answer comes from memory."""
    stale: bool
    """What was recalled does not fit this scene: it has lost its standing, and the scene is looked at afresh."""
    record_id: str | None
    """Memory record that the answer came from, or went to."""
    keypoints: list[KeypointState]
    plan: dict[str, Any]
    """A `PlanAnswer` as JSON: the tool calls that the model asked for."""
    tool_error: str | None
    """Why a tool refused its call; the model may correct it."""
    tool_answers: list[str]
    """What tools answered the model, one text per plan that asked; the newest plan comes after them all."""
    tool_results: str
    """What the calls of the last plan came to, one line each."""
    targets: list[str]
    """Labels of the keypoints that the calls of the last plan go by."""
    felt: str
    """The one among them to which its last call feels its way; empty where there is none."""
    passed_over: list[str]
    """Why records of like scenes were not used, one sentence each."""
    guidance: dict[str, Any]
    """A `Guidance` as JSON."""


@dataclass
class Exchange:
    """One chat model call: what was sent and what came back. Filled in as it happens, so that none is lost."""

    node: str
    messages: list[BaseMessage]
    schema_name: str
    reply: str = ""
    """Text of the reply; empty when there was none."""
    error: str = ""
    """Why there was no reply, or why it was refused; empty when it was fine."""
    answers: str = ""
    """What the tools that it called answered: the model was asked again, knowing this."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    attempts: int = 1
    """Requests that the call took, retries counted."""

    def refused(self, error: str) -> None:
        """Note why the reply was of no use."""
        self.error = error

    def answered(self, answers: str) -> None:
        """Note what tools answered to the reply."""
        self.answers = answers


@dataclass(frozen=True)
class AgentContext:
    """What the nodes of one run hold: live objects, never traced and never checkpointed."""

    scene: Scene
    model: BaseChatModel
    profile: ModelProfile
    model_name: str = ""
    """What the model is called, settings included, for memory and traces. Empty: as it calls itself."""
    memory: EpisodicMemory | None = None
    """None: nothing is recalled and nothing remembered."""
    embedding: FloatArray | None = None
    """Feature of the scene by which memory is searched. Shape (k,)."""
    settings: AgentSettings = field(default_factory=AgentSettings)
    gate: CallGate = field(default_factory=CallGate)
    """What every call passes; shared by the questions of a run."""
    run: str = ""
    """Name of the training run that asks, for traces; empty when a person asks."""
    transcript: list[Exchange] = field(default_factory=list)
    """Chat model calls of this run, in order; `ask` hands each run an empty one."""

    pictures: Pictures = field(default_factory=Pictures)
    """Images of this question as content blocks."""
    task_prompt: TaskPrompt | None = None
    """What the agent is told about the task; None: what belongs to the registered task of the scene's name."""
    tools: Toolbox = field(default_factory=dict)
    """What the model may call, by kind of help. Empty: what the task's prompt and the settings name."""

    def __post_init__(self) -> None:
        """Look up the model's name and the tools, unless they are handed over, as to each question of a run.

        Raises:
            ConfigError: If one cannot be found.
        """
        if not self.model_name:
            object.__setattr__(self, "model_name", str(getattr(self.model, "model_name", self.model._llm_type)))
        if not self.tools:
            object.__setattr__(self, "tools", self.settings.toolbox(self.words))

    @property
    def words(self) -> TaskPrompt:
        """What the agent is told about the task."""
        return self.task_prompt or load_task_prompt(self.scene.task)

    def prompt(self, name: str) -> Prompt:
        """Return a prompt in the version that the settings choose, the newest by default."""
        return load_prompt(name, self.settings.prompt_versions.get(name))

    @property
    def frame(self) -> RGBDFrame:
        """What the agent is shown."""
        return self.scene.frames[self.settings.camera or next(iter(self.scene.frames))]


def guidance_to_intervention(guidance: PruneGuidance | GuideGuidance | NoGuidance) -> Intervention | None:
    """Return the intervention that the control loop carries out."""
    if isinstance(guidance, PruneGuidance):
        return Prune(box=Box(lower=np.array(guidance.lower), upper=np.array(guidance.upper)))
    if isinstance(guidance, GuideGuidance):
        waypoints = (
            Waypoint(
                T_base_tcp=np.array(w.T_base_tcp),
                gripper_opening=w.gripper_opening,
                motion=w.motion,
                max_step_m=w.max_step_m,
                blend_m=w.blend_m,
                push_m=w.push_m,
            )
            for w in guidance.waypoints
        )
        return Guide(waypoints=tuple(waypoints), max_steps=guidance.max_steps)
    return None


def intervention_to_guidance(intervention: Prune | Guide) -> dict[str, Any]:
    """Return the plain numbers of an intervention, as `GraphState.guidance` holds them."""
    if isinstance(intervention, Prune):
        box = intervention.box
        return {"kind": "prune", "lower": box.lower.tolist(), "upper": box.upper.tolist()}
    waypoints = [
        {
            "T_base_tcp": w.T_base_tcp.tolist(),
            "gripper_opening": w.gripper_opening,
            "motion": w.motion,
            "max_step_m": w.max_step_m,
            "blend_m": w.blend_m,
            "push_m": w.push_m,
        }
        for w in intervention.waypoints
    ]
    return {"kind": "guide", "waypoints": waypoints, "max_steps": intervention.max_steps}
