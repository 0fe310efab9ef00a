"""What video does to colours: the images of a dataset that was written, decoded and held against the recorded ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rl.demonstrations import sound_episodes
from rl.episodes import Layout
from rl.errors import AgpsError, ConfigError
from rl.lerobot.layout import VIDEO, FilePlace, camera_key
from rl.lerobot.recorded import ColourError, Recorded
from rl.lerobot.video import VideoReader
from rl.types import ByteArray


@dataclass
class _Sum:
    """Of the absolute differences of one camera's images."""

    total: int = 0
    values: int = 0
    largest: int = 0

    def add(self, decoded: ByteArray, recorded: ByteArray) -> None:
        difference = np.abs(decoded.astype(np.int16) - recorded)
        self.total += int(difference.sum(dtype=np.int64))
        self.values += difference.size
        self.largest = max(self.largest, int(difference.max()))


def measure(
    root: Path, recorded: Sequence[Recorded], rows: Sequence[Mapping[str, Any]], layout: Layout, *, fps: int
) -> dict[str, ColourError]:
    """Return the colour error per camera, over every frame as a reader decodes it.

    Args:
        root: Folder of the dataset.
        recorded: Its episodes as they were recorded.
        rows: Their rows of meta/episodes.
        layout: Of the episodes.
        fps: Frames per second.

    Raises:
        AgpsError: If a frame is not where it should be.
    """
    sums = {name: _Sum() for name in layout.images}
    readers = {name: VideoReader(fps=fps) for name in layout.images}
    for (_, episode), row in zip(sound_episodes(record.path for record in recorded), rows, strict=True):
        for name, reader in readers.items():
            sums[name].add(_decoded(reader, root, camera_key(name), row, fps=fps), episode[name][:-1])
    for reader in readers.values():
        reader.close()
    return {name: ColourError(mean=each.total / each.values, max=each.largest) for name, each in sums.items()}


def _decoded(reader: VideoReader, root: Path, key: str, row: Mapping[str, Any], *, fps: int) -> ByteArray:
    place = FilePlace(chunk=row[f"videos/{key}/chunk_index"], file=row[f"videos/{key}/file_index"])
    times = row[f"videos/{key}/from_timestamp"] + np.arange(row["length"]) / fps
    try:
        return np.stack(reader.frames(root / place.path(VIDEO, key), times.tolist()))
    except ConfigError as error:
        raise AgpsError(f"The codec lost a frame, nothing was exported: {error}") from error
