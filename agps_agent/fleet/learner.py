"""The learner of a fleet: takes whole episodes once, updates, hands out weights, evaluates, saves. Knows no Ray."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from stable_baselines3.common.policies import BasePolicy

from agps_agent.fleet.link import LinkDown, News, RobotReport, Stage, StreamedStep, Weights
from agps_agent.fleet.log import FleetLog
from agps_agent.fleet.message import EpisodeMessage, Key, from_bytes
from agps_agent.fleet.spool import PATIENCE_S, Spool
from agps_agent.run.build import Session
from agps_agent.run.directory import RunDirectory
from agps_agent.run.training import NOTHING_SHOWN, prepare, pretrain, write_results
from rl.algorithm import GuidedAlgorithm
from rl.episodes import Episode
from rl.errors import AgpsError
from rl.evaluation import FINAL_SEED, EvaluationResult
from rl.learner import LockstepLearner, ThreadedLearner
from rl.teacher import Lesson
from rl.types import EpisodeOutcome, Observation

INBOX = "inbox"
TICK_S = 0.05
"""Pause of the learner's own loop, which writes rows and looks what is due, [s]."""
ROWS_EVERY_S = 30.0
"""Time between rows of the robots, [s]."""
WAIT_FOR_SHOWS_S = 120.0
"""Time after which nobody waits any more for what a silent robot would show, [s]."""
LOG_EVERY = 4
"""Episodes between the learner's numbers in TensorBoard, as in a run of one robot."""

_log = logging.getLogger(__name__)


class PublishingLearner(ThreadedLearner):
    """Updates in a thread, and keeps what it published last with its version."""

    def __init__(self, algorithm: GuidedAlgorithm) -> None:
        super().__init__(algorithm)
        self._of = algorithm
        self.newest: tuple[int, int, BasePolicy] | None = None
        """Updates, the fleet's control steps, and the policy then; nobody changes it any more."""

    def _publish(self) -> None:
        super()._publish()
        assert self._of.published is not None
        self.newest = (self._of.n_updates, self._of.num_timesteps, self._of.published)


class Told:
    """A teacher on the learner's side: says what the robot's teacher said."""

    lesson: Lesson | None = None

    def teach(self, rollout: Sequence[Observation], outcome: EpisodeOutcome) -> Lesson | None:
        """Return what was said of the episode that is streamed."""
        return self.lesson


class FleetLearner:
    """One learner of many robots. `deliver`, `news` and `take_steps` come from any thread, `run` is its own."""

    def __init__(self, session: Session, log: FleetLog, *, evaluates: bool) -> None:
        """Take over a session; `prepare` fills it.

        Args:
            session: Of the run, with a simulator to evaluate in.
            log: Of the run.
            evaluates: Whether the policy is evaluated in that simulator: all robots are simulated.
        """
        self._session, self._log, self._evaluates = session, log, evaluates
        self._algorithm = session.algorithm
        self._inbox = Spool(log.run.path / "fleet" / INBOX, patience_s=PATIENCE_S)
        session.opened.callback(self._inbox.close)
        self._lock = threading.RLock()
        """Held while an episode is taken, and while a checkpoint says which were."""
        self._stage: Stage = "showing"
        self._writing = threading.RLock()
        """Held while rows are written: in lockstep two threads do."""
        self._rows: deque[EpisodeMessage] = deque()
        self._disk_error: AgpsError | None = None
        """Why an episode could not be kept; the run ends by it."""
        self._is_lockstep = log.config.learner == "lockstep"
        if not self._is_lockstep:  # there the only robot waits while its learner evaluates and saves
            log.at_one_moment = self._at_one_moment
        self._lockstep = LockstepLearner(self._algorithm)
        self._threaded = PublishingLearner(self._algorithm)
        self._algorithm.learner = self._lockstep if self._is_lockstep else self._threaded
        self._told = Told()
        if self._is_lockstep:
            self._algorithm.teacher = self._told
        self._streamed: Key | None = None
        """Episode that has been streamed from its first step on."""
        self._streamed_whole: Key | None = None
        """Newest episode that was streamed to its end: it is learned from already when it is delivered."""
        self._cached: Weights | None = None
        self._demos: Sequence[Episode] = ()
        self._evaluated = self._saved = 0
        """Control steps at the last evaluation and checkpoint that were due."""
        self._rows_at = time.monotonic()
        self._look_wanted, self._look_done = threading.Event(), threading.Event()

    # --- for robots -----------------------------------------------------------------------------------------

    def demonstrations(self) -> Sequence[Episode]:
        """Return the run's demonstrations."""
        return self._demos

    def deliver(self, content: bytes) -> None:
        """Take an episode, once; on return it is on disk, and is learned from.

        Raises:
            ConfigError: If it does not fit the run.
            LinkDown: If the run is over, or its steps are made, or the disk is full: the robot keeps it.
        """
        message = from_bytes(content)
        with self._lock:
            if message.key in self._log.fleet.ledger and message.key != self._streamed_whole:
                return
            if self._stage == "over" or (self._has_all_steps and message.key != self._streamed_whole):
                raise LinkDown("The run is over.")
            self._algorithm.store.check(message.episode, where=f"an episode of robot {message.key.robot}")
            try:
                self._inbox.keep(message.key, content)
            except AgpsError as error:  # the learner's trouble, and no fault of this episode
                self._disk_error = AgpsError(f"{error} Make room, and resume: its robot keeps the episode.")
                raise LinkDown(str(error)) from error
            self._take(message)

    def news(self, report: RobotReport) -> News:
        """Hear what a robot says of itself, and tell it what is new."""
        algorithm = self._algorithm
        self._log.fleet.hear(report, updates=algorithm.n_updates)
        weights = self._weights()
        if weights is not None and weights.version == report.weights_version:
            weights = None
        return self._said(weights)

    def take_steps(self, steps: Sequence[StreamedStep]) -> News:
        """Learn from control steps of the only robot before it makes the next: the learner of a run of one robot."""
        algorithm = self._algorithm
        with self._lock:
            if self._stage != "online" or algorithm.num_timesteps >= self._log.config.max_env_steps:
                return self._said(None)
            for streamed in steps:
                self._take_step(streamed)
                self._look_if_due()
                if self._log.is_solved:
                    self._stage = "over"
                    return self._said(self._weights())
            self._algorithm.call(self._lockstep)
            if self._log.is_over:
                self._stage = "over"
            return self._said(self._weights())

    def _take_step(self, streamed: StreamedStep) -> None:
        """Learn from one control step, and enter its episode if that is over."""
        algorithm, step = self._algorithm, streamed.step
        if step.begins_episode:
            self._streamed = streamed.key
        if self._streamed != streamed.key:  # its beginning was for a process that is gone: it will be sent whole
            return
        algorithm.num_timesteps += 1
        algorithm.steps_due += 1
        self._told.lesson = streamed.lesson
        algorithm.remember(step)
        if step.outcome is not None:
            algorithm.note_episode(success=step.outcome.success, helped=bool(step.outcome.intervention_ids))
            self._log.fleet.ledger.enter(streamed.key)
            self._streamed_whole = streamed.key
            self._save_if_due()  # only now: between two episodes a checkpoint holds none in part

    def _said(self, weights: Weights | None) -> News:
        algorithm = self._algorithm
        return News(
            stage="over" if self._has_all_steps else self._stage,
            version=algorithm.n_updates,
            env_steps=algorithm.num_timesteps,
            owed=self._threaded.owed,
            weights=weights,
        )

    @property
    def _has_all_steps(self) -> bool:
        """Whether the run's control steps are made: during an evaluation the robots would go on else."""
        return self._algorithm.num_timesteps >= self._log.config.max_env_steps

    def _weights(self) -> Weights | None:
        """Return the newest weights for acting; None before the policy has begun to act."""
        if self._stage not in ("online", "over"):
            return None
        algorithm = self._algorithm
        newest = (
            (algorithm.n_updates, algorithm.num_timesteps, algorithm.policy)
            if self._is_lockstep
            else self._threaded.newest
        )
        if newest is None:
            return None
        version, env_steps, policy = newest
        if self._cached is None or self._cached.version != version:
            arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in policy.state_dict().items()}
            self._cached = Weights(version=version, env_steps=env_steps, arrays=arrays)
        return self._cached

    def _take(self, message: EpisodeMessage) -> None:
        """Learn from an episode that is on disk, unless it was streamed; and enter it."""
        fleet, outcome = self._log.fleet, message.outcome
        if message.key == self._streamed_whole:
            self._streamed_whole = None
        else:
            helped = bool(outcome.intervention_ids)
            self._algorithm.take_episode(message.episode, success=outcome.success, helped=helped)
        fleet.ledger.enter(message.key)
        fleet.taken[message.key.robot] += message.steps
        self._rows.append(message)

    # --- its own run ----------------------------------------------------------------------------------------

    def prepare(self, *, resume: bool) -> None:
        """Fill the memory with demonstrations, or go on from the last checkpoint and what came after it."""
        session, log = self._session, self._log
        prepare(session, log, resume=resume)
        self._demos = session.demonstrations()
        algorithm = self._algorithm
        # Makes the logger, and what it says of time: the loop of Stable-Baselines3 runs on the robots.
        algorithm._setup_learn(log.config.max_env_steps, None, False, type(algorithm).__name__)
        if session.mirror is not None:
            algorithm.logger.output_formats.append(session.mirror)
        self._evaluated = self._saved = algorithm.num_timesteps
        self._stage = "online" if algorithm.is_pretrained else "showing"

    def run(self) -> BaseException | None:
        """Learn until the run is over; return what broke it off, if anything did."""
        log, algorithm = self._log, self._algorithm
        log.start_clock()
        try:
            self._take_inbox()
            if not algorithm.is_pretrained:
                self._pretrain()
            if not log.is_over:
                self._learn()
        finally:
            self._stage = "over"
        return KeyboardInterrupt() if log.is_told_to_end else None

    def end(self) -> None:
        """Let `run` return soon, as after Ctrl-C; from any thread."""
        self._log.is_told_to_end = True

    def finish(self, error: BaseException | None, report: Callable[[RunDirectory], object]) -> Mapping[str, Any]:
        """Save, evaluate what the run ends with, write summary and report, and return the summary."""
        log = self._log
        final: EvaluationResult | None = None
        self._checkpoint()
        if error is None and self._evaluates:
            final = log.evaluate_final(log.config.eval_episodes, seed=FINAL_SEED)
        log.write_robots()
        return write_results(self._session, log, final, error, report)

    def _take_inbox(self) -> None:
        """Take what was acknowledged after the last checkpoint; its updates are owed by the learner that is to come."""
        algorithm, steps = self._algorithm, self._algorithm.num_timesteps
        with self._lock:
            for key in self._inbox.waiting():
                if key in self._log.fleet.ledger:
                    continue
                try:
                    message = from_bytes(self._inbox.read(key))
                except AgpsError as error:  # a disk that lost it must not lose the run too
                    _log.error("%s: %s", self._inbox.folder / key.file, error)
                    continue
                self._take(message)
        if algorithm.is_pretrained:
            algorithm.updates_owed += (algorithm.num_timesteps - steps) * algorithm.updates_per_step

    def _pretrain(self) -> None:
        """Wait until the agents have shown enough, and learn from demonstrations alone."""
        log, algorithm, config = self._log, self._algorithm, self._log.config
        while config.agent_demos > 0 and not (self._have_shown() or log.is_over):
            self._raise_disk_error()
            self._write_rows()
            log.announce("demonstrate")
            time.sleep(TICK_S)
        self._stage = "pretraining"
        with self._at_one_moment():
            if config.agent_demos > 0 and len(algorithm.demo) == 0:
                _log.warning(NOTHING_SHOWN)
            elif config.pretrain_steps > 0 and len(algorithm.demo) > 0:
                pretrain(algorithm, log)

    def _have_shown(self) -> bool:
        """Return whether there is nobody left to wait for."""
        fleet = self._log.fleet
        if self._has_all_steps:
            return True
        # What a robot said before the run was resumed does not count: it had been told to end.
        done = [name in fleet.heard_at and not fleet.reports[name].is_showing for name in fleet.robots]
        if all(done):
            return True
        last = max(fleet.heard_at.values(), default=None)
        waited = last is not None and all(
            is_done or time.monotonic() - fleet.heard_at.get(name, self._rows_at) > WAIT_FOR_SHOWS_S
            for name, is_done in zip(fleet.robots, done, strict=True)
        )
        return waited and any(done)

    def _learn(self) -> None:
        log, algorithm = self._log, self._algorithm
        algorithm.stage = "online"
        learner = algorithm.learner
        learner.start()
        self._stage = "online"
        try:
            while not log.is_over:
                self._raise_disk_error()
                if self._is_lockstep:
                    self._write_rows()
                else:
                    learner.advance()
                    self._tend()
                log.announce("train")
                if self._look_wanted.wait(TICK_S):
                    self._look_wanted.clear()
                    self._look()
                    self._look_done.set()
        finally:
            self._stage = "over"
            learner.stop()
        log.keep_confirmed()
        algorithm.check_weights()

    def _tend(self) -> None:
        """Write rows; evaluate and save when it is due."""
        self._write_rows()
        self._look_if_due()
        self._save_if_due()

    def _save_if_due(self) -> None:
        every, steps = self._log.config.checkpoint_every, self._algorithm.num_timesteps
        if every and steps // every > self._saved // every:
            self._saved = steps
            self._checkpoint()

    def _look_if_due(self) -> None:
        log, every = self._log, self._log.config.eval_every
        if not self._evaluates:
            return
        steps = self._progress
        log.evaluation_due |= bool(every and steps // every > self._evaluated // every)
        if not log.is_look_due:
            return
        self._evaluated = steps
        if not self._is_lockstep:
            self._look()
            return
        self._look_done.clear()
        self._look_wanted.set()  # in the thread that made the simulator: its pictures are drawn in no other one
        while not self._look_done.wait(TICK_S) and self._stage == "online":
            pass

    @property
    def _progress(self) -> int:
        """Control steps by which evaluations are spaced.

        Those whose updates are made, as a policy that has hardly changed is not evaluated again; but each robot's own
        at least, as updates that lag behind many robots teach more.
        """
        algorithm, robots = self._algorithm, len(self._log.fleet.robots)
        per_step = algorithm.updates_per_step
        owed = 0.0 if self._is_lockstep or per_step <= 0 else self._threaded.owed / per_step
        return max(algorithm.num_timesteps - int(owed), algorithm.num_timesteps // robots)

    def _look(self) -> None:
        self._log.look()
        self._log.write_robots()

    def _write_rows(self) -> None:
        """Write the rows of the episodes that were taken since the last call, and now and then those of the robots."""
        log = self._log
        with self._writing:
            while self._rows:
                log.write_episode(self._rows.popleft())
                if log.episodes % LOG_EVERY == 0:
                    self._algorithm.dump_logs()
            if time.monotonic() - self._rows_at >= ROWS_EVERY_S:
                self._rows_at = time.monotonic()
                log.write_robots()

    @contextmanager
    def _at_one_moment(self) -> Iterator[None]:
        """Let no episode be taken inside, and those that were have their rows: else one would count twice, or never."""
        with self._lock:
            self._write_rows()
            yield

    def _raise_disk_error(self) -> None:
        """Raise why an episode could not be kept, if one could not."""
        if self._disk_error is not None:
            raise self._disk_error

    def _checkpoint(self) -> None:
        """Save, with the ledger; what a checkpoint holds need not wait in the inbox."""
        with self._at_one_moment():
            self._log.checkpoint()
            for key in self._inbox.waiting():
                if key in self._log.fleet.ledger:
                    self._inbox.let_go(key)
