"""Help fades: the more often the policy succeeds alone, the fewer rollouts may get some."""

from collections import deque
from typing import Any

import numpy as np


class Help:
    """Draws which rollouts may get help: share x (1 - success over the newest rollouts without help)."""

    def __init__(self, *, share: float, window: int, seed: int) -> None:
        """Begin with no rollout seen.

        Args:
            share: Of the rollouts that get help at first, in [0, 1].
            window: Newest rollouts without help that success is taken over; those still to come count as failures.
            seed: Of the draws.
        """
        self._share = share
        self._unaided: deque[bool] = deque(maxlen=window)
        self._window = window
        self._rng = np.random.default_rng(seed)

    def draw(self) -> bool:
        """Return whether the next rollout may get help."""
        unaided_success = sum(self._unaided) / self._window
        return bool(self._rng.random() < self._share * (1.0 - unaided_success))

    def note_unaided(self, success: bool) -> None:  # noqa: FBT001
        """Take note of how a rollout without help ended."""
        self._unaided.append(success)

    @property
    def alone(self) -> list[int]:
        """Successes of the policy without help, and over how many of its newest rollouts."""
        return [sum(self._unaided), len(self._unaided)]

    def state_dict(self) -> dict[str, Any]:
        """Return the newest rollouts and the random state."""
        return {"unaided": list(self._unaided), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._unaided.clear()
        self._unaided.extend(state["unaided"])
        self._rng.bit_generator.state = state["rng"]
