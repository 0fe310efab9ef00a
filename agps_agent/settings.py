"""What the agent may be told: the limits of a question, and when it is asked. Read without loading the agent."""

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from agps_agent.models.limits import CallLimits
from rl.errors import ConfigError

if TYPE_CHECKING:  # loads images and tools; a command line is read without
    from agps_agent.toolbox import Toolbox
    from prompts.loader import TaskPrompt


class AgentSettings(CallLimits):
    """Limits of one question to the agent, and of all questions of a run."""

    profile: str | None = Field(
        None,
        description="Model profile: the name of one that ships, or the path of a .toml file; None goes by the name of "
        "the served model.",
    )
    wall_budget_s: float = Field(60.0, gt=0, description="Limit of a whole question, seconds; the arm holds still.")
    reply_tokens: int | None = Field(
        None,
        ge=1,
        description="Longest reply of a served model, tokens, its thoughts counted; None: max_tokens of its profile.",
    )
    max_repairs: int = Field(1, ge=0, le=3, description="Times the model may correct one answer after an error.")
    tools: tuple[str, ...] = Field(
        (),
        description="Tools to offer beside those that the task's prompt names: by name, as package.module:NAME, or as "
        "./file.py:NAME.",
    )
    max_tool_answers: int = Field(
        2,
        ge=0,
        le=8,
        description="Times within a question that tools may answer the model before it must plan; 0: none that do.",
    )
    recall_similarity: float = Field(
        0.60,
        ge=-1,
        le=1,
        description="Least cosine similarity of the wrist views at which a record is reused; 1: none is.",
    )
    camera: str | None = Field(None, description="Camera that the agent is shown; None takes the scene's first.")
    max_views: int = Field(2, ge=1, description="Images that are tried when a keypoint is hidden: one call each.")
    depth_radius_px: int = Field(
        1, ge=0, description="Depth of a keypoint: median over this many pixels around it; a rim is few pixels wide."
    )
    max_depth_spread_m: float = Field(
        0.005,
        gt=0,
        description="Depth that varies more around a keypoint, metres: something else is in front; look again.",
    )
    max_disagreement_m: float = Field(
        0.015,
        gt=0,
        description="How far past a keypoint another camera may see, metres: more, and there is nothing there.",
    )
    second_look: bool = Field(
        False, description="Ask about an enlarged part of each image too: finer points, twice the calls to perceive."
    )
    guide_max_steps: int | None = Field(
        None, ge=1, description="Control steps after which waypoints are given up; None: as the task's prompt says."
    )
    workspace_margin_m: float = Field(
        0.02, ge=0, description="How far outside of the workspace a keypoint may lie, metres: the TCP stays inside."
    )
    prompt_versions: dict[str, int] = Field(
        default_factory=dict, description="Prompts to take in another version than the newest, e.g. perceive 1."
    )

    @property
    def recalls(self) -> bool:
        """Whether what worked is recalled: at 1 nothing is, were two views the same."""
        return self.recall_similarity < 1.0

    def toolbox(self, task: "TaskPrompt") -> "Toolbox":
        """Return what the model may call for a task.

        Raises:
            ConfigError: As `open_toolbox`.
        """
        from agps_agent.toolbox import open_toolbox

        return open_toolbox(task, added=self.tools, answering=self.max_tool_answers > 0)


class SupervisorConfig(BaseModel):
    """When the agent is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_queries: int = Field(
        1,
        ge=1,
        description="Questions to the agent per rollout (paper, Fig. 3d: at most one), beside one for which the "
        "arm has risen and that is asked again.",
    )
    help_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of rollouts that may get help at first; the others show what the policy can. None: 0.6; in "
        "a scene that moves from rollout to rollout all, throughout, as one that fails there teaches nothing.",
    )
    fade_window: int = Field(
        20, ge=1, description="Help fades: help_share x (1 - success over this many newest rollouts without help)."
    )
    stall: Literal["always", "until_float", "never"] = Field(
        "always",
        description="When the stall rule may wake the agent: always, until the other detectors are calibrated, or "
        "never. Calibrated on a few early successes, FLOAT takes wandering for normal and would never ask again.",
    )
    references: Literal["newest", "demonstrations"] = Field(
        "newest",
        description="What detectors compare with: the newest of demonstrations and good rollouts together, or "
        "demonstrations alone, where they are enough.",
    )
    max_references: int = Field(40, ge=2, description="Demonstrations, or newest successes, that calibrate detectors.")
    stale_after_m: float = Field(
        0.03,
        gt=0,
        description="With --on-trigger continue: waypoints for an arm that has since moved further than this, metres, "
        "are not followed. A box always holds.",
    )
    stale_after_s: float = Field(
        20.0, gt=0, description="With --on-trigger continue: waypoints that took longer than this are not followed."
    )
    patience_s: float = Field(
        120.0,
        gt=0,
        description="A question that takes longer is given up, seconds: the last resort behind the wall budget.",
    )


def check_patience(config: SupervisorConfig, settings: AgentSettings) -> None:
    """Refuse a patience that would end a question before its own limit does, which says why it ended.

    Raises:
        ConfigError: With both.
    """
    if settings.wall_budget_s > config.patience_s:
        raise ConfigError(
            f"--agent.wall-budget-s is {settings.wall_budget_s:g} and --supervisor.patience-s {config.patience_s:g}: a "
            f"question would be given up before its own limit; give a patience of at least {settings.wall_budget_s:g}."
        )
