"""Where a robot's weights come from: pulled from the learner between control steps, or step by step in lockstep."""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

import torch

from agps_agent.fleet.link import LearnerLink, LinkDown, News, RobotReport, StreamedStep, Weights
from rl.algorithm import GuidedAlgorithm

ASK_EVERY_S = 0.3
"""Time between a robot's questions for news, [s]: three control steps at 10 Hz."""
GIVE_UP_S = 30.0
"""After this a question that nobody answers is asked anew, [s]."""


class Follows(Protocol):
    """What a follower needs of its robot."""

    def report(self) -> RobotReport:
        """Return what the robot says of itself."""

    def hear(self, news: News) -> None:
        """Take note of what the learner tells."""

    def waited(self, seconds: float) -> None:
        """Take note of time spent waiting for the learner, [s]."""


class NewestWeights:
    """A robot's `rl.learner.Learner`: acts with the newest weights that it has, and never waits for newer ones."""

    def __init__(self, algorithm: GuidedAlgorithm, link: LearnerLink, robot: Follows) -> None:
        self._algorithm, self._link, self._robot = algorithm, link, robot
        self._asked: Future[News] | None = None
        self._asked_at = 0.0
        self._heard_at = time.monotonic()

    def start(self) -> None:
        """Do nothing: the robot has weights, or has waited for them."""

    def advance(self) -> None:
        """Take over what has come, and ask again when it is time; returns at once."""
        now = time.monotonic()
        if self._asked is not None and self._asked.done():
            asked, self._asked = self._asked, None
            error = asked.exception()
            if error is None:
                self._heard_at = now
                self.take(asked.result())
            elif not isinstance(error, LinkDown):
                raise error
        if self._asked is not None and now - self._asked_at > GIVE_UP_S:
            self._asked = None
        if self._asked is None and now - self._asked_at >= ASK_EVERY_S:
            self._asked, self._asked_at = self._link.ask(self._robot.report()), now

    def settle(self) -> None:
        """Do nothing: updates are made elsewhere."""

    def note_owed(self) -> None:
        """Do nothing: whoever makes them knows what it owes."""

    def stop(self) -> None:
        """Do nothing: there is no thread."""

    def take(self, news: News) -> None:
        """Act with new weights, and tell the robot."""
        if news.weights is not None:
            load(self._algorithm, news.weights)
        self._robot.hear(news)

    @property
    def idle_s(self) -> float:
        """Seconds since the learner was heard of."""
        return time.monotonic() - self._heard_at


class LockstepWeights(NewestWeights):
    """A fleet of one in lockstep: the learner learns from each control step before the next one is made."""

    def __init__(self, algorithm: GuidedAlgorithm, link: LearnerLink, robot: Follows) -> None:
        super().__init__(algorithm, link, robot)
        self._steps: list[StreamedStep] = []
        self._after: list[Callable[[], None]] = []

    def note(self, step: StreamedStep, after: Callable[[], None] | None = None) -> None:
        """Take note of a control step, and of what to do once the learner has it."""
        self._steps.append(step)
        self._after += [] if after is None else [after]

    def advance(self) -> None:
        """Let the learner learn from the steps since the last call, and act with what that came to."""
        began, steps, self._steps = time.monotonic(), self._steps, []
        after, self._after = self._after, []
        news = None
        with contextlib.suppress(LinkDown):  # it goes on with the weights that it has
            news = self._link.take_steps(steps)
        self._robot.waited(time.monotonic() - began)
        for job in after:
            job()
        if news is not None:
            self._heard_at = time.monotonic()
            self.take(news)


def load(algorithm: GuidedAlgorithm, weights: Weights) -> None:
    """Let an algorithm act with weights."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.arrays.items()}
    algorithm.policy.load_state_dict(tensors)
