"""The agent behind `rl.supervisor.Supervisor`: FLOAT watches, the graph answers, memory learns what worked."""

import concurrent.futures
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal
from uuid import UUID

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from agps_agent.ask import Answer
from agps_agent.background import Background
from agps_agent.detectors import FloatConfig, FloatDetector, FloatReading, NotEnoughDemos, StallRule
from agps_agent.detectors.float.encoder import Encoder
from agps_agent.models.gate import CallGate
from agps_agent.state import AgentSettings, Trigger
from agps_agent.tracing.client import report_outcome
from rl.episodes import Episode
from rl.errors import AgpsError, ConfigError, HardwareFault
from rl.types import EpisodeOutcome, FloatArray, Guide, Intervention, InterventionEnd, Observation, Prune, Takeover
from tools.describe import describe_end
from tools.memory import EpisodicMemory
from tools.scene import Scene

_log = logging.getLogger(__name__)

Ask = Callable[[Scene, FloatArray, Trigger], Coroutine[Any, Any, Answer]]
"""One pass of the graph over a scene, with the embedding for the memory and what woke the agent."""


class SupervisorConfig(BaseModel):
    """When the agent is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_queries: int = Field(1, ge=1, description="Questions to the agent per rollout (paper, Fig. 3d: at most one).")
    help_share: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Share of rollouts that may get help at first; the others show what the policy can.",
    )
    fade_window: int = Field(
        20, ge=1, description="Help fades: help_share x (1 - success over this many newest rollouts without help)."
    )
    stall: Literal["always", "until_float", "never"] = Field(
        "always",
        description="When the stall rule may wake the agent: always, until FLOAT is calibrated, or never. Calibrated "
        "on a few early successes, FLOAT takes wandering for normal and would never ask again.",
    )
    max_references: int = Field(20, ge=2, description="Demonstrations, or newest successes, that calibrate FLOAT.")
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


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A question under way."""

    id: str
    scene: Scene
    answer: concurrent.futures.Future[Answer]
    position: FloatArray
    """Where the TCP was, base frame. Shape (3,), [m]."""
    frame: int
    """Number of the observation in the rollout."""
    asked_at: float


class AgentSupervisor:
    """Asks the agent when FLOAT, or the stall rule while FLOAT is not calibrated, says that a rollout drifts."""

    def __init__(
        self,
        *,
        capture: Callable[[], Scene],
        ask: Ask,
        encoder: Encoder,
        float_config: FloatConfig,
        stall_rule: StallRule,
        memory: EpisodicMemory,
        config: SupervisorConfig,
        seed: int,
        save_answer: Callable[[str, Answer, Scene], None] | None = None,
        on_trigger: Literal["hold", "continue"] = "hold",
        gate: CallGate | None = None,
        hold: Callable[[], None] | None = None,
        approve: Callable[[Guide], bool] | None = None,
    ) -> None:
        self.reading: FloatReading | None = None
        """What FLOAT last said; None until it is calibrated."""
        self._capture = capture
        self._ask = ask
        self._encoder = encoder
        self._float_config = float_config
        self._detector: FloatDetector | None = None
        self._stall_rule = stall_rule
        self._memory = memory
        self._config = config
        self._rng = np.random.default_rng(seed)
        self._save_answer = save_answer
        self._references: deque[FloatArray] = deque(maxlen=config.max_references)
        self._fitted_on: list[FloatArray] = []
        """The references that FLOAT was calibrated on last, or would have been if they were enough."""
        self._learns_references = True
        self._since_fit = 0
        self._unaided: deque[bool] = deque(maxlen=config.fade_window)
        self._counts: Counter[str] = Counter()
        self._thinking_s = 0.0
        self._on_trigger = on_trigger
        self._gate = gate or CallGate()
        self._hold = hold
        """Keeps a real arm still until the next control step."""
        self._approve = approve
        """Whether a person agrees to waypoints."""
        self._background = Background()
        self._pending: _Question | None = None
        self.last_episode: dict[str, Any] = {}
        """What FLOAT and the agent did in the last finished rollout, for the run's log."""

    def calibrate(self, demos: Sequence[Episode]) -> None:
        """Fit FLOAT on demonstrations: per camera (T + 1, H, W, 3) uint8, beside what else an episode holds."""
        for demo in demos:
            # The last frame is seen by no rollout: there is no decision left to review.
            steps = range(len(demo["action"]))
            self._references.append(
                self._encoder.encode_batch([{name: demo[name][t] for name in self._encoder.cameras} for t in steps])
            )
        # Enough demonstrations stay the yardstick; otherwise the newest successes are, and they get better.
        self._fit(self._references)
        self._learns_references = self._detector is None

    def start_episode(self, episode: int, observation: Observation) -> None:
        """Reset the rollout clock and draw whether this rollout may get help."""
        self._abandon_question()
        self._episode = episode
        self._embeddings: list[FloatArray] = []
        self._queries = 0
        self._help_step = 0
        self._trigger: Trigger | None = None
        self._readings: list[FloatReading] = []
        self._record_ids: dict[str, str] = {}
        """Memory record of each intervention, by the intervention's id; likewise its trace."""
        self._trace_ids: dict[str, UUID] = {}
        self._last_plan: InterventionEnd | None = None
        self._stall_rule.reset()
        if self._detector is not None:
            self._detector.reset()
        unaided_success = sum(self._unaided) / self._config.fade_window
        self._may_help = bool(self._rng.random() < self._config.help_share * (1.0 - unaided_success))

    def review(self, observation: Observation, *, active: Intervention | None = None) -> Intervention | None:
        """Update FLOAT with this step; on the first drift of a rollout ask the agent.

        The arm holds still until the answer is there, or the policy goes on and the answer comes at a later step.
        """
        embedding = self._encoder.encode(observation.images)
        self._embeddings.append(embedding)
        trigger = self._watch(embedding, observation)
        if self._pending is not None:
            return self._collect(observation)
        if trigger is None or isinstance(active, Guide | Takeover):  # it fires again when they are over
            return None
        if self._trigger is None:
            self._trigger = trigger
            self._counts["triggers"] += 1
        if self._queries >= self._config.max_queries or not self._may_help:
            return None
        self._queries += 1
        if self._hold is not None and self._on_trigger == "hold":
            self._hold()
        try:
            self._pending = self._question(embedding, trigger, observation)
        except HardwareFault:  # a camera failed, and the arm was stopped: the next control step says so
            self._counts["declined/hardware_fault"] += 1
            return None
        if self._on_trigger == "continue":
            return None
        concurrent.futures.wait([self._pending.answer], timeout=self._config.patience_s)
        return self._collect(observation)

    def note_end(self, end: InterventionEnd) -> None:
        """Keep how waypoints ended, for the next question of the rollout."""
        if end.kind == "guide":
            self._last_plan = end

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        """Tell memory and traces what came of the answers, and let FLOAT learn from a success."""
        self._abandon_question()
        ends = {end.id: end for end in outcome.interventions}
        final = None if outcome.final_robot is None else outcome.final_robot.T_base_tcp
        for id, record_id in self._record_ids.items():
            ended = ends[id].how if id in ends else None
            mark = partial(self._memory.mark, record_id, success=outcome.success, T_base_tcp_final=final, ended=ended)
            self._background.write("unmarked_records", mark)
        for id, trace_id in self._trace_ids.items():
            report_outcome(trace_id, success=outcome.success, ended=describe_end(ends[id]) if id in ends else None)
        if not outcome.intervention_ids:
            self._unaided.append(outcome.success)
        self.last_episode = {
            "triggered": self._trigger is not None,
            "trigger_kind": None if self._trigger is None else self._trigger["kind"],
            "trigger_step": None if self._trigger is None else self._trigger["step"],
            "may_help": self._may_help,
            "float_trace": [round(reading.index, 5) for reading in self._readings],
            "float_thresholds": [round(reading.threshold, 5) for reading in self._readings],
            "float_scores": [round(reading.score, 4) for reading in self._readings],
            "float_max": max((reading.index for reading in self._readings), default=None),
            "float_threshold": None if self.reading is None else self.reading.threshold,
            "counters": self.metrics(),
        }
        if outcome.success and self._learns_references and self._embeddings:
            # What led up to the question was no example to follow.
            self._references.append(np.stack(self._embeddings[self._help_step :]))
            self._since_fit += 1
            if self._since_fit >= max(self._float_config.min_demos, len(self._references) // 2):
                self._fit(self._references)

    def metrics(self) -> dict[str, float]:
        """Return cumulative counters of the run; a write that is under way is not counted yet."""
        self._count_failed_writes()
        counts = {key: float(value) for key, value in self._counts.items()}
        return {**counts, **self._gate.counters(), **self._times()}

    def _times(self) -> dict[str, float]:
        paused_s = self._thinking_s if self._on_trigger == "hold" else 0.0
        return {"agent_thinking_s": self._thinking_s, "agent_pause_s": paused_s}

    def settle(self) -> None:
        """Wait until all that was to be written is on disk, or has failed and is counted."""
        self._count_failed_writes(wait=True)

    def state_dict(self) -> dict[str, Any]:
        """Return counters, references of FLOAT and the random state."""
        self.settle()
        return {
            "learns_references": self._learns_references,
            "references": [np.asarray(reference) for reference in self._references],
            "fitted_on": [np.asarray(reference) for reference in self._fitted_on],
            "since_fit": self._since_fit,
            "unaided": list(self._unaided),
            "counts": dict(self._counts),
            "thinking_s": self._thinking_s,
            "rng": self._rng.bit_generator.state,
            "gate": self._gate.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._references.clear()
        self._references.extend(state["references"])
        self._learns_references = state["learns_references"]
        self._unaided.clear()
        self._unaided.extend(state["unaided"])
        self._counts = Counter(state["counts"])
        self._thinking_s = state["thinking_s"]
        self._rng.bit_generator.state = state["rng"]
        self._gate.load_state_dict(state["gate"])
        # Not on the newest references: the run would not have looked at them yet. Older checkpoints do not tell.
        self._fit(state.get("fitted_on", state["references"]))
        self._since_fit = state.get("since_fit", 0)

    def close(self) -> None:
        """Finish what is being written, give up a question under way, and release the memory."""
        self._background.close()
        self._memory.close()

    def _watch(self, embedding: FloatArray, observation: Observation) -> Trigger | None:
        """Show this step to every detector, and return what woke one of them."""
        trigger = None
        if self._detector is not None:
            self.reading = reading = self._detector.update(embedding)
            self._readings.append(reading)
            if reading.triggered:
                trigger = self._woken("float", observation, index=reading.index, threshold=reading.threshold)
        stall_counts = self._config.stall == "always" or (self._config.stall == "until_float" and not self._detector)
        if stall_counts and self._stall_rule.update(observation):
            trigger = trigger or self._woken("stall", observation)
        return trigger

    def _rearm(self) -> None:
        """Let no detector ask again before its cooldown is over."""
        self._stall_rule.rearm()
        if self._detector is not None:
            self._detector.rearm()

    def _woken(
        self, kind: Literal["float", "stall"], observation: Observation, *, index: float = 0.0, threshold: float = 0.0
    ) -> Trigger:
        alone = [sum(self._unaided), len(self._unaided)]
        trigger = Trigger(
            kind=kind, index=index, threshold=threshold, step=observation.step, episode=self._episode, alone=alone
        )
        if self._last_plan is not None:
            trigger["last_plan"] = describe_end(self._last_plan)
        return trigger

    def _question(self, embedding: FloatArray, trigger: Trigger, observation: Observation) -> _Question:
        """Start a question about what the cameras see now."""
        self._counts["questions"] += 1
        asked_at = time.monotonic()
        scene = self._capture()
        return _Question(
            id=f"{self._counts['questions']:04d}",
            scene=scene,
            answer=self._background.start(self._ask(scene, embedding, trigger)),
            position=observation.robot.T_base_tcp[:3, 3].copy(),
            frame=len(self._embeddings) - 1,
            asked_at=asked_at,
        )

    def _collect(self, observation: Observation) -> Intervention | None:
        """Return what the question under way came to, if it is answered and the answer still fits."""
        question, now = self._pending, time.monotonic()
        assert question is not None
        if not question.answer.done() and now - question.asked_at <= self._config.patience_s:
            return None
        intervention = self._answer(question, observation, now)
        # Without an answer the rollout goes on as before: the next question, if there may be one, waits a while too.
        if intervention is not None or self._queries < self._config.max_queries:
            self._rearm()
        return intervention

    def _answer(self, question: _Question, observation: Observation, now: float) -> Intervention | None:
        """End the question under way, and return its answer if there is one and it fits."""
        self._pending = None
        self._thinking_s += now - question.asked_at
        if not question.answer.done():
            question.answer.cancel()
            self._counts["declined/timeout"] += 1
            return None
        answer = question.answer.result()
        self._count(answer)
        self._trace_ids[question.id] = answer.trace_id
        self._save(question, answer)
        if answer.intervention is None:
            return None
        if (stale := self._stale(question, answer.intervention, observation, now)) is not None:
            self._counts[f"stale/{stale}"] += 1
            return None
        if self._approve is not None and isinstance(answer.intervention, Guide):
            if not self._approve(answer.intervention):
                self._counts["declined/not_confirmed"] += 1
                return None
        if answer.record_id is not None:
            self._record_ids[question.id] = answer.record_id
        self._help_step = question.frame
        return replace(answer.intervention, id=question.id)

    def _abandon_question(self) -> None:
        """Cancel a question whose episode is over."""
        if self._pending is not None:
            self._thinking_s += time.monotonic() - self._pending.asked_at
            self._pending.answer.cancel()
            self._pending = None
            self._counts["stale/episode_over"] += 1

    def _count(self, answer: Answer) -> None:
        self._counts["agent_calls"] += answer.cost.model_calls
        self._counts["memory_hits"] += answer.cost.memory_hit
        self._counts["tokens"] += answer.cost.prompt_tokens + answer.cost.completion_tokens
        if answer.intervention is None:
            self._counts[f"declined/{answer.reason_key}"] += 1

    def _stale(
        self, question: _Question, intervention: Intervention, observation: Observation, now: float
    ) -> Literal["moved", "late"] | None:
        """Return why waypoints are not for this moment any more; None if they are, and for a box."""
        if isinstance(intervention, Prune) or self._on_trigger == "hold":
            return None
        moved_m = float(np.linalg.norm(observation.robot.T_base_tcp[:3, 3] - question.position))
        if moved_m > self._config.stale_after_m:
            return "moved"
        return "late" if now - question.asked_at > self._config.stale_after_s else None

    def _save(self, question: _Question, answer: Answer) -> None:
        """Keep a question for people; a full disk costs its record, not the run."""
        if self._save_answer is not None:
            self._background.write("unsaved_questions", partial(self._save_answer, question.id, answer, question.scene))

    def _count_failed_writes(self, *, wait: bool = False) -> None:
        for what, error in self._background.failed_writes(wait=wait):
            if not isinstance(error, OSError | AgpsError):
                raise error
            self._counts[what] += 1
            _log.warning("Not written (%s: %s); the run goes on.", what, error)

    def _fit(self, references: Iterable[FloatArray]) -> None:
        """Calibrate FLOAT on references when there are enough of them."""
        self._since_fit, self._fitted_on = 0, list(references)
        try:
            self._detector = FloatDetector(self._float_config).fit(self._fitted_on)
        except NotEnoughDemos:
            self._detector = None
