"""Gymnasium environments; importing this registers them as `agps/<Task>-v0`."""

import gymnasium

from rl.envs.factory import make_env
from rl.envs.manipulation import EnvSnapshot, ManipulationEnv

__all__ = ["EnvSnapshot", "ManipulationEnv", "make_env"]

# Without wrappers: the environment counts its own horizon, and `gymnasium.make` returns it with all its methods.
gymnasium.register(
    "agps/UsbInsertion-v0",
    entry_point="rl.envs.factory:make_env",
    kwargs={"task": "usb_insertion"},
    disable_env_checker=True,
    order_enforce=False,
)
