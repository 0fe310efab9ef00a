"""One robot of a fleet: the control loop, whole. Clock, guard and detectors are in this process."""

import io
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from agps_agent.fleet.link import LearnerLink, LinkDown, News, RobotReport, StreamedStep
from agps_agent.fleet.message import EpisodeMessage, Key, to_bytes
from agps_agent.fleet.robot_metrics import RobotMetrics
from agps_agent.fleet.spool import PATIENCE_S, Spool
from agps_agent.fleet.uploader import EpisodeUploader
from agps_agent.fleet.weights import ASK_EVERY_S, LockstepWeights, NewestWeights
from agps_agent.run.adviser import Adviser
from agps_agent.run.build import build_agent, build_algorithm, build_supervisor, rewarded
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.place import place_of
from agps_agent.supervisor import AgentSupervisor
from agps_agent.surroundings import JUDGED_AFTER
from rl.algorithm import GuidedAlgorithm
from rl.changes import changed
from rl.checkpoint import DAMAGE, seed_resumed_starts
from rl.errors import AgpsError, ConfigError
from rl.files import write_atomically
from rl.learner import CAUGHT_UP_STEPS
from rl.loop import Step
from rl.process import prepare_process
from rl.supervisor import Supervisor
from rl.teacher import Lesson, Teacher
from rl.types import EpisodeOutcome, Observation

FOR_EVER = 10**9
"""Control steps of a robot, which acts until it is told that the run is over."""
OWN_CAPACITY, OWN_EPISODES = 2_000, 8
"""Observations that a robot keeps in memory at least, and longest episodes: it needs the running one."""
SAVE_EVERY_S = 5.0
"""Least time between two saves of what the robot's next process goes on from, [s]."""
FIRST_S = 60.0
"""Longest wait for the first robot's first demonstration, [s]."""
FLUSH_S = 10.0
"""Time for the last episodes to be acknowledged at the end of a run, [s]."""
STATE, SPOOL = "state.pt", "spool"
TOLD = ("operator", "fault", "true_success", "is_success")
"""What a row of the run says of an episode's last step."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a robot is in its fleet."""

    name: str
    """The robot's."""
    folder: Path
    """On its own disk: episodes that are not acknowledged, and what its next process goes on from."""
    number: int
    """Of the robot, counting from 0."""
    fleet_size: int
    """Robots in the fleet."""

    def shows(self, demos: int) -> int:
        """Return how many of the agent's demonstrations this robot makes.

        Whether the scene moves is told after `JUDGED_AFTER` of them, so that few robots make several.
        """
        among = max(1, min(self.fleet_size, demos // JUDGED_AFTER))
        return 0 if self.number >= among else demos // among + (self.number < demos % among)


def own_config(config: RunConfig, *, fleet_size: int, horizon: int) -> RunConfig:
    """Return a robot's configuration as its parts are built from it: random steps are shared, its memory is small."""
    options = config.algorithm_options
    own = {
        "buffer_capacity": min(options.buffer_capacity, max(OWN_CAPACITY, OWN_EPISODES * (horizon + 1))),
        "random_steps": -(-options.random_steps // fleet_size),
    }
    return config.model_copy(update={"algorithm_options": changed(options, own)})


class RobotRun:
    """Builds a robot's parts and runs its loop until the run is over, it is told to stop, or something breaks."""

    def __init__(self, config: RunConfig, place: Place, link: LearnerLink, adviser: Adviser | None = None) -> None:
        """Prepare; `run` does everything else, in one thread.

        Args:
            config: The robot's own settings, with its seed and station.
            place: Where it is in the fleet.
            link: To the learner.
            adviser: To the agents; None where nobody of them helps.
        """
        self._config, self._place, self._link, self._adviser = config, place, link, adviser
        self._id = f"{time.time_ns() // 1_000_000:012x}{os.getpid() % 65_536:04x}"
        """Name of this process among the robot's."""
        self._folder = place.folder.expanduser()
        self._metrics = RobotMetrics()
        self._news: News | None = None
        self._weights: tuple[int, int] | None = None
        """Updates and the fleet's control steps of the weights that it acts with; None before the first ones."""
        self._is_told_to_stop = False
        self._is_showing = False
        self._number = 0
        """Of the next episode of this process."""
        self._saved_at = 0.0

    # --- what others ask of it ------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let the loop end after the running control step, from any thread."""
        self._is_told_to_stop = True

    def report(self) -> RobotReport:
        """Return what the robot says of itself."""
        weights = self._weights
        return RobotReport(
            robot=self._place.name,
            run=self._id,
            **self._metrics.said(),
            agent_wait_s=self._held_s,
            unsent=self._uploader.unsent,
            weights_version=None if weights is None else weights[0],
            weights_env_steps=0 if weights is None else weights[1],
            is_showing=self._is_showing,
            places=getattr(self._supervisor, "places", 1),
            counters=self._supervisor.metrics(),
            hardware=self._env.metrics(),
        )

    @property
    def _held_s(self) -> float:
        """Time that the arm has held still for the agent, [s]."""
        return getattr(self._supervisor, "paused_s", 0.0)

    def hear(self, news: News) -> None:
        """Take note of what the learner tells."""
        self._news = replace(news, weights=None)  # they are in shared memory as long as somebody has them
        if news.weights is not None:
            self._weights = (news.weights.version, news.weights.env_steps)

    def waited(self, seconds: float) -> None:
        """Take note of time spent waiting for the learner, [s]."""
        self._metrics.waited(seconds)

    # --- its run --------------------------------------------------------------------------------------------

    def run(self) -> RobotReport:
        """Act until the run is over or the robot is told to stop, and return its last report.

        Raises:
            AgpsError: If something is wrong that will not be over in a moment.
        """
        prepare_process(self._config.threads)
        with ExitStack() as opened:
            self._build(opened)
            opened.callback(self._env.halt)
            was_here = self._restore()
            if not was_here:
                self._supervisor.calibrate(self._insist(self._link.demonstrations))
            self._metrics.begin()
            self._follower = self._make_follower()
            self._show()
            self._await_policy()
            algorithm = self._algorithm
            if self._goes_on:
                algorithm.learner = self._follower
                # As in a run of one robot: what was shown before counts, and the environment is not reset twice.
                fresh = algorithm.num_timesteps == 0
                algorithm.learn(FOR_EVER, self._callback(self._follower), log_interval=None, reset_num_timesteps=fresh)
            self._env.halt()
            self._uploader.flush(FLUSH_S)
            self._save()
            return self._say_goodbye()

    @property
    def _goes_on(self) -> bool:
        return not self._is_told_to_stop and (self._news is None or self._news.stage != "over")

    def _build(self, opened: ExitStack) -> None:
        config, place = self._config, place_of(self._config.robot)
        self._folder.mkdir(parents=True, exist_ok=True)
        run = RunDirectory(self._folder)
        spool = Spool(self._folder / SPOOL, patience_s=PATIENCE_S)  # first: nobody else is this robot
        self._uploader = EpisodeUploader(spool, self._link)
        opened.callback(self._uploader.close)
        self._env = place.open_alone(config, opened)
        self._supervisor: Supervisor = opened.enter_context(closing(self._build_supervisor(run)))
        env = rewarded(config, self._env, opened)
        own = own_config(config, fleet_size=self._place.fleet_size, horizon=self._env.horizon)
        self._algorithm: GuidedAlgorithm = build_algorithm(own, run, env, self._supervisor)
        self._algorithm.tensorboard_log = None
        self._heard = Heard()
        if isinstance(self._supervisor, AgentSupervisor) and self._supervisor.teacher is not None and config.is_taught:
            self._heard = Heard(self._supervisor.teacher)
            self._algorithm.teacher = self._heard
        place.before_moving(self._algorithm)

    def _build_supervisor(self, run: RunDirectory) -> Supervisor:
        config = self._config
        if config.helper != "agent":
            return build_supervisor(config, run, self._env)
        prefix = f"{self._place.name}-{self._id[-8:]}-"
        return build_agent(config, run, self._env, None, adviser=self._adviser, prefix=prefix)

    def _make_follower(self) -> NewestWeights:
        kind = LockstepWeights if self._config.learner == "lockstep" else NewestWeights
        return kind(self._algorithm, self._link, self)

    def _show(self) -> None:
        """Let the agent show how it is done, as long as the learner waits for that."""
        supervisor, config = self._supervisor, self._config
        if self._place.shows(config.agent_demos) == 0 or not isinstance(supervisor, AgentSupervisor):
            return
        self._is_showing = True
        if self._place.number > 0:  # what the first one's success teaches is recalled: the agent is not asked by all
            until_s = time.monotonic() + FIRST_S
            self._hold_until(
                lambda news: news.env_steps > 0 or news.stage != "showing" or time.monotonic() > until_s,
            )
        news = self._insist(lambda: self._link.ask(self.report()).result())
        if news is not None and news.stage == "showing":
            supervisor.demonstrate(self._place.shows(config.agent_demos))
            until = self._callback(None, until=lambda: not supervisor.is_demonstrating)
            fresh = self._algorithm.num_timesteps == 0
            if supervisor.is_demonstrating:
                self._algorithm.collect(FOR_EVER, until, reset_num_timesteps=fresh, noise=config.demo_noise)
            self._env.pause()
            self._uploader.flush(FLUSH_S)
        self._is_showing = False

    def _await_policy(self) -> None:
        """Hold still until there are weights to act with."""
        self._hold_until(lambda news: news.stage == "online" and self._weights is not None)

    def _await_updates(self) -> None:
        """Hold still while the learner owes more than a few updates, or does not answer."""
        began = time.monotonic()
        self._env.pause()  # an arm's watchdog does not wait for the network
        self._uploader.flush(FLUSH_S)  # what it owes for the rollout that is just over counts
        self.waited(time.monotonic() - began)
        most = CAUGHT_UP_STEPS * self._algorithm.updates_per_step
        self._hold_until(lambda news: news.owed <= most)

    def _hold_until(self, is_so: Callable[[News], bool]) -> None:
        """Hold still until the learner's news are as wanted, or the robot is not to go on."""
        self._env.pause()
        while self._goes_on:
            began = time.monotonic()
            news = self._insist(lambda: self._link.ask(self.report()).result())
            if news is not None:
                self._follower.take(news)
                if is_so(news):
                    return
            time.sleep(ASK_EVERY_S)
            self._env.pause()
            self.waited(time.monotonic() - began)

    def _insist(self, ask: Callable[[], Any]) -> Any:
        """Return what the learner answers, once it does; None if the robot is told to stop before."""
        while not self._is_told_to_stop:
            try:
                return ask()
            except LinkDown:
                time.sleep(ASK_EVERY_S)
        return None

    def _callback(self, follower: NewestWeights | None, *, until: Callable[[], bool] | None = None) -> "_Watch":
        return _Watch(self, follower if isinstance(follower, LockstepWeights) else None, until)

    def see(self, step: Step, streamed: LockstepWeights | None) -> bool:
        """Take note of a control step, send its episode if it ended one, and return whether to go on.

        Raises:
            AgpsError: If the episode cannot be kept, or the learner has refused one.
        """
        self._metrics.see(step, held_s=self._held_s)
        key = Key(self._place.name, self._id, self._number)
        send = None if step.outcome is None else partial(self._send, key, self._message(key, step, step.outcome))
        if streamed is not None:
            lesson = None if step.outcome is None else self._heard.lesson
            streamed.note(StreamedStep(key=key, step=step, lesson=lesson), send)
        elif send is not None:
            send()
        if step.outcome is not None:
            self._number += 1
            if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
                self._save()
            if self._is_showing:  # nothing else is asked of the learner meanwhile
                self._link.ask(self.report())
            if self._config.holds_when_behind and streamed is None and not self._is_showing:
                self._await_updates()
        return self._goes_on

    def _send(self, key: Key, message: EpisodeMessage) -> None:
        """Hand an episode over to the uploader, which keeps it on disk until it is acknowledged."""
        self._uploader.post(key, to_bytes(message))

    def _message(self, key: Key, step: Step, outcome: EpisodeOutcome) -> EpisodeMessage:
        store = self._algorithm.store
        info = {name: step.info[name] for name in TOLD if name in step.info}
        return EpisodeMessage(
            key=key,
            episode=store.episode(store.episodes[-1]),
            outcome=replace(outcome, final_robot=None),
            info=info,
            noted=self._supervisor.last_episode,
        )

    def _say_goodbye(self) -> RobotReport:
        report = self.report()
        try:
            self._link.ask(report).result(timeout=FLUSH_S)
        except (LinkDown, TimeoutError):
            _log.info("The learner is gone already.")
        return report

    # --- its next process -----------------------------------------------------------------------------------

    def _save(self) -> None:
        """Keep what the robot's next process goes on from; a disk that refuses costs that, not the run."""
        self._saved_at = time.monotonic()
        state = {
            "supervisor": self._supervisor.state_dict(),
            "figures": self._metrics.state_dict(),
            "num_timesteps": self._algorithm.num_timesteps,
            "acting": self._algorithm.acting_rng.bit_generator.state,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        try:
            write_atomically(self._folder / STATE, buffer.getvalue())
        except AgpsError as error:
            _log.warning("%s", error)

    def _restore(self) -> bool:
        """Go on from what an earlier process kept, if there was one; return whether there was.

        Raises:
            ConfigError: If it is damaged, or of another version.
        """
        file = self._folder / STATE
        if not file.is_file():
            return False
        try:
            self._take_over(torch.load(file, map_location="cpu", weights_only=False))  # this robot's own file
        except DAMAGE as error:
            raise ConfigError(
                f"{file} is damaged, or of another version ({error!r}); delete it: the robot begins anew, and what it "
                "has not delivered stays."
            ) from error
        return True

    def _take_over(self, state: Mapping[str, Any]) -> None:
        self._supervisor.load_state_dict(state["supervisor"])
        self._metrics.load_state_dict(state["figures"])
        algorithm = self._algorithm
        algorithm.num_timesteps = state["num_timesteps"]
        algorithm.acting_rng.bit_generator.state = state["acting"]
        seed_resumed_starts(algorithm)


class Heard:
    """A teacher whose last lesson is kept, so that it can be sent along."""

    def __init__(self, teacher: Teacher | None = None) -> None:
        self._teacher = teacher
        self.lesson: Lesson | None = None
        """What it said last."""

    def teach(self, rollout: Sequence[Observation], outcome: EpisodeOutcome) -> Lesson | None:
        """Return what the teacher says."""
        self.lesson = None if self._teacher is None else self._teacher.teach(rollout, outcome)
        return self.lesson


class _Watch(BaseCallback):
    """Shows a robot each of its control steps."""

    def __init__(self, robot: RobotRun, streamed: LockstepWeights | None, until: Callable[[], bool] | None) -> None:
        super().__init__()
        self._robot, self._streamed, self._until = robot, streamed, until

    def _on_step(self) -> bool:
        step: Step = self.locals["step"]
        goes_on = self._robot.see(step, self._streamed)
        return goes_on and not (self._until is not None and step.outcome is not None and self._until())
