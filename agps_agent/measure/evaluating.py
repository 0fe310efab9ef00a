"""The environment to evaluate a policy in, under other conditions than those that it was trained under."""

from collections.abc import Iterator
from contextlib import contextmanager

from agps_agent.measure.conditions import Conditions
from agps_agent.run.build import evaluation_env
from agps_agent.run.config import RunConfig
from agps_agent.run.place import place_of
from agps_agent.run.site import TrainingEnv
from rl.envs.judged import JudgedEnv
from rl.envs.manipulation import ManipulationEnv
from rl.envs.pushed import Push, PushedEnv
from rl.errors import ConfigError


@contextmanager
def env_under(conditions: Conditions, config: RunConfig) -> Iterator[TrainingEnv | JudgedEnv | PushedEnv]:
    """Yield the environment of a run to evaluate its policy in, under other conditions than those of training.

    Raises:
        ConfigError: If there are other conditions, and they cannot be made: on a robot, or in somebody else's
            environment.
    """
    said = conditions.in_words()
    if said and config.env is not None:
        raise ConfigError(
            f"{config.env} is somebody else's environment, in which nothing can be changed here ({said})."
        )
    if said:
        place_of(config.robot).require_simulation(
            f"Conditions are made in simulation ({said}); at a robot change the table itself, and leave them out."
        )
    with evaluation_env(conditions.applied_to(config)) as env:
        if conditions.push_mm:
            assert isinstance(env, ManipulationEnv)  # what is simulated and a task of ours
            if conditions.push_step >= env.task.horizon:
                raise ConfigError(
                    f"push_step is {conditions.push_step}, and an episode of {env.task.name} has {env.task.horizon} "
                    "control steps: nothing would be pushed; ask for less."
                )
            yield PushedEnv(env, Push(distance_m=conditions.push_mm / 1e3, step=conditions.push_step))
        else:
            yield env
