"""The seam between learning and whoever watches it: an agent, a human, or nobody.

`rl` knows no language model. AGPS, SERL and HIL-SERL differ in which supervisor the loop is handed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rl.episodes import Episode
from rl.types import CONTROL_PERIOD_S, EpisodeOutcome, FloatArray, Intervention, InterventionEnd, Observation, Takeover


class Reading(Protocol):
    """What a failure detector says of one control step."""

    @property
    def name(self) -> str:
        """The detector's."""

    @property
    def index(self) -> float | None:
        """How far the rollout has drifted; None from a detector that does not measure."""

    @property
    def threshold(self) -> float | None:
        """Index above which it is no good rollout any more."""


class Supervisor(Protocol):
    """Watches rollouts and answers with interventions."""

    @property
    def last_episode(self) -> Mapping[str, Any]:
        """What was noted in the last finished rollout, for the run's log."""

    @property
    def reading(self) -> Reading | None:
        """What a failure detector said last; None where none watches, or it is not calibrated yet."""

    def calibrate(self, demos: Sequence[Episode]) -> None:
        """Learn from demonstrations what a good rollout looks like, before the first one."""

    def start_episode(self, episode: int, observation: Observation) -> None:
        """Prepare for a rollout whose first observation is given."""

    def review(self, observation: Observation, *, active: Intervention | None = None) -> Intervention | None:
        """Return an intervention, or None to let the policy act. Called once per control step, before acting.

        `active` is the intervention under way: a human's hand, waypoints still being followed, or a box until the
        episode ends. Never raises for what the agent does wrong: the answer is None and the reason is counted in
        `metrics`.
        """

    def note_end(self, end: InterventionEnd) -> None:
        """Learn how an intervention ended, before the next `review`; `finish_episode` tells of all of them again."""

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        """Learn how the rollout ended."""

    def metrics(self) -> dict[str, float]:
        """Return cumulative counters.

        Of an agent: triggers, agent_calls, memory_hits, agent_pause_s, declined/<reason>. Of a human:
        human_interventions, human_s.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs. Only plain numbers, strings, lists and arrays."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""

    def close(self) -> None:
        """Release threads, files and sockets."""


class NullSupervisor:
    """Nobody watches: the SERL baseline."""

    @property
    def last_episode(self) -> Mapping[str, Any]:
        """Nothing is noted."""
        return {}

    @property
    def reading(self) -> Reading | None:
        """No detector watches."""
        return None

    def calibrate(self, demos: Sequence[Episode]) -> None:
        """Do nothing: there is nothing to calibrate."""

    def start_episode(self, episode: int, observation: Observation) -> None:
        """Do nothing."""

    def review(self, observation: Observation, *, active: Intervention | None = None) -> Intervention | None:
        """Let the policy act."""
        return None

    def note_end(self, end: InterventionEnd) -> None:
        """Do nothing."""

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


class Hand(Protocol):
    """A human's hand beside the arm: a SpaceMouse on a robot, `rl.human.SimulatedHuman` in simulation.

    A device gives `read` and inherits the rest; only somebody who is simulated must be told of episodes.
    """

    def read(self, observation: Observation) -> FloatArray | None:
        """Return the action that the hand asks for now, shape (A,), in [-1, 1]; None while it is off the device.

        Called once per control step; must return at once. A device that is lost counts as a hand that is off.
        """

    def start_episode(self) -> None:
        """Hear that a rollout begins."""
        return

    def finish_episode(self, *, success: bool) -> None:
        """Hear how a rollout ended."""
        return

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        return

    def close(self) -> None:
        """Release the device."""
        return


class HumanSupervisor:
    """Gives the arm to a human whenever there is a hand on it, and keeps the books: the HIL-SERL baseline.

    Consecutive steps with the hand on the arm are one stretch, which is one intervention.
    """

    def __init__(self, hand: Hand, *, period_s: float = CONTROL_PERIOD_S) -> None:
        """Watch a hand.

        Args:
            hand: Whose.
            period_s: Duration of a control step, [s].
        """
        self._hand = hand
        self._period_s = period_s
        self._holds = False
        self._stretches: list[list[int]] = []
        """Of this rollout: first step and number of steps of each stretch."""
        self._interventions = 0
        self._steps = 0
        """Control steps with the hand on the arm."""
        self.last_episode: dict[str, Any] = {}
        """`human_stretches` of the last finished rollout, each [first step, steps]."""

    @property
    def reading(self) -> Reading | None:
        """No detector watches: the human does."""
        return None

    def calibrate(self, demos: Sequence[Episode]) -> None:
        """Do nothing: people know a good rollout when they see one."""

    def start_episode(self, episode: int, observation: Observation) -> None:
        """Begin a rollout with the hand off."""
        self._holds, self._stretches = False, []
        self._hand.start_episode()

    def review(self, observation: Observation, *, active: Intervention | None = None) -> Intervention | None:
        """Return the hand's action for this step; None while the hand is off."""
        action = self._hand.read(observation)
        began = action is not None and not self._holds
        self._holds = action is not None
        if action is None:
            return None
        if began:
            self._interventions += 1
            self._stretches.append([observation.step, 0])
        self._stretches[-1][1] += 1
        self._steps += 1
        return Takeover(action=action, id=f"human-{self._interventions:04d}")

    def note_end(self, end: InterventionEnd) -> None:
        """Do nothing: the human saw it."""

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        """Note the rollout's stretches and tell the human how it ended."""
        self.last_episode = {"human_stretches": [list(stretch) for stretch in self._stretches]}
        self._hand.finish_episode(success=outcome.success)

    def metrics(self) -> dict[str, float]:
        """Return the stretches so far and the seconds with the hand on the arm."""
        return {"human_interventions": float(self._interventions), "human_s": self._steps * self._period_s}

    def state_dict(self) -> dict[str, Any]:
        """Return the books and the hand's state."""
        return {"interventions": self._interventions, "steps": self._steps, "hand": self._hand.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._interventions, self._steps = state["interventions"], state["steps"]
        if state["hand"]:  # a device has no state, and may be another one now
            self._hand.load_state_dict(state["hand"])

    def close(self) -> None:
        """Release the hand's device."""
        self._hand.close()
