"""What a run says about itself while it goes on, and who may listen. Knows neither training nor the terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agps_agent.run.diagnosis import Figures

Phase = Literal["demos", "calibrate", "demonstrate", "pretrain", "train", "catch_up", "evaluate", "report"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One snapshot of a run: everything the live bar shows."""

    env_steps: int
    """Control steps so far, guided ones included."""
    max_env_steps: int
    """Budget of control steps."""
    learner_steps: int
    """Gradient updates so far."""
    episodes: int
    """Finished training episodes."""
    success_rate: float
    """Share of successes among the last 20 unaided training episodes, in [0, 1]."""
    float_index: float | None
    """Lambda of the current step, or another detector's index; None without a detector that measures."""
    float_threshold: float | None
    """Index above which the agent is asked; None before calibration."""
    triggers: int
    """Times the detector or the stall rule asked for help."""
    agent_calls: int
    """Chat model calls."""
    memory_hits: int
    """Questions answered from memory."""
    elapsed_s: float
    """Wall-clock since training began, [s]."""
    phase: Phase = "train"
    """What the run is doing."""
    human_interventions: int = 0
    """Times a human took the arm."""
    human_s: float = 0.0
    """Time with a human's hand on the arm, [s]."""
    pretrain_steps: int = 0
    """Updates of stage 1 so far; 0 for an algorithm without one."""
    max_pretrain_steps: int = 0
    """Updates of stage 1 in all."""
    detector: str = "float"
    """Whose index it is."""
    figures: Figures | None = None
    """What is diagnosed from, as of the last rollout or evaluation; None before the first."""
    robots: tuple[Mapping[str, Any], ...] = ()
    """What there is to say of each robot of a fleet; empty in a run of one."""
    diagnosis: str | None = None
    """What is wrong and what to look at first; None where nothing is known to be."""


class ProgressListener(Protocol):
    """Hears how a run goes. Called as often as once per control step: must return fast and never raise."""

    def update(self, progress: Progress) -> None:
        """Take note of a snapshot."""


class SilentProgress:
    """Nobody listens."""

    def update(self, progress: Progress) -> None:
        """Do nothing."""
