"""Somebody else's environment by its name."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium

from rl.envs.adapter import AdaptedEnv, adapt
from rl.envs.options import ENVIRONMENTS, AdapterOptions, is_object, short_name
from rl.errors import ConfigError, words_of
from rl.registry import load_module


def open_env(
    name: str,
    options: AdapterOptions | None = None,
    *,
    image_size: int = 64,
    arguments: Mapping[str, Any] | None = None,
) -> AdaptedEnv:
    """Return somebody else's environment, adapted.

    Args:
        name: An id that Gymnasium knows; `package.module:id`, where importing the module registers the id;
            `package.module:Name` or `./file.py:Name`, a class or function; or a name of `ENVIRONMENTS`.
        options: How it is read.
        image_size: Side of the images, [px].
        arguments: What it is made with.

    Raises:
        ConfigError: If there is none, it cannot be made, or it cannot be adapted.
    """
    options = options or AdapterOptions()
    given = {**({"render_mode": "rgb_array"} if options.render else {}), **(arguments or {})}
    return adapt(_make(name, given), options, image_size=image_size, name=short_name(name))


def _make(name: str, given: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    try:
        env = _maker(name)(**given)
    except ConfigError:
        raise
    except Exception as error:  # somebody else's code runs here: whatever it raises is theirs to mend
        raise ConfigError(f"Cannot make the environment {name!r} ({words_of(error)}).{_cure(error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise ConfigError(f"{name} makes a {type(env).__name__}, not a gymnasium.Env.")
    return env


def _cure(error: Exception) -> str:
    """Return what to do about an environment that cannot be made; nothing where only its author knows."""
    if isinstance(error, gymnasium.error.UnregisteredEnv):
        return " Name an id that Gymnasium has, package:ID where a package registers it, or ./file.py:Name."
    if isinstance(error, ModuleNotFoundError):
        return f" Install {error.name}, or mend the name before the colon."
    return " Without a screen, set MUJOCO_GL=egl." if "OpenGL" in str(error) else ""


def _maker(name: str) -> Callable[..., gymnasium.Env[Any, Any]]:
    if is_object(name):
        return ENVIRONMENTS.load(name)
    module, colon, inner = name.rpartition(":")
    if colon:
        load_module(module)  # registers the id
    return partial(gymnasium.make, inner if colon else name, disable_env_checker=True)
