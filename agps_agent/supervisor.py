"""The agent behind `rl.supervisor.Supervisor`: FLOAT watches, the graph answers, memory learns what worked."""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from agps_agent.ask import Answer
from agps_agent.float_trigger import FloatConfig, FloatDetector, FloatReading, NotEnoughDemos, StallRule
from agps_agent.float_trigger.encoder import Encoder
from agps_agent.state import Trigger
from rl.buffers import Episode
from rl.errors import AgpsError
from rl.types import EpisodeOutcome, FloatArray, Intervention, Observation
from tools.memory import EpisodicMemory
from tools.scene import Scene

_log = logging.getLogger(__name__)

Ask = Callable[[Scene, FloatArray, Trigger], Coroutine[Any, Any, Answer]]
"""One pass of the graph over a scene, with the embedding for the memory and what woke the agent."""


class SupervisorConfig(BaseModel):
    """When the agent is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        self._learns_references = True
        self._since_fit = 0
        self._unaided: deque[bool] = deque(maxlen=config.fade_window)
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0
        self._worker = _EventLoopThread()
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
        self._fit()
        self._learns_references = self._detector is None

    def start_episode(self, episode: int, observation: Observation) -> None:
        """Reset the rollout clock and draw whether this rollout may get help."""
        self._episode = episode
        self._embeddings: list[FloatArray] = []
        self._queries = 0
        self._help_step = 0
        self._trigger: Trigger | None = None
        self._readings: list[FloatReading] = []
        self._record_ids: list[str] = []
        self._stall_rule.reset()
        if self._detector is not None:
            self._detector.reset()
        unaided_success = sum(self._unaided) / self._config.fade_window
        self._may_help = bool(self._rng.random() < self._config.help_share * (1.0 - unaided_success))

    def review(self, observation: Observation, *, active: Intervention | None = None) -> Intervention | None:
        """Update FLOAT with this step; on the first drift of a rollout ask the agent while the arm holds still."""
        embedding = self._encoder.encode(observation.images)
        self._embeddings.append(embedding)
        trigger = self._watch(embedding, observation)
        if trigger is None or active is not None:
            return None
        if self._trigger is None:
            self._trigger = trigger
            self._counts["triggers"] += 1
        if self._queries >= self._config.max_queries or not self._may_help:
            return None
        self._queries += 1
        return self._question(embedding, trigger)

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        """Tell the memory what came of its records, and let FLOAT learn from a success."""
        for record_id in self._record_ids:
            final = None if outcome.final_robot is None else outcome.final_robot.T_base_tcp
            try:
                self._memory.mark(record_id, success=outcome.success, T_base_tcp_final=final)
            except (OSError, AgpsError) as error:
                self._counts["unmarked_records"] += 1
                _log.warning("What came of %s was not remembered (%s); the run goes on.", record_id, error)
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
        }
        if outcome.success and self._learns_references and self._embeddings:
            # What led up to the question was no example to follow.
            self._references.append(np.stack(self._embeddings[self._help_step :]))
            self._since_fit += 1
            if self._since_fit >= max(self._float_config.min_demos, len(self._references) // 2):
                self._fit()

    def metrics(self) -> dict[str, float]:
        """Return cumulative counters of the run."""
        return {**{key: float(value) for key, value in self._counts.items()}, "agent_pause_s": self._seconds}

    def state_dict(self) -> dict[str, Any]:
        """Return counters, references of FLOAT and the random state."""
        return {
            "learns_references": self._learns_references,
            "references": [np.asarray(reference) for reference in self._references],
            "unaided": list(self._unaided),
            "counts": dict(self._counts),
            "seconds": self._seconds,
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._references.clear()
        self._references.extend(state["references"])
        self._learns_references = state["learns_references"]
        self._unaided.clear()
        self._unaided.extend(state["unaided"])
        self._counts = Counter(state["counts"])
        self._seconds = state["seconds"]
        self._rng.bit_generator.state = state["rng"]
        self._fit()

    def close(self) -> None:
        """Stop the worker loop and release the memory."""
        self._worker.close()
        self._memory.close()

    def _watch(self, embedding: FloatArray, observation: Observation) -> Trigger | None:
        if self._detector is not None:
            self.reading = reading = self._detector.update(embedding)
            self._readings.append(reading)
            if reading.triggered:
                return self._woken("float", observation, index=reading.index, threshold=reading.threshold)
        stall_counts = self._config.stall == "always" or (self._config.stall == "until_float" and not self._detector)
        if stall_counts and self._stall_rule.update(observation):
            return self._woken("stall", observation)
        return None

    def _woken(
        self, kind: Literal["float", "stall"], observation: Observation, *, index: float = 0.0, threshold: float = 0.0
    ) -> Trigger:
        alone = [sum(self._unaided), len(self._unaided)]
        return Trigger(
            kind=kind, index=index, threshold=threshold, step=observation.step, episode=self._episode, alone=alone
        )

    def _question(self, embedding: FloatArray, trigger: Trigger) -> Intervention | None:
        started = time.monotonic()
        scene = self._capture()
        answer = self._worker.run(self._ask(scene, embedding, trigger))
        self._seconds += time.monotonic() - started
        self._counts["questions"] += 1
        self._counts["agent_calls"] += answer.cost.model_calls
        self._counts["memory_hits"] += answer.cost.memory_hit
        self._counts["tokens"] += answer.cost.prompt_tokens + answer.cost.completion_tokens
        question_id = f"{self._counts['questions']:04d}"
        self._save(question_id, answer, scene)
        if answer.intervention is None:
            self._counts[f"declined/{answer.reason_key}"] += 1
            return None
        if answer.record_id is not None:
            self._record_ids.append(answer.record_id)
        if self._detector is not None:
            self._detector.rearm()
        self._help_step = len(self._embeddings) - 1
        return replace(answer.intervention, id=question_id)

    def _save(self, question_id: str, answer: Answer, scene: Scene) -> None:
        """Keep a question for people; a full disk costs its record, not the run."""
        if self._save_answer is None:
            return
        try:
            self._save_answer(question_id, answer, scene)
        except OSError as error:
            self._counts["unsaved_questions"] += 1
            _log.warning("Question %s was not saved (%s); its answer is used all the same.", question_id, error)

    def _fit(self) -> None:
        """Calibrate FLOAT on the references when there are enough of them."""
        self._since_fit = 0
        try:
            self._detector = FloatDetector(self._float_config).fit(list(self._references))
        except NotEnoughDemos:
            self._detector = None


class _EventLoopThread:
    """An asyncio loop on its own thread: timeouts work, and the control loop may wait for it or not."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agps-agent", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """Run to the end and return the result; `ask` has its own wall budget."""
        future: concurrent.futures.Future[Answer] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive():
            self._loop.close()
