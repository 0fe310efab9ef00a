"""What a training run acts in."""

from dataclasses import dataclass

from agps_agent.run.confirm import Confirm
from rl.envs.adapter import AdaptedEnv
from rl.envs.manipulation import ManipulationEnv

TrainingEnv = ManipulationEnv | AdaptedEnv
"""A task on an arm, or somebody else's environment."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """The environments of a run, and who agrees to waypoints."""

    env: TrainingEnv
    """Where the policy learns."""
    eval_env: TrainingEnv | None = None
    """Where it is evaluated on the way; None: there is one environment, with the reward of training."""
    confirm: Confirm | None = None
    """Asks a person before each waypoint; None: nobody is asked."""
