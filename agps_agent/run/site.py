"""What a training run acts in."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loads Gymnasium and NumPy; a command line that only asks for defaults does without
    from agps_agent.run.confirm import Confirm
    from rl.envs.manipulation import ManipulationEnv


@dataclass(frozen=True, kw_only=True)
class Site:
    """The environments of a run, and who agrees to waypoints."""

    env: "ManipulationEnv"
    """Where the policy learns."""
    eval_env: "ManipulationEnv | None" = None
    """Where it is evaluated on the way; None: there is one environment, with the reward of training."""
    confirm: "Confirm | None" = None
    """Asks a person before each waypoint; None: nobody is asked."""
