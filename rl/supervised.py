"""One episode under a supervisor: what it answers becomes the action, and what came of that is told."""

from collections.abc import Callable

from rl.guidance import GuidanceConfig, WaypointFollower
from rl.interventions import Confirm, Interventions
from rl.supervisor import Supervisor
from rl.types import EpisodeOutcome, FloatArray, Guide, Intervention, Observation


class SupervisedEpisode:
    """Asks the supervisor at each step; between its answers somebody else acts.

    An environment that is not ours gives no observation: nobody watches its episodes.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        observation: Observation | None,
        *,
        number: int,
        actions: int,
        action_scale: Callable[[], FloatArray],
        guidance: GuidanceConfig | None = None,
        confirm: Confirm | None = None,
    ) -> None:
        """Begin.

        Args:
            supervisor: Who watches.
            observation: What is seen first.
            number: Of the episode, counting from 0.
            actions: Size of an action, A.
            action_scale: Returns translation [m] and rotation [rad] of a unit action. Shape (6,).
            guidance: When a waypoint is reached.
            confirm: Agrees to each further waypoint; None: nobody is asked.
        """
        self.number = number
        """Of the episode, counting from 0."""
        self.steps = 0
        """Control steps that somebody has decided on."""
        self._supervisor = supervisor

        def follow(guide: Guide) -> WaypointFollower:
            return WaypointFollower(guide, action_scale=action_scale(), actions=actions, config=guidance)

        self._interventions = Interventions(
            follow=follow, action_scale=action_scale, on_end=supervisor.note_end, confirm=confirm
        )
        if observation is not None:
            supervisor.start_episode(number, observation)

    @property
    def active(self) -> Intervention | None:
        """The intervention under way: a human's action of this step, waypoints being followed, the episode's box."""
        return self._interventions.active

    def act(self, observation: Observation | None, propose: Callable[[], FloatArray]) -> tuple[FloatArray, bool]:
        """Return the action to send, shape (A,), and whether a human or a waypoint gave it.

        Args:
            observation: What is seen now.
            propose: Returns the action where the supervisor leaves it to somebody else.
        """
        self.steps += 1
        if observation is None:
            return propose(), False
        answer = self._supervisor.review(observation, active=self.active)
        self._interventions.take(answer, observation)
        return self._interventions.act(observation, propose)

    def finish(
        self, observation: Observation | None, *, success: bool, terminated: bool, truncated: bool
    ) -> EpisodeOutcome:
        """End the episode with what was seen last, tell the supervisor, and return how it ended."""
        interventions = self._interventions
        interventions.close(observation)
        outcome = EpisodeOutcome(
            episode=self.number,
            success=success,
            terminated=terminated,
            truncated=truncated,
            steps=self.steps,
            guided_steps=interventions.steps("guide", "takeover"),
            pruned_steps=interventions.steps("prune"),
            final_robot=None if observation is None else observation.robot,
            intervention_ids=tuple(interventions.ids),
            interventions=tuple(interventions.ended),
        )
        self._supervisor.finish_episode(outcome)
        return outcome
