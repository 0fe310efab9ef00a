"""One recorded episode: its layout, and what makes it unfit to learn from."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rl.errors import ConfigError

Episode = Mapping[str, npt.NDArray[Any]]
"""One episode as it lies on disk: `<camera>` (T+1, H, W, 3) uint8, `state` (T+1, P), `action` (T, A) executed,
`reward` (T,), `terminated` (T,), `truncated` (T,), and optionally `guided` (T,)."""

STATE = "state"


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


def check_episode(
    episode: Episode, shapes: Mapping[str, tuple[int, int, int]], state_size: int, action_size: int
) -> None:
    """Refuse an episode that does not fit these observations and actions.

    Raises:
        ConfigError: Names the first key that is missing or has another shape.
    """
    if "action" not in episode:
        raise ConfigError("The episode has no 'action'; record the demonstrations again with `agps demos record`.")
    steps = len(episode["action"])
    expected: dict[str, tuple[int, ...]] = {key: (steps + 1, *shape) for key, shape in shapes.items()}
    expected |= {STATE: (steps + 1, state_size), "action": (steps, action_size)}
    expected |= {"reward": (steps,), "terminated": (steps,), "truncated": (steps,)}
    for key, shape in expected.items():
        if key not in episode:
            raise ConfigError(f"The episode has no '{key}'; it has {sorted(episode)}. Is it of another task?")
        if episode[key].shape != shape:
            raise ConfigError(
                f"'{key}' of the episode has shape {episode[key].shape}, not {shape}; "
                "record the demonstrations with this task, image size and cameras."
            )
