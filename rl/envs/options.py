"""How somebody else's environment is called and read: what a run is told of it before it is loaded."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium

from rl.bounds import Count, check_bounds
from rl.registry import Registry
from rl.types import Channels

ENVIRONMENTS: Registry[Callable[..., gymnasium.Env[Any, Any]]] = Registry("agps.environments", "environment")
"""Functions and classes that make an environment, beside the ids that Gymnasium knows."""


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """How an environment is read; the defaults find everything by themselves."""

    image_keys: tuple[str, ...] | None = None
    """Entries of the observation that are images, nested names joined by dots. None: those that look like images."""
    state_keys: tuple[str, ...] | None = None
    """Entries that are flattened into `state`; leave out what gives the goal away. None: all that are no images."""
    channels: Channels = "auto"
    """Where the channels of an image are. auto: where there are 1, 3 or 4, or fewer than rows and columns."""
    render: bool = False
    """Add what `render()` shows as an image, in the render mode rgb_array."""
    plain_rendering: bool = False
    """MuJoCo: draw without shadows and without smoothing edges. Without a GPU that is many times faster."""
    action_repeat: Count = 1
    """Steps of the environment for one action; their rewards are added."""
    horizon: Count | None = None
    """Actions until an episode is truncated. None: as the environment was registered, else 1000."""
    success_key: str | None = None
    """Entry of the info that says success. None: is_success, success or succeed, else a last step with reward."""
    success_reward: float | None = None
    """A step with at least this reward is a success, whatever the info says."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_bounds(self)


def short_name(name: str) -> str:
    """Return what runs and messages call an environment: `gym_hil:gym_hil/PandaPickCube-v0` is `PandaPickCube-v0`."""
    return re.split(r"[:/]", name)[-1]


def env_reference(name: str) -> str:
    """Return the name of the same environment that holds in every working directory.

    Raises:
        ConfigError: If it is a class or function that cannot be imported.
    """
    return ENVIRONMENTS.reference(name) if is_object(name) else name


def is_object(name: str) -> bool:
    """Return whether a name is that of a class or function, and not of an id."""
    _, colon, inner = name.rpartition(":")
    return name in ENVIRONMENTS or bool(colon and inner.replace(".", "_").isidentifier())
