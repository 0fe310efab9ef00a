"""When updates happen: in lockstep with the environment, beside its next step, or freely beside the control loop."""

import concurrent.futures
import copy
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

import torch
from stable_baselines3.common.policies import BasePolicy

from rl.errors import AgpsError

CAUGHT_UP_STEPS = 10
"""Control steps whose updates a learner may owe before a rollout and count as having caught up."""


class Learns(Protocol):
    """What a learner needs of an algorithm."""

    num_timesteps: int
    """Environment steps so far."""
    learning_starts: int
    """Environment steps before the first update."""
    gradient_steps: int
    """Updates per call of the lockstep learner."""
    batch_size: int
    """Transitions per update."""
    published: BasePolicy | None
    """Weights to act with while a thread changes `policy`."""
    update_threads: int
    """Threads of an update."""
    updates_owed: float
    """What a thread had not come to when a run was saved, or stopped; one that goes on makes up for it."""

    @property
    def policy(self) -> BasePolicy:
        """The networks that updates change."""

    @property
    def updates_per_step(self) -> float:
        """Updates per environment step of the lockstep learner."""

    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """Update the networks."""


class Learner(Protocol):
    """Decides when the algorithm updates its networks."""

    def start(self) -> None:
        """Get ready; called before the first step of a run."""

    def advance(self) -> None:
        """Do, or check, what is due after the environment steps just taken. Raises what an update raised."""

    def settle(self) -> None:
        """Wait for updates that must not see what is stored next; called after each control step, before it is stored.

        Raises what an update raised.
        """

    def note_owed(self) -> None:
        """Tell the algorithm what is owed, in `updates_owed`; called before it is saved."""

    def stop(self) -> None:
        """Stop cleanly; called after the last step of a run, also when it failed."""

    @property
    def idle_s(self) -> float:
        """Seconds since the last update, the learner's heartbeat."""


class NoLearner:
    """Learns nothing: whoever helps shows how it is done."""

    idle_s = 0.0
    """There is no update to wait for."""

    def start(self) -> None:
        """Do nothing."""

    def advance(self) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""

    def note_owed(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class LockstepLearner:
    """A fixed number of updates per environment step: a seed fixes the whole run."""

    def __init__(self, algorithm: Learns) -> None:
        self._algorithm = algorithm
        self._last_update = time.monotonic()

    def start(self) -> None:
        """Start the heartbeat."""
        self._last_update = time.monotonic()

    def advance(self) -> None:
        """Do `gradient_steps` updates once there are more than `learning_starts` steps."""
        algorithm = self._algorithm
        if algorithm.num_timesteps > algorithm.learning_starts and algorithm.gradient_steps > 0:
            algorithm.train(algorithm.gradient_steps, algorithm.batch_size)
            self._last_update = time.monotonic()

    def settle(self) -> None:
        """Do nothing: no update is under way."""

    def note_owed(self) -> None:
        """Do nothing: what is due follows from the steps."""

    def stop(self) -> None:
        """Do nothing: there is no thread."""

    @property
    def idle_s(self) -> float:
        """Seconds since the last update."""
        return time.monotonic() - self._last_update


class OverlappedLearner:
    """The lockstep learner on a second core: the updates after a step are made while the next one is taken.

    The loop acts with weights that are one call older, and stores a step only when the updates under way are done. So
    each update sees the same transitions, each action comes from the same weights, whatever the machine: a seed fixes
    the whole run. An update has two threads: a step takes half of it, and leaves the core idle for the rest.
    """

    def __init__(self, algorithm: Learns) -> None:
        self._algorithm = algorithm
        algorithm.update_threads = 2
        self._thread: concurrent.futures.ThreadPoolExecutor | None = None
        self._updates: concurrent.futures.Future[None] | None = None
        self._weights: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
        """Those to act with, and those that are updated: looking for them takes as long as copying them."""
        self._last_update = time.monotonic()

    def start(self) -> None:
        """Publish the present weights."""
        self._last_update = time.monotonic()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="learner")
        published = self._algorithm.published = copy.deepcopy(self._algorithm.policy)
        self._weights = (list(published.parameters()), list(self._algorithm.policy.parameters()))

    def advance(self) -> None:
        """Begin `gradient_steps` updates once there are more than `learning_starts` steps."""
        algorithm = self._algorithm
        assert self._thread is not None and self._updates is None
        if algorithm.num_timesteps > algorithm.learning_starts and algorithm.gradient_steps > 0:
            self._updates = self._thread.submit(algorithm.train, algorithm.gradient_steps, algorithm.batch_size)

    def settle(self) -> None:
        """Wait for the updates under way, and let the loop act with what they came to."""
        updates, self._updates = self._updates, None
        if updates is None:
            return
        updates.result()
        self._last_update = time.monotonic()
        with torch.no_grad():
            torch._foreach_copy_(*self._weights)

    def note_owed(self) -> None:
        """Do nothing: what is due follows from the steps."""

    def stop(self) -> None:
        """Let the running updates finish, end the thread, and act with the newest weights again."""
        thread, self._thread = self._thread, None
        try:
            self.settle()
        finally:
            self._algorithm.published = None
            if thread is not None:
                thread.shutdown()

    @property
    def idle_s(self) -> float:
        """Seconds since updates were last finished."""
        return time.monotonic() - self._last_update


class ThreadedLearner:
    """Updates in a thread, so that the control loop never waits; the loop acts with weights published now and then.

    Which update sees which transition depends on timing, so a seed does not fix the run.
    """

    def __init__(
        self,
        algorithm: Learns,
        *,
        publish_every: int = 20,
        max_updates_per_step: float | None = None,
        stall_timeout_s: float = 60.0,
        before_stop: Callable[[], None] | None = None,
    ) -> None:
        """Prepare; `start` starts the thread.

        Args:
            algorithm: Whose networks to update.
            publish_every: Updates between new weights for acting. HIL-SERL: 50.
            max_updates_per_step: Most updates per environment step, so that a loop which waits for the agent does not
                overfit; None for the lockstep learner's ratio, `math.inf` for none (HIL-SERL).
            stall_timeout_s: Longest time an update may take before `advance` raises, [s].
            before_stop: Called before `stop` waits for the running update: what must not wait, such as a robot.
        """
        self._algorithm = algorithm
        self._publish_every = publish_every
        self._max_updates_per_step = (
            algorithm.updates_per_step if max_updates_per_step is None else max_updates_per_step
        )
        self._stall_timeout_s = stall_timeout_s
        self._before_stop = before_stop
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._last_sign = time.monotonic()
        self._budget = 0.0
        self._seen_steps = 0

    def start(self) -> None:
        """Publish the present weights and start the thread."""
        self._stopping.clear()
        self._budget, self._seen_steps = self._algorithm.updates_owed, self._algorithm.num_timesteps
        self._last_sign = time.monotonic()
        self._publish()
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)
        self._thread.start()

    def advance(self) -> None:
        """Return at once, or raise what stopped the thread.

        Raises:
            AgpsError: If the running update has not come back within `stall_timeout_s`.
        """
        self._raise_error()
        if self.idle_s > self._stall_timeout_s:
            raise AgpsError(
                f"The learner has given no sign for {self.idle_s:.0f} s, more than {self._stall_timeout_s:.0f} s; "
                "is the machine out of memory or overloaded?"
            )

    def stop(self) -> None:
        """Let the running update finish, end the thread, and act with the newest weights again."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._before_stop is not None:
            self._before_stop()
        self._stopping.set()
        thread.join(self._stall_timeout_s)
        if thread.is_alive():
            raise AgpsError(f"The learner did not stop within {self._stall_timeout_s:.0f} s.")
        self._tell_owed()
        self._algorithm.published = None
        self._raise_error()

    def note_owed(self) -> None:
        """Tell the algorithm what is owed now; where no thread runs it was told when that stopped."""
        if self._thread is not None:
            self._tell_owed()

    def _tell_owed(self) -> None:
        owed = self.owed
        self._algorithm.updates_owed = owed if math.isfinite(owed) else 0.0

    @property
    def owed(self) -> float:
        """Updates that the steps so far allow and that are not made yet."""
        steps = self._algorithm.num_timesteps
        if steps <= self._algorithm.learning_starts:
            return 0.0
        seen = self._seen_steps  # before the budget: between the two the thread may move steps from one to the other,
        return max(0.0, self._budget + max(0, steps - seen) * self._max_updates_per_step)  # and none may be missed

    def settle(self) -> None:
        """Do nothing: which update sees which transition is left to time."""

    @property
    def is_behind(self) -> bool:
        """Whether it owes more updates than `CAUGHT_UP_STEPS` steps allow."""
        return self._thread is not None and self.owed > CAUGHT_UP_STEPS * self._max_updates_per_step

    def catch_up(self, until: Callable[[], bool] = lambda: False) -> None:
        """Wait while it is behind. Raises what an update raised.

        Args:
            until: Ends the wait early, where it says so.
        """
        while self.is_behind and not until():
            self.advance()
            time.sleep(0.01)

    @property
    def idle_s(self) -> float:
        """Seconds since the thread last finished an update or looked for work."""
        return time.monotonic() - self._last_sign

    def _run(self) -> None:
        updates = 0
        try:
            while not self._stopping.is_set():
                self._last_sign = time.monotonic()
                if not self._is_due():
                    self._stopping.wait(0.001)
                    continue
                self._algorithm.train(1, self._algorithm.batch_size)
                self._budget -= 1.0
                updates += 1
                if updates % self._publish_every == 0:
                    self._publish()
        except Exception as error:  # handed to the loop, which raises it
            self._error = error

    def _is_due(self) -> bool:
        steps = self._algorithm.num_timesteps
        if steps <= self._algorithm.learning_starts:
            self._seen_steps = steps
            return False
        self._budget += (steps - self._seen_steps) * self._max_updates_per_step if steps > self._seen_steps else 0.0
        self._seen_steps = steps
        return self._budget >= 1.0

    def _publish(self) -> None:
        """Hand a copy to the loop: swapping one reference, it never acts with half-written weights."""
        self._algorithm.published = copy.deepcopy(self._algorithm.policy)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
