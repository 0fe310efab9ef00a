"""A question to the agent that is under way."""

import concurrent.futures
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agps_agent.ask import Answer
from agps_agent.state import Trigger
from rl.types import FloatArray, Observation
from tools.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Question:
    """What was asked, where the arm was then, and the answer to come."""

    id: str
    trigger: Trigger
    """What woke the agent."""
    scene: Scene
    answer: concurrent.futures.Future[Answer]
    position: FloatArray
    """Where the TCP was, base frame. Shape (3,), [m]."""
    frame: int
    """Number of the observation in the rollout."""
    asked_at: float
    """By the monotonic clock, [s]."""

    def is_over(self, now: float, *, patience_s: float) -> bool:
        """Return whether it is answered, or nobody waits for the answer any longer."""
        return self.answer.done() or now - self.asked_at > patience_s

    def stale(
        self, observation: Observation, now: float, *, after_m: float, after_s: float
    ) -> Literal["moved", "late"] | None:
        """Return why waypoints for where the arm was then are not for this moment any more; None if they are.

        Args:
            observation: What is seen now.
            now: By the monotonic clock, [s].
            after_m: How far the TCP may have moved, [m].
            after_s: How long the answer may have taken, [s].
        """
        if float(np.linalg.norm(observation.robot.T_base_tcp[:3, 3] - self.position)) > after_m:
            return "moved"
        return "late" if now - self.asked_at > after_s else None
