"""What a training run counts, writes and announces, and when it is over."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from stable_baselines3.common.policies import BasePolicy

from agps_agent.run.build import BEST, Session
from agps_agent.run.config import RunConfig
from agps_agent.run.costs import costs_of_help
from agps_agent.run.diagnosis import Expected, Figures, diagnose
from agps_agent.run.directory import RunDirectory
from agps_agent.run.ending import EndedBy, allowed_failures, ending
from agps_agent.run.films import Filmer
from agps_agent.run.measured import Measured, expected_of
from agps_agent.run.progress import Phase, Progress, ProgressListener
from agps_agent.run.recording import Drift
from agps_agent.run.signals import saving
from agps_agent.supervisor import AgentSupervisor
from rl.algorithm import GuidedAlgorithm
from rl.checkpoint import load_policy, save_checkpoint
from rl.evaluation import CONFIRMATION_SEED, CURVE_SEED, EvaluationResult, Predictor, Watch, evaluate
from rl.loop import Step
from rl.pixels.algorithm import PixelAlgorithm
from rl.supervisor import Reading
from rl.types import EpisodeOutcome

SUCCESS_WINDOW = 20
"""Unaided training episodes over which the live success rate is taken."""


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
    best: float | None = None
    """Success of the best policy on the way, which is in the checkpoint `best`; None where the last one is kept."""
    final_policy_steps: int = 0
    """Environment steps after which the policy was learned that the final evaluation is of."""
    pretrain_success_rate: float | None = None
    """Success of the policy alone after stage 1; None without one."""
    reward_errors: Counter[str] = field(default_factory=Counter)
    """Episodes in which a learned reward was wrong: `false_positive`, `false_negative`."""
    was_true: bool = False
    """In this episode, the simulator has said success."""
    episode_return: float = 0.0
    """Sum of this episode's rewards."""
    evaluation_due: bool = False
    """The curve's next point is due, or was when the run was interrupted."""
    confirmation_due: bool = False
    """That point was perfect, and is not confirmed yet."""
    confirmation_starts: int = 0
    """Start states that confirmations have used."""
    confirmation: tuple[int, int] | None = None
    """Successes and episodes of the confirmation that the newest evaluation passed; None where it has not."""
    measured: Measured = field(default_factory=Measured)
    figures: Figures | None = None
    """What is diagnosed from, as of the last rollout or evaluation."""
    started: float = field(default_factory=time.monotonic)
    _expected: Expected = field(init=False)
    _evaluation: tuple[int, float] | None = None
    """Control steps and success of the policy that was evaluated last."""
    _acted: BasePolicy | None = None
    """Weights of the newest evaluation, where another thread goes on with others."""
    _confirmed_policy: BasePolicy | None = None
    """Weights that passed a confirmation while another thread went on with others."""

    def __post_init__(self) -> None:
        """Look up what the task's recipe lets expect."""
        self._expected = expected_of(self.config)

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
        reading = supervisor.reading
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
                human_interventions=int(counts.get("human_interventions", 0)),
                human_s=counts.get("human_s", 0.0),
                elapsed_s=self.wall_clock_s,
                phase=phase,
                detector="float" if reading is None else reading.name,
                pretrain_steps=self.pretrain_steps,
                max_pretrain_steps=self.max_pretrain_steps,
                figures=self.figures,
                diagnosis=self.diagnosis,
            )
        )

    def record(self, step: Step) -> None:
        """Add one control step to the recording."""
        session = self.session
        self.was_true |= bool(step.info.get("true_success", False))
        self.episode_return += step.transition.reward
        self.measured.see(step)
        assert session.algorithm.loop is not None
        now = {"env_step": session.algorithm.num_timesteps, "episode": self.episodes}
        reading, observation = session.supervisor.reading, step.info.get("observation")
        if observation is None:  # an environment that nobody can watch still shows its images
            seen = step.transition.next_observation
            session.recorder.log_images({name: seen[name] for name in session.env.cameras}, **now)
        else:
            session.recorder.log_step(
                observation,
                drift=_drift(reading),
                active=session.algorithm.loop.active,
                **now,
            )
        if step.outcome is not None:
            session.recorder.log_episode(step.outcome)

    def finish_episode(self, step: Step) -> None:
        """Write the row of the episode that ended with a step."""
        outcome = step.outcome
        assert outcome is not None
        details = {**self.session.supervisor.last_episode, **self._judged(outcome, step)}
        episode_return, self.episode_return = self.episode_return, 0.0
        details |= {key: step.info[key] for key in ("operator", "fault") if key in step.info}
        self.episodes += 1
        self.triggered_episodes += bool(details.get("triggered", False))
        if not outcome.intervention_ids:
            self.unaided.append(outcome.success)
        self.measured.finish(step, triggered=details.get("triggered"))
        self._take_figures()
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
                "return": episode_return,
                "guided_steps": outcome.guided_steps,
                "pruned_steps": outcome.pruned_steps,
                "contact_force_peak_N": self.measured.contact_force_peak_N,
                "intervention_ids": list(outcome.intervention_ids),
                "interventions": [asdict(end) for end in outcome.interventions],
                **self._help(),
                **details,
                **self._hardware(),
            }
        )

    def _judged(self, outcome: EpisodeOutcome, step: Step) -> dict[str, bool]:
        """Return what the simulator says of an episode that a learned reward ended; nothing without one."""
        was_true, self.was_true = self.was_true, False
        if "true_success" not in step.info:
            return {}
        true_success = bool(step.info["true_success"])
        self.reward_errors["false_positive"] += outcome.success and not true_success
        self.reward_errors["false_negative"] += was_true and not outcome.success
        return {"true_success": true_success, "was_true": was_true}

    def _help(self) -> dict[str, float]:
        return costs_of_help(self.session.supervisor.metrics(), self.session.price)

    def _hardware(self) -> dict[str, Any]:
        """Return what a real arm counted so far, under `robot`; nothing in simulation."""
        metrics = self.session.hardware_metrics()
        return {"robot": {name: round(value, 4) for name, value in metrics.items()}} if metrics else {}

    @property
    def pretrain_steps(self) -> int:
        """Updates of stage 1 so far; 0 for an algorithm without one."""
        return self.session.algorithm.pretrain_updates

    @property
    def max_pretrain_steps(self) -> int:
        """Updates on demonstrations before the policy acts.

        A warm-up has as many times more as the agent showed more, because the scene moves: what thirty demonstrations
        show takes longer to learn than what ten do. A first stage has enough for either.
        """
        supervisor, updates = self.session.supervisor, self.config.pretrain_steps
        if self.session.algorithm.pretrains or not isinstance(supervisor, AgentSupervisor):
            return updates
        return supervisor.places * updates

    @property
    def robot_time_s(self) -> float:
        """What this would have taken on a robot at 10 Hz: control steps and agent pauses, [s]."""
        pause_s = self.session.supervisor.metrics().get("agent_pause_s", 0.0)
        return self.session.algorithm.num_timesteps / self.session.rate_hz + pause_s

    def write_pretraining(self, updates: int, losses: Mapping[str, float]) -> None:
        """Write a row of stage 1."""
        self.run.append_metrics(
            {"kind": "pretrain", "env_steps": 0, "updates": updates, "wall_clock_s": self.wall_clock_s, **losses}
        )

    def look(self) -> None:
        """Take the curve's point that is due, and confirm one that is perfect; a solved run is over then.

        A run that is interrupted meanwhile does when it is resumed what was left.
        """
        config = self.config
        if self.evaluation_due:
            self.confirmation = None
            result = self.evaluate(config.curve_episodes, seed=CURVE_SEED, kind="eval")
            self.evaluation_due = False
            self.confirmation_due = config.stop_when_solved and result.success_rate == 1.0
            self._keep_best(result)
        if self.confirmation_due:
            self._confirm(config.solved_episodes)
            self.confirmation_due = False

    @property
    def is_look_due(self) -> bool:
        """Whether `look` has something to do."""
        return self.evaluation_due or self.confirmation_due

    def keep_confirmed(self) -> None:
        """Go back to the policy that was confirmed, where the learner's thread has changed it since."""
        if self._confirmed_policy is None:
            return
        self.session.algorithm.policy.load_state_dict(self._confirmed_policy.state_dict())
        if self.best is not None:
            self.checkpoint(BEST)

    def evaluate_final(self, episodes: int, *, seed: int) -> EvaluationResult:
        """Evaluate the policy that the run ends with: the last one, or the best one on the way."""
        policy: GuidedAlgorithm = self.session.algorithm
        if self.best is not None:
            policy = load_policy(self.run.checkpoints / BEST, type(policy))
        self.final_policy_steps = policy.num_timesteps
        filmer = Filmer(self.run.films, self.session.env.cameras, self.session.rate_hz)
        return self.evaluate(episodes, seed=seed, kind="final_eval", policy=policy, watch=filmer)

    def evaluate(
        self, episodes: int, *, seed: int, kind: str, policy: GuidedAlgorithm | None = None, watch: Watch | None = None
    ) -> EvaluationResult:
        """Evaluate the policy alone (no agent, no box) and write the row."""
        started = time.monotonic()
        algorithm = self.session.algorithm
        evaluated, acting = policy or algorithm, algorithm.published  # what a thread publishes meanwhile is another one
        result = self._run_alone(policy or acting or algorithm, episodes, seed=seed, watch=watch)
        self._evaluation = (evaluated.num_timesteps, result.success_rate)
        if kind != "final_eval":  # stage 1 is where the curve begins
            self.curve.append(self._evaluation)
        figures = self._take_figures()
        learned = {name: float(value) for name, value in self.session.algorithm.train_metrics.items()}
        more = {"figures": asdict(figures), "diagnosis": self.diagnosis, "learned": learned}
        self._write_evaluation(kind, result, started, more)
        self._tell_tensorboard(kind, result)
        self._acted = acting
        self.evaluation_s += time.monotonic() - started
        return result

    def _keep_best(self, result: EvaluationResult) -> None:
        """Keep the policy of a point of the curve if none was better; a run may go on from there, after that point.

        Stage 1 is evaluated on the final start states: it must not be chosen by them.
        """
        if self.config.final_policy == "best" and result.success_rate >= (self.best or 0.0):
            started, self.best = time.monotonic(), result.success_rate
            with self.session.algorithm.acting_by(self._acted):
                self.checkpoint(BEST)
            self.evaluation_s += time.monotonic() - started

    def _confirm(self, episodes: int) -> None:
        """Try the policy on start states that nothing has used yet; the run is solved if few enough fail."""
        started, allowed = time.monotonic(), allowed_failures(episodes)
        algorithm = self.session.algorithm
        acting = algorithm.published  # a thread does not change it meanwhile
        seed = CONFIRMATION_SEED + self.confirmation_starts
        result = self._run_alone(acting or algorithm, episodes, seed=seed, allowed_failures=allowed)
        self.confirmation_starts += episodes
        passed = result.episodes - result.success_count <= allowed
        if passed:
            self.confirmation, self._confirmed_policy = (result.success_count, result.episodes), acting
        self._write_evaluation("confirmation", result, started, {"passed": passed, "asked_episodes": episodes})
        self.evaluation_s += time.monotonic() - started

    def _run_alone(
        self,
        policy: Predictor,
        episodes: int,
        *,
        seed: int,
        allowed_failures: int | None = None,
        watch: Watch | None = None,
    ) -> EvaluationResult:
        """Let a policy act alone, while the arm of training is held."""
        self.session.hold()
        self.announce("evaluate")
        env = self.session.eval_env
        result = evaluate(
            policy,
            env,
            episodes,
            seed,
            acting=self.config.eval_acting,
            allowed_failures=allowed_failures,
            watch=watch,
        )
        self.session.hold()
        return result

    def _write_evaluation(self, kind: str, result: EvaluationResult, started: float, more: Mapping[str, Any]) -> None:
        self.run.append_metrics(
            {
                "kind": kind,
                "env_steps": self.session.algorithm.num_timesteps,
                "learner_steps": self.session.algorithm.n_updates,
                "wall_clock_s": self.wall_clock_s - (time.monotonic() - started),
                "robot_time_s": self.robot_time_s,
                "success_rate": result.success_rate,
                "episodes": result.episodes,
                "mean_steps": result.mean_steps,
                "mean_return": result.mean_return,
                "contact_force_peak_N": result.contact_force_peak_N,
                **more,
            }
        )

    def _tell_tensorboard(self, kind: str, result: EvaluationResult) -> None:
        """Put an evaluation, and what help and detectors came to, beside what the learner logs itself."""
        algorithm, reading = self.session.algorithm, self.session.supervisor.reading
        if not hasattr(algorithm, "_logger"):  # it has not begun to learn from rollouts
            return
        told = {"success_rate": result.success_rate, "mean_return": result.mean_return, "mean_steps": result.mean_steps}
        told |= self._help()
        told["triggers_per_10_rollouts"] = self._triggers_per_10
        if reading is not None and reading.index is not None:
            told[f"{reading.name}_index"] = reading.index
        for name, value in told.items():
            algorithm.logger.record(f"{kind}/{name}", value)
        algorithm.logger.dump(algorithm.num_timesteps)

    @property
    def _triggers_per_10(self) -> float:
        return 10.0 * self.triggered_episodes / max(self.episodes, 1)

    def _take_figures(self) -> Figures:
        """Note what the run shows now."""
        algorithm = self.session.algorithm
        self.figures = self.measured.figures(
            env_steps=algorithm.num_timesteps,
            config=self.config,
            learned=algorithm.train_metrics,
            evaluation=self._evaluation,
            unaided_success=float(np.mean(self.unaided)) if self.unaided else None,
            expected=self._expected,
            clip_target=_clip_target(algorithm, self.config),
        )
        return self.figures

    @property
    def diagnosis(self) -> str | None:
        """What is wrong and what to look at first; None where nothing is known to be."""
        return None if self.figures is None else diagnose(self.figures)

    @property
    def is_solved(self) -> bool:
        """Whether the newest evaluation was perfect and confirmed, in a run that shall end then."""
        return self.config.stop_when_solved and self.confirmation is not None

    @property
    def is_over(self) -> bool:
        """Solved, or out of time; when all steps are done the algorithm ends by itself."""
        return self.is_solved or self.wall_clock_s > 60.0 * self.config.max_minutes

    def ended_by(self, error: BaseException | None = None) -> EndedBy:
        """Return why the run is over, given what broke it off, if anything did."""
        if error is not None:
            return "interrupted" if isinstance(error, KeyboardInterrupt) else "fault"
        if self.is_solved:
            return "solved"
        if self.config.offline:
            return "updates" if self.pretrain_steps >= self.config.pretrain_steps else "time"
        return "steps" if self.session.algorithm.num_timesteps >= self.config.max_env_steps else "time"

    def _ending(self, error: BaseException | None) -> dict[str, str]:
        """Return why the run is over: in one word, and in a sentence that says how to go on."""
        ended_by = self.ended_by(error)
        sentence = ending(
            ended_by,
            self.config,
            self.run.path,
            env_steps=self.session.algorithm.num_timesteps,
            updates=self.pretrain_steps,
            confirmed="{} of {}".format(*(self.confirmation or (0, 0))),
            why=" ".join(str(error).split()),
        )
        return {"ended_by": ended_by, "ending": sentence}

    def checkpoint(self, name: str = "last") -> None:
        """Save everything that a resumed run needs; a real arm is held meanwhile, and Ctrl-C comes after it."""
        self.session.hold()
        with saving():
            extra = {"supervisor": self.session.supervisor.state_dict(), "log": self.state_dict()}
            about = {"task": self.config.task_name}
            save_checkpoint(self.run.checkpoints / name, self.session.algorithm, extra, about)

    def state_dict(self) -> dict[str, Any]:
        """Return the counters of the run."""
        return {
            "unaided": list(self.unaided),
            "episodes": self.episodes,
            "triggered_episodes": self.triggered_episodes,
            "train_s": self.wall_clock_s,
            "curve": list(self.curve),
            "best": self.best,
            "pretrain_success_rate": self.pretrain_success_rate,
            "reward_errors": dict(self.reward_errors),
            "evaluation_due": self.evaluation_due,
            "confirmation_due": self.confirmation_due,
            "confirmation_starts": self.confirmation_starts,
            "confirmation": self.confirmation,
            "measured": self.measured.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.unaided.extend(state["unaided"])
        self.episodes = state["episodes"]
        self.triggered_episodes = state["triggered_episodes"]
        self.train_s = state["train_s"]
        self.curve = [(int(steps), float(rate)) for steps, rate in state["curve"]]
        self.best = state["best"]
        self.pretrain_success_rate = state["pretrain_success_rate"]
        self.reward_errors = Counter(state["reward_errors"])
        self._evaluation = self.curve[-1] if self.curve else None
        if "measured" not in state:  # of an earlier version, which knew no confirmation
            return
        self.evaluation_due, self.confirmation_due = state["evaluation_due"], state["confirmation_due"]
        self.confirmation_starts = state["confirmation_starts"]
        self.confirmation = None if state["confirmation"] is None else tuple(state["confirmation"])
        self.measured.load_state_dict(state["measured"])

    def summary(self, final: EvaluationResult | None, error: BaseException | None = None) -> dict[str, Any]:
        """Return the headline numbers, given what broke the run off, if anything did."""
        counts = self.session.supervisor.metrics()
        return {
            "task": self.config.task_name,
            "method": self.config.method,
            "seed": self.config.seed,
            "demos": self.config.demos,
            "model": self.session.model,
            "price": None if self.session.price is None else self.session.price.model_dump(),
            **self._ending(error),
            "diagnosis": self.diagnosis,
            "success_rate": None if final is None else final.success_rate,
            "eval_episodes": 0 if final is None else final.episodes,
            "interval_95": None if final is None else list(final.interval_95),
            "mean_return": None if final is None else final.mean_return,
            "final_policy_steps": self.final_policy_steps,
            "env_steps": self.session.algorithm.num_timesteps,
            "learner_steps": self.session.algorithm.n_updates,
            "episodes": self.episodes,
            "wall_clock_s": self.wall_clock_s,
            "robot_time_s": self.robot_time_s,
            "pretrain_steps": self.pretrain_steps,
            "pretrain_success_rate": self.pretrain_success_rate,
            **self._help(),
            "triggers_per_10_rollouts": self._triggers_per_10,
            "steps_to_80": self._steps_to(0.8),
            "steps_to_100": self._steps_to(1.0),
            **({"reward_errors": dict(self.reward_errors)} if self.config.is_judged else {}),
            "counters": counts,
            **self._hardware(),
        }

    def _steps_to(self, rate: float) -> int | None:
        return next((steps for steps, reached in self.curve if reached >= rate), None)


def _clip_target(algorithm: GuidedAlgorithm, config: RunConfig) -> tuple[float, float] | None:
    """Return to what a learner clamps its targets: its settings say it, until rewards beyond switch that off."""
    if isinstance(algorithm, PixelAlgorithm):
        return algorithm.clip_target
    return getattr(config.algorithm_options, "clip_target", None)


def _drift(reading: Reading | None) -> Drift | None:
    """Return what a detector measures, for the recording; None where none does."""
    if reading is None or reading.index is None or reading.threshold is None:
        return None
    return Drift(reading.index, reading.threshold)
