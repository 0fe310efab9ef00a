"""The agent behind `rl.supervisor.Supervisor`: detectors watch, the graph answers, memory learns what worked."""

import concurrent.futures
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, Protocol, get_args
from uuid import UUID

import numpy as np

from agps_agent.ask import Answer
from agps_agent.background import Background
from agps_agent.detectors import Encoder, FailureDetector, Reading, Watch
from agps_agent.help import Help
from agps_agent.models.gate import CallGate, CallReason
from agps_agent.question import Question
from agps_agent.retreat import HIDDEN, retreat
from agps_agent.settings import SupervisorConfig
from agps_agent.state import DEMONSTRATION, Trigger
from agps_agent.surroundings import JUDGED_AFTER, Surroundings
from agps_agent.teaching import PlanTeacher
from agps_agent.tracing.client import report_outcome
from rl.episodes import Episode
from rl.errors import AgpsError, HardwareFault
from rl.types import (
    Ending,
    EpisodeOutcome,
    FloatArray,
    Guide,
    Intervention,
    InterventionEnd,
    Observation,
    Prune,
    Takeover,
)
from tools.describe import describe_end
from tools.memory import MemoryRecord
from tools.scene import Scene

_log = logging.getLogger(__name__)

STALL = "stall"
"""Name of the rule whose use `SupervisorConfig.stall` decides."""

SHOWN_PAUSE = 10
"""Control steps after which the agent is asked again that could not show how it is done."""
SHOWN_QUERIES = 3
"""Questions to the agent in a rollout that it shows: a plan that ended without success is followed by another."""
PLACES = 3
"""In a scene that moves from rollout to rollout so many times as many successes are shown, and the warm-up is so many
times as long: the way depends on where it is, and each success tells of one place."""
HELP_SHARE = 0.6
"""Share of rollouts that may get help at first. In a scene that moves all may, and go on to: only success tells where
things were, so that a rollout which fails there teaches nothing."""
MOST_TRIES, MORE_TRIES = 2, 5
"""Rollouts in which the agent tries to show so many successes: twice as many, and five."""

TOLD: frozenset[str] = frozenset({*get_args(CallReason), "not_json", "wrong_schema"}) - {"circuit_open"}
"""Reasons for no answer that somebody can do something about: server and model, not what the cameras show."""

Ask = Callable[[Scene, FloatArray, Trigger], Coroutine[Any, Any, Answer]]
"""One pass of the graph over a scene, with the embedding for the memory and what woke the agent."""


class Remembers(Protocol):
    """What a supervisor needs of a memory (`tools.memory.EpisodicMemory`)."""

    def records(self) -> Sequence[MemoryRecord]:
        """Return every record, oldest first."""

    def mark(
        self,
        record_id: str,
        *,
        success: bool,
        T_base_tcp_final: FloatArray | None = None,
        ended: Ending | None = None,
    ) -> None:
        """Tell how an episode that used a record ended."""

    def close(self) -> None:
        """Release it; may be called more than once."""


@dataclass(kw_only=True)
class _Rollout:
    """What belongs to one rollout."""

    episode: int
    may_help: bool
    shows: bool = False
    """The agent guides it from the first step."""
    embeddings: list[FloatArray] = field(default_factory=list)
    """One per step, each (k,)."""
    unmoved: tuple[str, ...] = ()
    """Records whose targets were seen where they were when it began."""
    has_moved: bool | None = False
    """Plans have worked before, and of none the targets are where they were. None: nobody can tell."""
    queries: int = 0
    ask_from: int = 0
    """First step at which the agent is asked again."""
    help_step: int = 0
    """First step after the newest help."""
    trigger: Trigger | None = None
    """The first one."""
    record_ids: dict[str, str] = field(default_factory=dict)
    """Memory record of each intervention, by the intervention's id."""
    trace_ids: dict[str, UUID] = field(default_factory=dict)
    """The same of its trace."""
    last_plan: InterventionEnd | None = None
    """How the waypoints of the newest question ended."""
    risen_for: str | None = None
    """Id of the question for which the arm rises, or has risen: what it is about was hidden."""
    again: Trigger | None = None
    """What woke the agent that is asked again once the arm has risen."""


def _watch(detectors: Sequence[FailureDetector], config: SupervisorConfig) -> Watch:
    return Watch(
        [detector for detector in detectors if config.stall != "never" or detector.name != STALL],
        max_references=config.max_references,
        stand_ins=(STALL,) if config.stall == "until_float" else (),
        follows=config.references == "newest",
    )


class AgentSupervisor:
    """Asks the agent when a failure detector says that a rollout drifts."""

    def __init__(
        self,
        *,
        capture: Callable[[], Scene],
        look: Callable[[Collection[str]], Scene] | None = None,
        ask: Ask,
        encoder: Encoder,
        detectors: Sequence[FailureDetector],
        memory: Remembers,
        config: SupervisorConfig,
        seed: int,
        save_answer: Callable[[str, Answer, Scene], None] | None = None,
        on_trigger: Literal["hold", "continue"] = "hold",
        gate: CallGate | None = None,
        hold: Callable[[], None] | None = None,
        teacher: PlanTeacher | None = None,
        approve: Callable[[Guide], bool] | None = None,
        model: str | None = None,
        prefix: str = "",
    ) -> None:
        self.model = model
        """Name of the model that is asked, for the run's log."""
        self._prefix = prefix  # begins the id of each question
        self._capture = capture
        self._surroundings = Surroundings(look or (lambda _: capture()))
        self._ask = ask
        self._encoder = encoder
        self._watch = _watch(detectors, config)
        self._memory = memory
        self._config = config
        share = HELP_SHARE if config.help_share is None else config.help_share
        self._help = Help(share=share, window=config.fade_window, seed=seed)
        self._save_answer = save_answer
        self._counts: Counter[str] = Counter()
        self._thinking_s = 0.0
        self.paused_s = 0.0
        """Time that the arm has held still for the agent, [s]."""
        self._model_s = 0.0
        self._told: set[str] = set()
        """Reasons for no answer that were said in this process."""
        self._on_trigger = on_trigger
        self._gate = gate or CallGate()
        self._hold = hold
        """Keeps a real arm still until the next control step."""
        self.teacher = teacher
        """Hears of every plan, to label rollouts with what it would do."""
        self._wanted = 0
        """Successes that the agent still has to show."""
        self._shown = Counter[str]()
        """Rollouts that the agent guided from the first step; of them successes, those in a scene that had moved, and
        those of which nobody could tell that."""
        self._approve = approve
        """Whether a person agrees to waypoints."""
        self._background = Background()
        self._pending: Question | None = None
        self._rollout = _Rollout(episode=-1, may_help=False)
        self.last_episode: dict[str, Any] = {}
        """What detectors and agent did in the last finished rollout, for the run's log."""

    @property
    def reading(self) -> Reading | None:
        """What the first detector that measures said last; None until it is calibrated."""
        return self._watch.reading

    def calibrate(self, demos: Sequence[Episode]) -> None:
        """Fit the detectors on demonstrations: per camera (T + 1, H, W, 3) uint8, beside what else an episode holds."""
        # The last frame is seen by no rollout: there is no decision left to review.
        cameras = self._encoder.cameras
        rollouts = ([{name: demo[name][t] for name in cameras} for t in range(len(demo["action"]))] for demo in demos)
        self._watch.calibrate(self._encoder.encode_batch(steps) for steps in rollouts)

    def demonstrate(self, successes: int) -> None:
        """Guide every rollout from its first step until so many have succeeded, or too many have failed."""
        self._wanted = successes

    @property
    def is_demonstrating(self) -> bool:
        """Whether the agent still shows how it is done."""
        tries, wanted = self._shown["rollouts"], self._wanted * self.places
        return self._shown["successes"] < wanted and tries < MOST_TRIES * wanted + MORE_TRIES

    @property
    def places(self) -> int:
        """How many times as much is shown, and learned from it, as in a scene that stays: 1 until it moves."""
        told = self._shown["rollouts"] - self._shown["untold"]
        moves = self._shown["successes"] >= JUDGED_AFTER and 2 * self._shown["moved"] > told
        return PLACES if moves else 1

    @property
    def helps_all(self) -> bool:
        """Whether any rollout may get help, and goes on to: in a scene that moves, where no share is given."""
        return self._config.help_share is None and (self._surroundings.moves or self.places > 1)

    def start_episode(self, episode: int, observation: Observation) -> None:
        """Reset the rollout clock and draw whether this rollout may get help."""
        self._abandon_question()
        self._watch.reset()
        shows = self.is_demonstrating
        self._rollout = _Rollout(episode=episode, shows=shows, may_help=shows or self.helps_all or self._help.draw())
        if self.teacher is not None:
            self.settle()  # what the last rollout came to is known first
            self._rollout.unmoved, self._rollout.has_moved = self._surroundings.begin(self._memory.records())
            self.teacher.start_episode(self._rollout.unmoved)

    def review(self, observation: Observation, *, active: Intervention | None = None) -> Intervention | None:
        """Show this step to the detectors; on the first drift of a rollout ask the agent.

        The arm holds still until the answer is there, or the policy goes on and the answer comes at a later step.
        """
        embedding, rollout = self._encoder.encode(observation.images), self._rollout
        rollout.embeddings.append(embedding)
        reading = self._watch.update(observation, embedding)
        if self._pending is not None:
            return self._collect(observation)
        if isinstance(active, Guide | Takeover):
            return None  # a detector fires again when they are over
        trigger = self._woken(reading, observation)
        if trigger is None:
            return None
        most = max(self._config.max_queries, SHOWN_QUERIES) if rollout.shows else self._config.max_queries
        if rollout.queries >= most or not rollout.may_help or observation.step < rollout.ask_from:
            return None
        rollout.queries += 1
        rollout.again = None
        if self._hold is not None and self._holds:
            self._hold()
        try:
            self._pending = self._question(embedding, trigger, observation)
        except HardwareFault:  # a camera failed, and the arm was stopped: the next control step says so
            self._counts["declined/hardware_fault"] += 1
            return None
        if not self._holds:
            return None
        concurrent.futures.wait([self._pending.answer], timeout=self._config.patience_s)
        return self._collect(observation)

    def note_end(self, end: InterventionEnd) -> None:
        """Keep how waypoints ended, for the next question of the rollout."""
        if end.kind == "guide" and end.id == self._rollout.risen_for:
            if end.how == "taken_over":  # a human sees to it
                self._rollout.again = None
        elif end.kind == "guide":
            self._rollout.last_plan = end

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        """Tell memory and traces what came of the answers, and let the detectors learn from a success."""
        self._abandon_question()
        rollout = self._rollout
        ends = {end.id: end for end in outcome.interventions}
        final = None if outcome.final_robot is None else outcome.final_robot.T_base_tcp
        for id, record_id in rollout.record_ids.items():
            ended = ends[id].how if id in ends else None
            mark = partial(self._memory.mark, record_id, success=outcome.success, T_base_tcp_final=final, ended=ended)
            self._background.write("unmarked_records", mark)
        ends.pop(rollout.risen_for or "", None)  # nothing was advised there
        for id, trace_id in rollout.trace_ids.items():
            report_outcome(trace_id, success=outcome.success, ended=describe_end(ends[id]) if id in ends else None)
        if self.teacher is not None:
            self.teacher.finish_episode(outcome)
        if rollout.shows:
            self._shown["rollouts"] += 1
            self._shown["moved"] += rollout.has_moved is True
            self._shown["untold"] += rollout.has_moved is None
            was_helped = bool(set(outcome.intervention_ids) - {rollout.risen_for})
            self._shown["successes"] += outcome.success and outcome.guided_steps > 0 and was_helped
        elif not outcome.intervention_ids:
            self._help.note_unaided(outcome.success)
        self.last_episode = {
            "triggered": rollout.trigger is not None,
            "trigger_kind": None if rollout.trigger is None else rollout.trigger["kind"],
            "trigger_step": None if rollout.trigger is None else rollout.trigger["step"],
            "may_help": rollout.may_help,
            "demonstration": rollout.shows,
            **self._watch.log(),
            "counters": self.metrics(),
        }
        if outcome.success and rollout.embeddings:
            # What led up to the question was no example to follow.
            self._watch.learn(np.stack(rollout.embeddings[rollout.help_step :]))

    def metrics(self) -> dict[str, float]:
        """Return cumulative counters of the run; a write that is under way is not counted yet."""
        self._count_failed_writes()
        counts = {key: float(value) for key, value in self._counts.items()}
        return {**counts, **self._gate.counters(), **self._times()}

    @property
    def _holds(self) -> bool:
        """Whether the arm holds still while the agent thinks. It does where the agent shows: nothing else acts then."""
        return self._on_trigger == "hold" or self._rollout.shows

    def _note_thinking(self, seconds: float) -> None:
        self._thinking_s += seconds
        self.paused_s += seconds if self._holds else 0.0

    def _times(self) -> dict[str, float]:
        return {"agent_thinking_s": self._thinking_s, "agent_pause_s": self.paused_s, "model_s": self._model_s}

    def settle(self) -> None:
        """Wait until all that was to be written is on disk, or has failed and is counted."""
        self._count_failed_writes(wait=True)

    def state_dict(self) -> dict[str, Any]:
        """Return counters, what the detectors compare with, and the random state."""
        self.settle()
        return {
            **self._watch.state_dict(),
            **self._help.state_dict(),
            "counts": dict(self._counts),
            "thinking_s": self._thinking_s,
            "paused_s": self.paused_s,
            "model_s": self._model_s,
            "gate": self._gate.state_dict(),
            "shown": dict(self._shown),
            **self._surroundings.state_dict(),
            "teacher": None if self.teacher is None else self.teacher.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._watch.load_state_dict(state)
        self._help.load_state_dict(state)
        self._counts = Counter(state["counts"])
        self._thinking_s = state["thinking_s"]
        self.paused_s = state.get("paused_s", self._thinking_s if self._on_trigger == "hold" else 0.0)  # older runs
        self._model_s = state.get("model_s", 0.0)  # older runs did not count it
        self._gate.load_state_dict(state["gate"])
        self._shown = Counter(state.get("shown", {}))  # older runs showed nothing
        self._surroundings.load_state_dict(state)
        if self.teacher is not None and state.get("teacher") is not None:
            self.teacher.load_state_dict(state["teacher"])

    def close(self) -> None:
        """Finish what is being written, give up a question under way, and release the memory."""
        self._background.close()
        self._memory.close()

    def _woken(self, reading: Reading | None, observation: Observation) -> Trigger | None:
        """Return what wakes the agent: it looks again, shows the task, or a detector fires; None: nothing does."""
        rollout = self._rollout
        if rollout.again is not None:
            return Trigger(**{**rollout.again, "step": observation.step})
        if rollout.shows:
            return self._trigger(None, observation)
        if reading is None:
            return None
        trigger = self._trigger(reading, observation)
        if rollout.trigger is None:
            rollout.trigger = trigger
            self._counts["triggers"] += 1
        return trigger

    def _trigger(self, reading: Reading | None, observation: Observation) -> Trigger:
        """Return what a detector's reading tells the agent; None where it shows how it is done."""
        rollout = self._rollout
        trigger = Trigger(
            kind=DEMONSTRATION if reading is None else reading.name,
            index=float((reading and reading.index) or 0.0),
            threshold=float((reading and reading.threshold) or 0.0),
            step=observation.step,
            episode=rollout.episode,
            alone=self._help.alone,
        )
        if rollout.unmoved:
            trigger["unmoved"] = list(rollout.unmoved)
        if reading is not None and reading.reason:
            trigger["reason"] = reading.reason
        if rollout.last_plan is not None:
            trigger["last_plan"] = describe_end(rollout.last_plan)
        return trigger

    def _question(self, embedding: FloatArray, trigger: Trigger, observation: Observation) -> Question:
        """Start a question about what the cameras see now."""
        self._counts["questions"] += 1
        scene = self._capture()  # rendering it is the simulator's time, not a pause of the robot
        asked_at = time.monotonic()
        return Question(
            id=f"{self._prefix}{self._counts['questions']:04d}",
            trigger=trigger,
            scene=scene,
            answer=self._background.start(self._ask(scene, embedding, trigger)),
            position=observation.robot.T_base_tcp[:3, 3].copy(),
            frame=len(self._rollout.embeddings) - 1,
            asked_at=asked_at,
        )

    def _collect(self, observation: Observation) -> Intervention | None:
        """Return what the question under way came to, if it is answered and the answer still fits."""
        question, now = self._pending, time.monotonic()
        assert question is not None
        if not question.is_over(now, patience_s=self._config.patience_s):
            return None
        intervention = self._answer(question, observation, now)
        if intervention is None and self._rollout.shows:  # what hid from it is there in a moment too
            self._rollout.ask_from = observation.step + SHOWN_PAUSE
        # Without an answer the rollout goes on as before: the next question, if there may be one, waits a while too.
        if intervention is not None or self._rollout.queries < self._config.max_queries:
            self._watch.rearm()
        return intervention

    def _answer(self, question: Question, observation: Observation, now: float) -> Intervention | None:
        """End the question under way, and return its answer if there is one and it fits."""
        self._pending = None
        self._note_thinking(now - question.asked_at)
        if not question.answer.done():
            question.answer.cancel()
            self._counts["declined/timeout"] += 1
            return None
        answer = question.answer.result()
        self._count(answer)
        self._rollout.trace_ids[question.id] = answer.trace_id
        self._save(question, answer)
        rises = self._rises_for(answer)
        intervention = self._rise(question, observation) if rises else answer.intervention
        if intervention is None or not self._may_begin(question, intervention, observation, now):
            return None
        intervention = replace(intervention, id=question.id)
        self._rollout.help_step = question.frame
        if rises:
            self._rollout.risen_for, self._rollout.again = question.id, question.trigger
            self._rollout.queries -= 1  # it is the same question that is asked again
            return intervention
        if answer.record_id is not None:
            self._rollout.record_ids[question.id] = answer.record_id
        if self.teacher is not None and isinstance(intervention, Guide):
            self.teacher.note(intervention, answer.record_id, question.position)
        return intervention

    def _rises_for(self, answer: Answer) -> bool:
        """Return whether the arm shall rise, once in a rollout, since it hides what the question is about.

        Not for a box: where those alone are asked for, nothing is to act in the policy's place.
        """
        hidden = answer.intervention is None and answer.reason_key in HIDDEN
        return hidden and self._rollout.risen_for is None and answer.state.get("mode") != "prune"

    @staticmethod
    def _rise(question: Question, observation: Observation) -> Guide | None:
        """Return the way up from where the arm is now: with --on-trigger continue it has moved since it was asked."""
        robot = observation.robot
        return retreat(robot.T_base_tcp, robot.gripper_opening, question.scene.workspace)

    def _may_begin(self, question: Question, intervention: Intervention, observation: Observation, now: float) -> bool:
        """Return whether an answer still fits, and a person agrees where one is asked."""
        if (stale := self._stale(question, intervention, observation, now)) is not None:
            self._counts[f"stale/{stale}"] += 1
            return False
        if self._approve is not None and isinstance(intervention, Guide) and not self._approve(intervention):
            self._counts["declined/not_confirmed"] += 1
            return False
        return True

    def _abandon_question(self) -> None:
        """Cancel a question whose episode is over."""
        if self._pending is not None:
            self._note_thinking(time.monotonic() - self._pending.asked_at)
            self._pending.answer.cancel()
            self._pending = None
            self._counts["stale/episode_over"] += 1

    def _count(self, answer: Answer) -> None:
        self._counts["agent_calls"] += answer.cost.model_calls
        self._counts["memory_hits"] += answer.cost.memory_hit
        self._counts["tokens"] += answer.cost.prompt_tokens + answer.cost.completion_tokens
        self._counts["prompt_tokens"] += answer.cost.prompt_tokens
        self._counts["completion_tokens"] += answer.cost.completion_tokens
        self._model_s += answer.cost.model_s
        if answer.intervention is None:
            self._counts[f"declined/{answer.reason_key}"] += 1
            self._tell_fault(answer)

    def _tell_fault(self, answer: Answer) -> None:
        """Say in the model's or the server's own words why it gave no answer, the first time for each reason."""
        if answer.reason_key in TOLD and answer.reason_key not in self._told:
            self._told.add(answer.reason_key)
            _log.warning(
                "No answer from the model: %s The policy goes on; more of this kind are counted as declined/%s.",
                answer.reason,
                answer.reason_key,
            )

    def _stale(
        self, question: Question, intervention: Intervention, observation: Observation, now: float
    ) -> Literal["moved", "late"] | None:
        """Return why waypoints are not for this moment any more; None if they are, and for a box."""
        if isinstance(intervention, Prune) or self._holds:
            return None
        config = self._config
        return question.stale(observation, now, after_m=config.stale_after_m, after_s=config.stale_after_s)

    def _save(self, question: Question, answer: Answer) -> None:
        """Keep a question for people; a full disk costs its record, not the run."""
        if self._save_answer is not None:
            self._background.write("unsaved_questions", partial(self._save_answer, question.id, answer, question.scene))

    def _count_failed_writes(self, *, wait: bool = False) -> None:
        for what, error in self._background.failed_writes(wait=wait):
            if not isinstance(error, OSError | AgpsError):
                raise error
            self._counts[what] += 1
            _log.warning("Not written (%s: %s); the run goes on.", what, error)
