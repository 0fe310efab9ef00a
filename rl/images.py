"""Images in an observation that is not ours: where they are, and how they become equally large uint8 (H, W, C)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rl.episodes import FLAGS, LABEL, STATE, WAY
from rl.errors import ConfigError
from rl.types import ByteArray, Channels

SMALLEST_SIDE = 8
"""Arrays with a shorter side are no images, [px]."""
RESERVED = (STATE, "action", "reward", *FLAGS, LABEL, WAY)
"""Names of what else an episode holds."""
COLOURS = (1, 3, 4)
"""Channels that a picture may have: grey, RGB, RGBA."""


@dataclass(frozen=True, kw_only=True)
class ImageLayout:
    """How the images of one entry lie in its array."""

    stacked: bool
    """The first axis counts frames."""
    channels_first: bool
    """The channels come before rows and columns; else after them."""
    flat: bool
    """There is no axis for channels: grey."""
    peak: float
    """Value of white."""
    channels: int
    """Channels of all frames together."""
    sides: tuple[int, int]
    """Rows and columns, [px]."""

    @property
    def pictures(self) -> tuple[int, ...]:
        """Channels of each picture that the entry is split into: RGB by RGB, else grey by grey."""
        if self.channels in COLOURS:
            return (self.channels,)
        width = 3 if self.channels % 3 == 0 else 1
        return (width,) * (self.channels // width)

    def frames(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an entry's array with its channels last, those of all its frames together. Shape (H, W, channels)."""
        if self.flat:
            return array[..., np.newaxis]
        if self.channels_first:
            array = np.moveaxis(array, -3, -1)
        if not self.stacked:
            return array
        return np.moveaxis(array, 0, -2).reshape(*array.shape[1:3], -1)


def entries(
    space: spaces.Space[Any], observation: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, spaces.Space[Any], Any]]:
    """Yield name, space and value of everything in a space that is no container; nested names are joined by dots."""
    if isinstance(space, spaces.Dict):
        for key, child in space.items():
            yield from entries(child, None if observation is None else observation[key], (*path, str(key)))
    elif isinstance(space, spaces.Tuple):
        for number, child in enumerate(space):
            yield from entries(child, None if observation is None else observation[number], (*path, str(number)))
    else:
        yield ".".join(path) or "observation", space, observation


def image_layout(space: spaces.Space[Any], channels: Channels = "auto") -> ImageLayout | None:
    """Return how images lie in the arrays of a space; None where it holds none.

    Images are uint8, or floats from 0 to 1 or 255: (H, W), (H, W, C), (C, H, W), or several of the latter two.
    """
    if not isinstance(space, spaces.Box) or space.shape is None or (peak := _peak(space)) is None:
        return None
    if len(space.shape) not in (2, 3, 4) or (len(space.shape) == 2 and space.dtype != np.uint8):
        return None
    stacked, picture = len(space.shape) == 4, space.shape[-3:]
    flat = len(picture) == 2
    first = not flat and _channels_first(picture, channels)
    sides = picture if flat else picture[1:] if first else picture[:2]
    if min(sides) < SMALLEST_SIDE:
        return None
    count = 1 if flat else picture[0] if first else picture[2]
    if not flat and count > max(sides):
        return None
    return ImageLayout(
        stacked=stacked,
        channels_first=first,
        flat=flat,
        peak=peak,
        channels=count * (space.shape[0] if stacked else 1),
        sides=(sides[0], sides[1]),
    )


class Pictures:
    """Makes the images of an observation equal: one size, as many channels each, uint8, channels last."""

    def __init__(
        self, layouts: Mapping[str, ImageLayout], *, size: int | None = None, channels: int | None = None
    ) -> None:
        """Decide what becomes of each entry.

        Args:
            layouts: How images lie in each entry, by its name.
            size: Side of the pictures, [px]. None: those of the entry with most pixels.
            channels: Channels of each picture. None: as many as the one with most has.
        """
        self._layouts = layouts
        largest = max((layout.sides for layout in layouts.values()), key=math.prod, default=(1, 1))
        self.sides = largest if size is None else (size, size)
        """Rows and columns of each picture, [px]."""
        most = max((width for layout in layouts.values() for width in layout.pictures), default=3)
        self.channels = channels or most
        """Channels of each picture."""

    @property
    def spaces(self) -> dict[str, spaces.Box]:
        """Space of each picture, by its name: that of its entry, with a number where that holds several."""
        box = spaces.Box(0, 255, (*self.sides, self.channels), np.uint8)
        return {name: box for key, layout in self._layouts.items() for name in _names(key, layout)}

    def of(self, observed: Mapping[str, Any]) -> dict[str, ByteArray]:
        """Return the pictures in an observation's values. Each (*sides, channels), uint8."""
        made: dict[str, ByteArray] = {}
        for key, layout in self._layouts.items():
            frames = layout.frames(np.asarray(observed[key]))
            borders = np.cumsum(layout.pictures)[:-1]
            for name, picture in zip(_names(key, layout), np.split(frames, borders, axis=-1), strict=True):
                made[name] = self._one(picture, layout.peak)
        return made

    def _one(self, picture: npt.NDArray[Any], peak: float) -> ByteArray:
        if picture.dtype != np.uint8:
            picture = np.rint(np.clip(picture, 0.0, peak) * (255.0 / peak)).astype(np.uint8)
        rows, columns = self.sides
        if picture.shape[:2] != self.sides:
            shrinks = rows < picture.shape[0] and columns < picture.shape[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            picture = cv2.resize(picture, (columns, rows), interpolation=how).reshape(rows, columns, -1)
        if picture.shape[2] == 1:
            return np.repeat(picture, self.channels, axis=2)
        if picture.shape[2] < self.channels:  # RGB beside RGBA: opaque
            return np.concatenate([picture, np.full((*picture.shape[:2], 1), 255, np.uint8)], axis=2)
        return np.array(picture[..., : self.channels])


def _names(key: str, layout: ImageLayout) -> list[str]:
    count = len(layout.pictures)
    key = f"{key}.image" if key in RESERVED else key
    return [key] if count == 1 else [f"{key}.{number}" for number in range(count)]


def _channels_first(picture: tuple[int, ...], channels: Channels) -> bool:
    if channels != "auto":
        return channels == "first"
    if picture[2] in COLOURS or picture[0] in COLOURS:
        return picture[2] not in COLOURS
    return picture[0] < picture[2]


def _peak(space: spaces.Box) -> float | None:
    """Return the value of white in a space, None if it holds no pixels."""
    if space.dtype == np.uint8:
        return 255.0
    if np.issubdtype(space.dtype, np.floating) and np.all(space.low == 0.0):
        high = float(np.max(space.high, initial=0.0))
        return high if high in (1.0, 255.0) and np.all(space.high == high) else None
    return None


def flat_size(name: str, space: spaces.Space[Any]) -> int:
    """Return how many numbers an entry becomes in the state.

    Raises:
        ConfigError: If it has no fixed number of them.
    """
    if not space.is_np_flattenable:
        raise ConfigError(f"{name} is {space}, which has no fixed number of components; name others in state_keys.")
    return int(gymnasium.spaces.utils.flatdim(space))
