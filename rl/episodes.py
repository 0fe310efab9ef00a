"""One recorded episode: its layout, and what makes it unfit to learn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rl.errors import ConfigError
from rl.finite import not_finite_at

Episode = Mapping[str, npt.NDArray[Any]]
"""One episode as it lies on disk: `<camera>` (T+1, H, W, 3) uint8, `state` (T+1, P), `action` (T, A) executed,
`reward` (T,), `terminated` (T,), `truncated` (T,), and optionally `guided` (T,), and what a teacher said: `label`
(T, A), the action to take, and `way` (T, 4), from the TCP to where the task succeeds, [m] and about the vertical [rad];
not numbers where it had nothing to say."""

STATE = "state"
GUIDED = "guided"
LABEL, WAY = "label", "way"
WAY_SIZE = 4
"""x, y, z [m], and the turn about the vertical [rad]."""
FLAGS = ("terminated", "truncated", GUIDED)
ACTION_TOLERANCE = 1e-4
"""How far beyond 1 an action may lie: what rounding does."""


def image_shapes(space: spaces.Space[Any]) -> dict[str, tuple[int, int, int]]:
    """Return (H, W, C) of each image of a Dict space of uint8 images and one float `state`.

    Raises:
        ConfigError: If the space is anything else.
    """
    if not isinstance(space, spaces.Dict) or STATE not in space.spaces:
        raise ConfigError(f"Observations must be a Dict with images and '{STATE}', not {space}.")
    shapes: dict[str, tuple[int, int, int]] = {}
    for key, box in space.spaces.items():
        if key == STATE:
            continue
        if box.dtype != np.uint8 or box.shape is None or len(box.shape) != 3 or box.shape[2] not in (1, 3, 4):
            raise ConfigError(f"Image '{key}' must be uint8 of shape (H, W, 3), channels last, not {box}.")
        shapes[key] = (box.shape[0], box.shape[1], box.shape[2])
    return shapes


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the arrays of an episode are like, whatever its length."""

    images: Mapping[str, tuple[int, int, int]]
    """Shape of an image of each camera, (H, W, C)."""
    state: int
    """Components of the state."""
    action: int
    """Components of an action."""


def layout_of(episode: Episode, *, where: str = "the episode") -> Layout:
    """Return the layout that an episode has by its own arrays; `check_episode` says whether it is sound.

    Raises:
        ConfigError: If it has no state or action, or one that is no table.
    """
    sizes = {}
    for key in (STATE, "action"):
        if key not in episode:
            raise ConfigError(f"There is no '{key}' in {where}; it has {sorted(episode)}. Is it of something else?")
        shape = np.shape(episode[key])
        if len(shape) != 2:
            raise ConfigError(f"'{key}' of {where} has shape {shape}, not (steps, components); record it anew.")
        sizes[key] = shape[1]
    images = {key: np.shape(array)[1:] for key, array in episode.items() if np.ndim(array) == 4}
    return Layout(images=images, state=sizes[STATE], action=sizes["action"])


def check_episode(
    episode: Episode,
    shapes: Mapping[str, tuple[int, int, int]],
    state_size: int,
    action_size: int,
    *,
    where: str = "the episode",
) -> None:
    """Refuse an episode that does not fit these observations and actions, or whose values cannot be learned from.

    Args:
        episode: What was recorded.
        shapes: Shape of an image of each camera, (H, W, C).
        state_size: Components of the state.
        action_size: Components of an action.
        where: How messages name the episode, such as its file.

    Raises:
        ConfigError: Names the first key that is missing, or has another shape, type or range.
    """
    check_layout(episode, shapes, state_size, action_size, where=where)
    check_values(episode, where=where)


def check_layout(
    episode: Episode,
    shapes: Mapping[str, tuple[int, int, int]],
    state_size: int,
    action_size: int,
    *,
    where: str = "the episode",
) -> None:
    """Refuse an episode whose arrays have other names, shapes or types than these observations and actions.

    Args:
        episode: What was recorded.
        shapes: Shape of an image of each camera, (H, W, C).
        state_size: Components of the state.
        action_size: Components of an action.
        where: How messages name the episode, such as its file.

    Raises:
        ConfigError: Names the first key that is missing, or has another shape or type.
    """
    if "action" not in episode:
        raise ConfigError(f"There is no 'action' in {where}; record the demonstrations again with `agps demos record`.")
    steps = len(np.atleast_1d(episode["action"]))
    expected: dict[str, tuple[int, ...]] = {"action": (steps, action_size), STATE: (steps + 1, state_size)}
    expected |= {key: (steps + 1, *shape) for key, shape in shapes.items()}
    expected |= dict.fromkeys(("reward", *FLAGS), (steps,))
    expected |= {LABEL: (steps, action_size), WAY: (steps, WAY_SIZE)}
    for key, shape in expected.items():
        if key not in episode and key in (GUIDED, LABEL, WAY):
            continue
        if key not in episode:
            raise ConfigError(f"There is no '{key}' in {where}; it has {sorted(episode)}. Is it of another task?")
        array = np.asarray(episode[key])
        if array.shape != shape:
            raise ConfigError(
                f"'{key}' of {where} has shape {array.shape}, not {shape}; "
                "record the demonstrations with this task, image size and cameras."
            )
        _check_type(key, array, where)


def _check_type(key: str, array: npt.NDArray[Any], where: str) -> None:
    """Refuse an array that would be turned into something else when it is stored."""
    if key in FLAGS:
        wanted, fits = "bool", array.dtype == np.bool_
    elif key in (STATE, "action", "reward", LABEL, WAY):
        wanted, fits = "float", array.dtype.kind in "fiu"
    else:  # floats between 0 and 1 would all become black
        wanted, fits = "uint8 from 0 to 255", array.dtype == np.uint8
    if not fits:
        raise ConfigError(f"'{key}' of {where} is of type {array.dtype}, not {wanted}; convert it, or record it anew.")


def check_values(episode: Episode, *, where: str = "the episode") -> None:
    """Refuse values that poison a learner, in an episode of the right layout.

    Raises:
        ConfigError: Names the first key and value.
    """
    steps = len(episode["action"])
    if steps == 0:
        raise ConfigError(f"There are no steps in {where}: 'action' is empty; leave it out, or record it anew.")
    for key in (STATE, "action", "reward"):
        if (at := not_finite_at(episode[key])) is not None:
            raise ConfigError(f"{key}{list(at)} of {where} is {episode[key][at]}, no finite number; record it anew.")
    actions = np.asarray(episode["action"])
    if np.abs(actions).max(initial=0.0) > 1.0 + ACTION_TOLERANCE:
        at = np.unravel_index(np.abs(actions).argmax(), actions.shape)
        raise ConfigError(
            f"action{[int(i) for i in at]} of {where} is {actions[at]:g}, outside [-1, 1]; "
            "divide actions by the environment's largest, or record it anew."
        )
    if np.isinf(episode.get(WAY, np.zeros(0))).any():
        raise ConfigError(f"A '{WAY}' of {where} is infinite; record it anew.")
    labels = np.asarray(episode.get(LABEL, ()))
    if (np.abs(labels) > 1.0 + ACTION_TOLERANCE).any():  # where there is none it is not a number
        raise ConfigError(f"A '{LABEL}' of {where} is outside [-1, 1]: an action that nobody can take; record it anew.")
    over = np.flatnonzero(np.asarray(episode["terminated"]) | np.asarray(episode["truncated"]))
    if len(over) > 0 and over[0] < steps - 1:
        raise ConfigError(
            f"'terminated' or 'truncated' is set at step {over[0]} of {where}, which has {steps}; "
            "an episode ends there: split it into two."
        )
