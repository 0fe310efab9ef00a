"""Who may watch the rollouts: the agent, a human, nobody. What makes one of them is loaded when a run begins."""

from typing import TYPE_CHECKING

from agps_agent.run.methods import Helper
from rl.supervisor import NullSupervisor, Supervisor

if TYPE_CHECKING:  # the configuration asks a helper for its defaults
    from agps_agent.run.config import RunConfig
    from agps_agent.run.confirm import Confirm
    from agps_agent.run.directory import RunDirectory
    from agps_agent.run.site import TrainingEnv


def _agent(config: "RunConfig", run: "RunDirectory", env: "TrainingEnv", confirm: "Confirm | None") -> Supervisor:
    from agps_agent.run.build import build_agent

    return build_agent(config, run, env, confirm)


def _human(config: "RunConfig", run: "RunDirectory", env: "TrainingEnv", confirm: "Confirm | None") -> Supervisor:
    from agps_agent.run.build import build_human

    return build_human(config, run, env)


def _nobody(config: "RunConfig", run: "RunDirectory", env: "TrainingEnv", confirm: "Confirm | None") -> Supervisor:
    return NullSupervisor()


AGENT = Helper(build=_agent)
HUMAN = Helper(build=_human, store_guided="both")
"""HIL-SERL and ConRFT put the steps that a human guided into both buffers."""
NOBODY = Helper(build=_nobody)
