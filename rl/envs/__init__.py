"""Gymnasium environments; importing this registers each task as `agps/<Task>-v0`, and imports none."""

from typing import TYPE_CHECKING

import gymnasium

from rl.envs.options import AdapterOptions
from rl.lazy import lazy
from rl.tasks.registry import gym_ids

if TYPE_CHECKING:
    from rl.envs.adapter import AdaptedEnv, adapt
    from rl.envs.factory import make_env
    from rl.envs.judged import JudgedEnv
    from rl.envs.manipulation import EnvSnapshot, ManipulationEnv
    from rl.envs.opening import open_env

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

# A run's configuration says how an environment is read, without MuJoCo.
__getattr__ = lazy(
    __name__,
    {
        "AdaptedEnv": "rl.envs.adapter",
        "EnvSnapshot": "rl.envs.manipulation",
        "JudgedEnv": "rl.envs.judged",
        "ManipulationEnv": "rl.envs.manipulation",
        "adapt": "rl.envs.adapter",
        "make_env": "rl.envs.factory",
        "open_env": "rl.envs.opening",
    },
)

# Without wrappers: the environment counts its own horizon, and `gymnasium.make` returns it with all its methods.
for _id, _name in gym_ids():
    gymnasium.register(
        _id,
        entry_point="rl.envs.factory:make_env",
        kwargs={"task": _name},
        disable_env_checker=True,
        order_enforce=False,
    )
