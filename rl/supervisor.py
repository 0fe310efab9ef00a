"""The seam between learning and whoever watches it: an agent, a human, or nobody.

`rl` knows no language model. AGPS, SERL and HIL-SERL differ in which supervisor the loop is handed.
"""

from typing import Any, Protocol

from rl.types import EpisodeOutcome, Intervention, Observation


class Supervisor(Protocol):
    """Watches rollouts and answers with interventions."""

    def start_episode(self, episode: int, observation: Observation) -> None:
        """Prepare for a rollout whose first observation is given."""

    def review(self, observation: Observation, *, active: Intervention | None = None) -> Intervention | None:
        """Return an intervention, or None to let the policy act. Called once per control step, before acting.

        `active` is the intervention under way: waypoints still being followed, or a box until the episode ends.
        Never raises for what the agent does wrong: the answer is None and the reason is counted in `metrics`.
        """

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        """Learn how the rollout ended."""

    def metrics(self) -> dict[str, float]:
        """Return cumulative counters: triggers, agent_calls, memory_hits, agent_pause_s, declined/<reason>."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs. Only plain numbers, strings, lists and arrays."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""

    def close(self) -> None:
        """Release threads, files and sockets."""


class NullSupervisor:
    """Nobody watches: the SERL baseline."""

    def start_episode(self, episode: int, observation: Observation) -> None:
        """Do nothing."""

    def review(self, observation: Observation, *, active: Intervention | None = None) -> Intervention | None:
        """Let the policy act."""
        return None

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        """Do nothing."""

    def metrics(self) -> dict[str, float]:
        """Return no counters."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: there is no state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
