"""What an environment offers so that a supervisor can watch its rollouts and help."""

import inspect
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np

from rl.errors import ConfigError
from rl.types import Box, FloatArray, RGBDFrame, RobotState

ACTIONS = (6, 7)
"""Components of an action that waypoints can be turned into: a delta pose, and a gripper command."""


class Watchable(Protocol):
    """An environment that a supervisor can watch, on any layer of wrappers.

    Its action is a delta pose in axes of the base frame, translation then rotation vector, in units of `action_scale`;
    a seventh component is a gripper command: above 0.5 opens, below -0.5 closes, between them the last one stays.

    These attributes may be there too: `T_base_ref`, the pose that the next action is added to, where that is the last
    commanded one and not the measured one, shape (4, 4), [m]; `p_tcp_tool`, the working point of what is held, in the
    TCP frame, shape (3,), [m]; `truth()`, named points that only a simulator knows; `prompt`, path of the file that
    tells the agent about the task; `capture(cameras, shadows=False)`, for a look that neither agent nor person sees.
    """

    @property
    def robot(self) -> RobotState:
        """What the arm measured last: pose of the TCP, twist, wrench, gripper; base frame. Valid after `reset`."""

    @property
    def action_scale(self) -> FloatArray:
        """Translation [m] and rotation [rad] of a unit action per axis. Shape (6,)."""

    @property
    def workspace(self) -> Box:
        """Where the TCP may be commanded to, base frame, [m]: boxes and waypoints stay inside."""

    def capture(self, cameras: Collection[str] | None = None) -> tuple[RGBDFrame, ...]:
        """Return full-resolution RGB-D of the named cameras, of all if None; the agent's default one is the first."""


NEEDED = ("robot", "action_scale", "workspace", "capture")
"""Members of `Watchable`."""


class Watched:
    """An environment as a supervisor's tools see it: what it offers, and what stands in for what it does not."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """See through the wrappers of an environment.

        Raises:
            ConfigError: If it lacks something; the sentence names all of it.
        """
        if lacks := missing(env):
            raise unwatchable(env, lacks)
        self._env = env

    @property
    def robot(self) -> RobotState:
        """What the arm measured last."""
        robot: RobotState = _get(self._env, "robot")
        return robot

    @property
    def workspace(self) -> Box:
        """Where the TCP may be commanded to, base frame, [m]."""
        box: Box = _get(self._env, "workspace")
        return box

    @property
    def action_scale(self) -> FloatArray:
        """Translation [m] and rotation [rad] of a unit action. Shape (6,)."""
        return np.asarray(_get(self._env, "action_scale"), dtype=np.float64)

    @property
    def T_base_ref(self) -> FloatArray:
        """Pose that the next action is added to. Shape (4, 4), [m]."""
        reference = _get(self._env, "T_base_ref") if _offers(self._env, "T_base_ref") else self.robot.T_base_tcp
        return np.asarray(reference)

    @property
    def p_tcp_tool(self) -> FloatArray:
        """Working point of what is held, in the TCP frame. Shape (3,), [m]."""
        return np.asarray(_get(self._env, "p_tcp_tool") if _offers(self._env, "p_tcp_tool") else np.zeros(3))

    @property
    def prompt(self) -> Path | None:
        """File that tells the agent about the task; None where there is none."""
        file = _get(self._env, "prompt") if _offers(self._env, "prompt") else None
        return None if file is None else Path(file)

    def capture(self, cameras: Collection[str] | None = None, *, shadows: bool = True) -> tuple[RGBDFrame, ...]:
        """Return full-resolution RGB-D of the named cameras, of all if None; without shadows where it can be."""
        capture = _get(self._env, "capture")
        if shadows or "shadows" not in inspect.signature(capture).parameters:
            return tuple(capture(cameras))
        return tuple(capture(cameras, shadows=False))

    def truth(self) -> Mapping[str, FloatArray]:
        """Return named points that only a simulator knows, base frame, (3,), [m]; none where nobody does."""
        points: Mapping[str, FloatArray] = _get(self._env, "truth")() if _offers(self._env, "truth") else {}
        return points


def missing(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    """Return what an environment lacks to be watched, in words; nothing if it is `Watchable`."""
    lacks = [name for name in NEEDED if not _offers(env, name)]
    shape = env.action_space.shape
    if shape is None or len(shape) != 1 or shape[0] not in ACTIONS:
        found = "no fixed number" if shape is None else " x ".join(map(str, shape))
        lacks.append(f"an action of 6 or 7 components (it has {found})")
    return tuple(lacks)


def unwatchable(env: gymnasium.Env[Any, Any], lacks: tuple[str, ...]) -> ConfigError:
    """Return the refusal of a supervisor, with all that is missing."""
    return ConfigError(
        f"{name_of(env)} cannot be watched, as it lacks {', '.join(lacks)}: `rl.envs.watchable.Watchable` says what "
        "each is. Offer them, or let nobody help (--method serl)."
    )


def name_of(env: gymnasium.Env[Any, Any]) -> str:
    """Return what messages call an environment: the last part of its id, or its class."""
    return env.spec.id.rpartition("/")[2] if env.spec is not None else type(env.unwrapped).__name__


def _layers(env: gymnasium.Env[Any, Any]) -> Iterator[gymnasium.Env[Any, Any]]:
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
    yield env


def _offers(env: gymnasium.Env[Any, Any], name: str) -> bool:
    # The class is asked first: a property may not be readable before `reset`.
    return any(hasattr(type(layer), name) or name in vars(layer) for layer in _layers(env))


def _get(env: gymnasium.Env[Any, Any], name: str) -> Any:
    layer = next(one for one in _layers(env) if hasattr(type(one), name) or name in vars(one))
    return getattr(layer, name)
