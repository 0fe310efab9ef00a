"""Gymnasium environments; importing this registers each task as `agps/<Task>-v0`, and imports none."""

import gymnasium

from rl.envs.adapter import AdaptedEnv, AdapterOptions, adapt
from rl.envs.factory import make_env
from rl.envs.judged import JudgedEnv
from rl.envs.manipulation import EnvSnapshot, ManipulationEnv
from rl.envs.opening import open_env
from rl.tasks.registry import gym_ids

__all__ = [
    "AdaptedEnv",
    "AdapterOptions",
    "EnvSnapshot",
    "JudgedEnv",
    "ManipulationEnv",
    "adapt",
    "make_env",
    "open_env",
]

# Without wrappers: the environment counts its own horizon, and `gymnasium.make` returns it with all its methods.
for _id, _name in gym_ids():
    gymnasium.register(
        _id,
        entry_point="rl.envs.factory:make_env",
        kwargs={"task": _name},
        disable_env_checker=True,
        order_enforce=False,
    )
