"""One training run from demonstrations to report: what `agps train` does, in order."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from agps_agent.build import Session, build_session
from agps_agent.config import RunConfig, save_config
from agps_agent.progress import Phase, Progress, ProgressListener
from agps_agent.report.recording import Drift
from agps_agent.report.run_page import write_report
from agps_agent.runs import RunDirectory
from agps_agent.supervisor import AgentSupervisor
from rl.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from rl.evaluation import EvaluationResult, evaluate
from rl.loop import Step
from rl.types import EpisodeOutcome

SUCCESS_WINDOW = 20
"""Unaided training episodes over which the live success rate is taken."""
CURVE_EPISODES = 20
"""Episodes of each evaluation on the way; the final one has `eval_episodes`."""
CURVE_SEED, FINAL_SEED = 10_000, 20_000
"""Start states of the curve and of the final evaluation: never used in training, and not the same."""


def train(config: RunConfig, run: RunDirectory, progress: ProgressListener, *, resume: bool = False) -> dict[str, Any]:
    """Train, evaluate the policy alone, write the report, and return the summary.

    Once the training has begun, Ctrl-C saves a checkpoint and the report of what there is, then raises
    KeyboardInterrupt again. Before that there is nothing to save, and a checkpoint to resume from must stay as it is.
    """
    with build_session(config, run) as session:
        log = TrainingLog(config, run, session, progress)
        _prepare(session, log, resume=resume)
        interrupted = False
        try:
            session.algorithm.learn(
                total_timesteps=config.max_env_steps - session.algorithm.num_timesteps,
                callback=RunCallback(log),
                reset_num_timesteps=not resume,
            )
        except KeyboardInterrupt:
            interrupted = True
        log.checkpoint()
        final = None if interrupted else log.evaluate(config.eval_episodes, seed=FINAL_SEED, kind="final_eval")
        summary = log.summary(final)
        run.write_summary(summary)
        log.announce("report")
        session.recorder.close()
        write_report(run)
        if interrupted:
            raise KeyboardInterrupt
        return summary


def _prepare(session: Session, log: "TrainingLog", *, resume: bool) -> None:
    """Save the configuration, fill the demo buffer and calibrate FLOAT; or continue from the last checkpoint."""
    if not resume:
        save_config(log.config, log.run)
    log.announce("demos")
    demos = session.demonstrations()
    if resume:
        extra = load_checkpoint(latest_checkpoint(log.run.checkpoints), session.algorithm)
        session.supervisor.load_state_dict(extra["supervisor"])
        log.load_state_dict(extra["log"])
        save_config(log.config, log.run)  # only now: options that cannot be resumed with must not stay in the run
        log.run.append_metrics({"kind": "resume", "env_steps": session.algorithm.num_timesteps})
        return
    session.algorithm.add_demonstrations(demos)
    if isinstance(session.supervisor, AgentSupervisor):
        log.announce("calibrate")
        session.supervisor.calibrate(demos)


@dataclass
class TrainingLog:
    """Counts, writes and announces what happens in a run; decides when it is over."""

    config: RunConfig
    run: RunDirectory
    session: Session
    progress: ProgressListener
    unaided: deque[bool] = field(default_factory=lambda: deque(maxlen=SUCCESS_WINDOW))
    episodes: int = 0
    triggered_episodes: int = 0
    train_s: float = 0.0
    """Wall-clock of training before this process, evaluations excluded, [s]."""
    evaluation_s: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Environment steps and success rate of the policy alone."""
    started: float = field(default_factory=time.monotonic)

    @property
    def wall_clock_s(self) -> float:
        """Training time so far, evaluations of the curve left out, [s]."""
        return self.train_s + time.monotonic() - self.started - self.evaluation_s

    def start_clock(self) -> None:
        """Begin to count training time."""
        self.started, self.evaluation_s = time.monotonic(), 0.0

    def announce(self, phase: Phase) -> None:
        """Tell the listener where the run stands."""
        algorithm, supervisor = self.session.algorithm, self.session.supervisor
        counts = supervisor.metrics()
        reading = supervisor.reading if isinstance(supervisor, AgentSupervisor) else None
        self.progress.update(
            Progress(
                env_steps=algorithm.num_timesteps,
                max_env_steps=self.config.max_env_steps,
                learner_steps=algorithm.n_updates,
                episodes=self.episodes,
                success_rate=float(np.mean(self.unaided)) if self.unaided else 0.0,
                float_index=None if reading is None else reading.index,
                float_threshold=None if reading is None else reading.threshold,
                triggers=int(counts.get("triggers", 0)),
                agent_calls=int(counts.get("agent_calls", 0)),
                memory_hits=int(counts.get("memory_hits", 0)),
                elapsed_s=self.wall_clock_s,
                phase=phase,
            )
        )

    def record(self, step: Step) -> None:
        """Add one control step to the recording."""
        session = self.session
        assert session.algorithm.loop is not None
        reading = session.supervisor.reading if isinstance(session.supervisor, AgentSupervisor) else None
        session.recorder.log_step(
            step.info["observation"],
            env_step=session.algorithm.num_timesteps,
            episode=self.episodes,
            drift=None if reading is None else Drift(reading.index, reading.threshold),
            active=session.algorithm.loop.active,
        )
        if step.outcome is not None:
            session.recorder.log_episode(step.outcome)

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        """Write the row of an episode."""
        supervisor = self.session.supervisor
        counts = supervisor.metrics()
        details = supervisor.last_episode if isinstance(supervisor, AgentSupervisor) else {}
        self.episodes += 1
        self.triggered_episodes += bool(details.get("triggered", False))
        if not outcome.intervention_ids:
            self.unaided.append(outcome.success)
        self.run.append_metrics(
            {
                "kind": "episode",
                "episode": outcome.episode,
                "env_steps": self.session.algorithm.num_timesteps,
                "learner_steps": self.session.algorithm.n_updates,
                "wall_clock_s": self.wall_clock_s,
                "robot_time_s": self.robot_time_s,
                "success": outcome.success,
                "terminated": outcome.terminated,
                "truncated": outcome.truncated,
                "steps": outcome.steps,
                "guided_steps": outcome.guided_steps,
                "pruned_steps": outcome.pruned_steps,
                "intervention_ids": list(outcome.intervention_ids),
                "agent_calls": int(counts.get("agent_calls", 0)),
                "memory_hits": int(counts.get("memory_hits", 0)),
                "agent_pause_s": counts.get("agent_pause_s", 0.0),
                **details,
            }
        )

    @property
    def robot_time_s(self) -> float:
        """What this would have taken on a robot at 10 Hz: control steps and agent pauses, [s]."""
        pause_s = self.session.supervisor.metrics().get("agent_pause_s", 0.0)
        return self.session.algorithm.num_timesteps / self.session.rate_hz + pause_s

    def evaluate(self, episodes: int, *, seed: int, kind: str) -> EvaluationResult:
        """Evaluate the policy alone (deterministic, no agent, no box) and write the row."""
        self.announce("evaluate")
        started = time.monotonic()
        result = evaluate(self.session.algorithm, self.session.eval_env, episodes=episodes, seed=seed)
        if kind == "eval":
            self.curve.append((self.session.algorithm.num_timesteps, result.success_rate))
        self.run.append_metrics(
            {
                "kind": kind,
                "env_steps": self.session.algorithm.num_timesteps,
                "learner_steps": self.session.algorithm.n_updates,
                "wall_clock_s": self.wall_clock_s - (time.monotonic() - started),
                "robot_time_s": self.robot_time_s,
                "success_rate": result.success_rate,
                "episodes": episodes,
                "mean_steps": result.mean_steps,
            }
        )
        self.evaluation_s += time.monotonic() - started
        return result

    @property
    def is_over(self) -> bool:
        """Converged (the last two points of the curve are perfect), or out of time."""
        converged = self.config.stop_when_solved and [rate for _, rate in self.curve[-2:]] == [1.0, 1.0]
        return converged or self.wall_clock_s > 60.0 * self.config.max_minutes

    def checkpoint(self) -> None:
        """Save everything that a resumed run needs."""
        extra = {"supervisor": self.session.supervisor.state_dict(), "log": self.state_dict()}
        save_checkpoint(self.run.checkpoints / "last", self.session.algorithm, extra)

    def state_dict(self) -> dict[str, Any]:
        """Return the counters of the run."""
        return {
            "unaided": list(self.unaided),
            "episodes": self.episodes,
            "triggered_episodes": self.triggered_episodes,
            "train_s": self.wall_clock_s,
            "curve": list(self.curve),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.unaided.extend(state["unaided"])
        self.episodes = state["episodes"]
        self.triggered_episodes = state["triggered_episodes"]
        self.train_s = state["train_s"]
        self.curve = [(int(steps), float(rate)) for steps, rate in state["curve"]]

    def summary(self, final: EvaluationResult | None) -> dict[str, Any]:
        """Return the headline numbers."""
        counts = self.session.supervisor.metrics()
        return {
            "task": self.config.task,
            "method": self.config.method,
            "seed": self.config.seed,
            "demos": self.config.demos,
            "success_rate": None if final is None else final.success_rate,
            "eval_episodes": 0 if final is None else final.episodes,
            "interval_95": None if final is None else list(final.interval_95),
            "env_steps": self.session.algorithm.num_timesteps,
            "learner_steps": self.session.algorithm.n_updates,
            "episodes": self.episodes,
            "wall_clock_s": self.wall_clock_s,
            "robot_time_s": self.robot_time_s,
            "agent_calls": int(counts.get("agent_calls", 0)),
            "agent_pause_s": counts.get("agent_pause_s", 0.0),
            "memory_hits": int(counts.get("memory_hits", 0)),
            "triggers_per_10_rollouts": 10.0 * self.triggered_episodes / max(self.episodes, 1),
            "steps_to_80": self._steps_to(0.8),
            "steps_to_100": self._steps_to(1.0),
            "counters": counts,
        }

    def _steps_to(self, rate: float) -> int | None:
        return next((steps for steps, reached in self.curve if reached >= rate), None)


class RunCallback(BaseCallback):
    """Connects a Stable-Baselines3 algorithm to the log of the run: episodes, evaluations, checkpoints, the end."""

    def __init__(self, log: TrainingLog) -> None:
        super().__init__()
        self._log = log

    def _on_training_start(self) -> None:
        self._log.start_clock()

    def _on_step(self) -> bool:
        """Take note of one control step; False ends the training."""
        log, config = self._log, self._log.config
        step: Step = self.locals["step"]
        log.record(step)
        if step.outcome is not None:
            log.finish_episode(step.outcome)
        if config.eval_every and self.num_timesteps % config.eval_every == 0:
            log.evaluate(CURVE_EPISODES, seed=CURVE_SEED, kind="eval")
        if config.checkpoint_every and self.num_timesteps % config.checkpoint_every == 0:
            log.checkpoint()
        log.announce("train")
        return not log.is_over
