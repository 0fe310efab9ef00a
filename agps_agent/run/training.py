"""One training run from demonstrations to report: what `agps train` does, in order."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from stable_baselines3.common.callbacks import BaseCallback

from agps_agent.run.build import Session, build_session
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import load_config, save_config
from agps_agent.run.directory import RunDirectory, kept_at
from agps_agent.run.log import TrainingLog
from agps_agent.run.progress import ProgressListener
from agps_agent.run.signals import BrokenOff, saving, terminated_like_ctrl_c
from agps_agent.supervisor import AgentSupervisor
from rl.algorithm import GuidedAlgorithm
from rl.checkpoint import latest_checkpoint, load_checkpoint
from rl.errors import ConfigError
from rl.evaluation import FINAL_SEED, EvaluationResult
from rl.learner import ThreadedLearner
from rl.loop import RolloutLoop, Step

T = TypeVar("T")
_log = logging.getLogger(__name__)

PRETRAIN_LOG_EVERY = 100
"""Updates of stage 1 between rows of its losses."""
NOTHING_SHOWN = (
    "None of the agent's demonstrations succeeded, so the policy acts without having learned from any. See what the "
    "agent points at with `agps ask`, or record some by hand with `agps demos record`."
)
PRETRAINED = "pretrained"
"""Checkpoint at the end of stage 1."""


def train(
    config: RunConfig,
    run: RunDirectory,
    progress: ProgressListener,
    *,
    resume: bool = False,
    report: Callable[[RunDirectory], object] = lambda run: None,
    began: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Train, evaluate the policy alone, write the report, and return the summary.

    Once the training has begun, Ctrl-C saves a checkpoint and the report of what there is, then raises
    KeyboardInterrupt again; who does not wait for that raises BrokenOff (`agps_agent.run.signals`). Before
    that there is nothing to save, and a checkpoint to resume from must stay as it is. On a robot whatever ends the
    training is treated so, and the arm is stopped first.

    Args:
        config: The run's settings.
        run: Its directory.
        progress: Hears how it goes.
        resume: Go on from the last checkpoint.
        report: Writes the run's page, when everything else is in its directory.
        began: Called once everything is open: nothing was refused.
    """
    with terminated_like_ctrl_c(), build_session(config, run) as session:
        began()
        log = TrainingLog(config, run, session, progress)
        prepare(session, log, resume=resume)
        log.start_clock()
        _, error = _attempt(session, partial(_learn, session, log, resume=resume))
        # Ctrl-C while this is saved comes after it: it ends the run as one in the training does.
        _, unsaved = _attempt(session, log.checkpoint)
        error, final = error or unsaved, None
        if error is None:
            final, error = _attempt(session, partial(log.evaluate_final, config.eval_episodes, seed=FINAL_SEED))
        session.halt()
        with saving():
            summary = write_results(session, log, final, error, report)
        if error is not None:
            if summary["ended_by"] == "fault":  # whoever pressed Ctrl-C is told by who hears of it
                _log.error("%s", summary["ending"])
            raise error
        session.place.finish(config)
        return summary


def write_results(
    session: Session,
    log: TrainingLog,
    final: EvaluationResult | None,
    error: BaseException | None,
    report: Callable[[RunDirectory], object],
) -> dict[str, Any]:
    """Write the summary, the recording and the report of what there is, and return the summary."""
    if final is not None and log.config.offline:
        log.pretrain_success_rate = final.success_rate
    summary = log.summary(final, error)
    log.run.write_summary(summary)
    if session.mirror is not None:
        session.mirror.note(summary)
    log.announce("report")
    session.recorder.close()
    report(log.run)
    return summary


def _attempt(session: Session, part: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Return what a part of the training gave, or what ended it; a real arm is stopped then.

    In simulation only Ctrl-C ends a part: any other error is one of ours, and is raised.
    """
    try:
        return part(), None
    except BrokenOff:
        session.halt()
        raise
    except KeyboardInterrupt as interruption:
        session.halt()
        return None, interruption
    except Exception as error:
        session.halt()
        session.place.endure(error)
        return None, error


def _learn(session: Session, log: TrainingLog, *, resume: bool) -> None:
    """Pre-train, if the algorithm does, then learn from rollouts."""
    algorithm, config = session.algorithm, log.config
    if not algorithm.is_pretrained:  # else a resumed run has left it behind
        _demonstrate(session, log, resume=resume)
        has_spent_all = algorithm.num_timesteps >= config.max_env_steps
        if config.agent_demos > 0 and len(algorithm.demo) == 0 and (has_spent_all or not log.is_over):
            _log.warning(NOTHING_SHOWN)
        if has_spent_all:  # a resumed run goes on showing, or with what was shown
            return
        if config.pretrain_steps > 0 and len(algorithm.demo) > 0:
            pretrain(algorithm, log)
        resume |= algorithm.num_timesteps > 0
    if config.offline:
        return
    if not session.shares_env:
        log.look()  # a run that was interrupted in an evaluation does it now, with the policy that it was due for
    if log.is_over:
        return
    algorithm.learn(
        total_timesteps=config.max_env_steps - algorithm.num_timesteps,
        callback=RunCallback(log),
        reset_num_timesteps=not resume,
    )
    log.keep_confirmed()


def prepare(session: Session, log: TrainingLog, *, resume: bool) -> None:
    """Save the configuration, fill the demo buffer and calibrate FLOAT; or continue from the last checkpoint."""
    if not resume:
        save_config(log.config, log.run, model=session.model)
    if resume or log.config.demos > 0:
        log.announce("demos")
    demos = session.demonstrations()
    session.hold()
    if resume:
        _load(latest_checkpoint(log.run.checkpoints), session, log)
        _check_budget(session, log)
        if isinstance(session.supervisor, AgentSupervisor):
            log.run.forget_questions(int(session.supervisor.metrics().get("questions", 0)))
        save_config(
            log.config, log.run, model=session.model
        )  # only now: options that cannot be resumed with must not stay in the run
        log.run.append_metrics({"kind": "resume", "env_steps": session.algorithm.num_timesteps})
        return
    session.algorithm.add_demonstrations(demos)
    if demos and log.config.plan.helper == "agent":  # for nobody else it takes any time
        log.announce("calibrate")
    session.supervisor.calibrate(demos)


def _check_budget(session: Session, log: TrainingLog) -> None:
    """Refuse a budget given anew that is less than what is done: the run would end at once, with that in its name."""
    done, budget = session.algorithm.num_timesteps, log.config.max_env_steps
    if budget < done and budget != load_config(log.run).max_env_steps:
        raise ConfigError(f"--max-env-steps is {budget:,}, and {done:,} control steps are made already; ask for more.")


def _load(checkpoint: Path, session: Session, log: TrainingLog) -> None:
    """Bring algorithm, supervisor and log to where they were saved.

    Raises:
        ConfigError: If the checkpoint is damaged, of another version or another configuration.
    """
    extra = load_checkpoint(checkpoint, session.algorithm)
    try:
        session.supervisor.load_state_dict(extra["supervisor"])
        log.load_state_dict(extra["log"])
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"Checkpoint {checkpoint} is damaged, or of another version ({error!r}); name another --run-dir."
        ) from error


def _demonstrate(session: Session, log: TrainingLog, *, resume: bool) -> None:
    """Let the agent show how it is done, before anything is learned; what succeeds becomes demonstrations."""
    supervisor, algorithm, config = session.supervisor, session.algorithm, log.config
    if config.agent_demos == 0 or not isinstance(supervisor, AgentSupervisor):
        return
    supervisor.demonstrate(config.agent_demos)
    if not supervisor.is_demonstrating:
        return
    log.announce("demonstrate")
    algorithm.collect(
        config.max_env_steps - algorithm.num_timesteps,
        RunCallback(log, until=lambda: not supervisor.is_demonstrating),
        reset_num_timesteps=not resume,
        noise=config.demo_noise,
    )


def pretrain(algorithm: GuidedAlgorithm, log: TrainingLog) -> None:
    """Learn from the demonstrations alone, keep a checkpoint of that, and see how good the policy is before stage 2."""
    config = log.config

    def go_on(updates: int, losses: Mapping[str, float]) -> bool:
        log.announce("pretrain")
        if updates % PRETRAIN_LOG_EVERY == 0:
            log.write_pretraining(updates, losses)
        if config.checkpoint_every and updates % config.checkpoint_every == 0:
            log.checkpoint()
        return not log.is_over

    log.announce("pretrain")
    algorithm.pretrain(log.max_pretrain_steps, go_on)
    log.checkpoint(PRETRAINED)
    # In a run that is nothing else the final evaluation says it; one that is out of time goes on with stage 1 later.
    if algorithm.pretrains and not config.offline and not log.is_over:
        result = log.evaluate(config.eval_episodes, seed=FINAL_SEED, kind="pretrain_eval")
        log.pretrain_success_rate = result.success_rate


class RunCallback(BaseCallback):
    """Connects a Stable-Baselines3 algorithm to the log of the run: episodes, evaluations, checkpoints, the end."""

    def __init__(self, log: TrainingLog, *, until: Callable[[], bool] | None = None) -> None:
        """Connect.

        Args:
            log: Of the run.
            until: Ends the training after an episode, where it says so: the agent has shown enough, and nothing is
                learned yet that could be evaluated. None: the budget ends it.
        """
        super().__init__()
        self._log = log
        self._until = until

    def _on_training_start(self) -> None:
        """Send the learner's numbers to whoever else wants them."""
        mirror = self._log.session.mirror
        if mirror is not None and self._until is None:  # while the agent shows, nothing is logged
            self.logger.output_formats.append(mirror)

    def _on_step(self) -> bool:
        """Take note of one control step; False ends the training."""
        log, config = self._log, self._log.config
        step: Step = self.locals["step"]
        log.record(step)
        if step.outcome is not None:
            log.finish_episode(step)
            self._await_updates()
        if self._until is None:
            log.evaluation_due |= bool(config.eval_every and self.num_timesteps % config.eval_every == 0)
            if log.is_look_due and self._may_evaluate(step):
                log.look()
                self._begin_again()
        if config.checkpoint_every and self.num_timesteps % config.checkpoint_every == 0:
            log.checkpoint()
        if self.num_timesteps in config.keep_at:
            log.checkpoint(kept_at(self.num_timesteps))
        log.announce("train" if self._until is None else "demonstrate")
        has_shown = self._until is not None and step.outcome is not None and self._until()
        return not (log.is_over or has_shown)

    def _await_updates(self) -> None:
        """Hold a robot between two rollouts while the learner beside it is behind, if it is to.

        The next rollout shows more if the last ones have been learned from, and a robot's steps are what costs.
        """
        log, learner = self._log, self._log.session.algorithm.learner
        if log.config.holds_when_behind and isinstance(learner, ThreadedLearner) and learner.is_behind:
            log.session.hold()
            learner.catch_up(until=self._is_out_of_time)

    def _is_out_of_time(self) -> bool:
        """Show that the run waits, and return whether it has to end."""
        self._log.announce("catch_up")
        return self._log.is_over

    def _may_evaluate(self, step: Step) -> bool:
        """Return whether the environment is free: the only one, a robot's, is between two episodes."""
        return not self._log.session.shares_env or step.outcome is not None

    def _begin_again(self) -> None:
        """Begin the next episode anew where the evaluation has used its environment."""
        loop = self._log.session.algorithm.loop
        if self._log.session.shares_env and isinstance(loop, RolloutLoop):
            loop.restart()
