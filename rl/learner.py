"""When updates happen: in lockstep with the environment, or freely in a thread beside the control loop."""

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the algorithm owns its learner; at run time the import goes only that way
    from rl.drq.drq import DrQ


class Learner(Protocol):
    """Decides when the algorithm updates its networks."""

    def start(self) -> None:
        """Get ready; called before the first step of a run."""

    def advance(self) -> None:
        """Do, or check, what is due after the environment steps just taken. Raises what an update raised."""

    def stop(self) -> None:
        """Stop cleanly; called after the last step of a run, also when it failed."""

    @property
    def idle_s(self) -> float:
        """Seconds since the last update, the learner's heartbeat."""


class LockstepLearner:
    """A fixed number of updates per environment step: a seed fixes the whole run."""

    def __init__(self, algorithm: "DrQ") -> None:
        self._algorithm = algorithm
        self._last_update_s = time.monotonic()

    def start(self) -> None:
        """Start the heartbeat."""
        self._last_update_s = time.monotonic()

    def advance(self) -> None:
        """Do `gradient_steps` updates once `learning_starts` steps are there."""
        algorithm = self._algorithm
        if algorithm.num_timesteps > algorithm.learning_starts and algorithm.gradient_steps > 0:
            algorithm.train(algorithm.gradient_steps, algorithm.batch_size)
            self._last_update_s = time.monotonic()

    def stop(self) -> None:
        """Do nothing: there is no thread."""

    @property
    def idle_s(self) -> float:
        """Seconds since the last update."""
        return time.monotonic() - self._last_update_s
