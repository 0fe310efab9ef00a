"""A dataset that is being written, episode by episode: parquet files, videos, and what they are listed in."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.lerobot import statistics
from rl.lerobot.layout import DATA, EPISODES, INFO, STATS, TASKS, FilePlace, Limits
from rl.lerobot.software import load_arrow
from rl.lerobot.video import PIXELS, VideoTrack
from rl.types import ByteArray

Columns = Mapping[str, npt.NDArray[Any]]
"""Rows of an episode by key: (T,), or (T, n) for a vector."""


class DatasetWriter:
    """Files below a folder in the layout of LeRobotDataset v3.0."""

    def __init__(self, root: Path, *, fps: int, instruction: str, encoder: str, limits: Limits | None = None) -> None:
        """Begin an empty dataset.

        Args:
            root: Folder that is there and empty.
            fps: Rows per second.
            instruction: The one task of all episodes.
            encoder: Of the videos.
            limits: When a new file is begun.
        """
        self.limits = limits or Limits()
        self.episodes: list[dict[str, Any]] = []
        """Rows of meta/episodes so far."""
        self._root, self._fps, self._instruction, self._encoder = root, fps, instruction, encoder
        self._tables = _Tables(root, self.limits)
        self._tracks: dict[str, VideoTrack] = {}
        self._histograms: dict[str, list[statistics.Histogram]] = {}
        self._columns: list[Columns] = []

    @property
    def total_frames(self) -> int:
        """Rows so far."""
        return int(self.episodes[-1]["dataset_to_index"]) if self.episodes else 0

    def add(self, columns: Columns, images: Mapping[str, ByteArray]) -> None:
        """Append an episode.

        Args:
            columns: By key of a feature.
            images: By key of a feature. Each (T, H, W, 3).

        Raises:
            AgpsError: If a video cannot be written.
        """
        number, first = len(self.episodes), self.total_frames
        steps = len(next(iter(columns.values())))
        columns = {**columns, **self._counted(number, first, steps)}
        row: dict[str, Any] = {"episode_index": number, "tasks": [self._instruction], "length": steps}
        row |= {"dataset_from_index": first, "dataset_to_index": first + steps}
        place = self._tables.add(columns)
        row |= {"data/chunk_index": place.chunk, "data/file_index": place.file}
        about = {key: statistics.of_table(values) for key, values in columns.items()}
        for key, frames in images.items():
            row |= self._add_video(key, frames)
            counts = statistics.histogram(frames)
            self._histograms.setdefault(key, []).append(counts)
            about[key] = statistics.of_images(counts, steps)
        self._columns.append(columns)
        self.episodes.append(
            {**row, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0, **statistics.columns(about)}
        )

    def finish(self, info: Mapping[str, Any]) -> None:
        """Close the files, and write what lists them: info.json with the totals, statistics, tasks and episodes."""
        self._tables.close()
        for track in self._tracks.values():
            track.close()
        arrow = load_arrow()
        _write_table(arrow, self._root / FilePlace().path(EPISODES), arrow.Table.from_pylist(self.episodes))
        _write_table(arrow, self._root / TASKS, _tasks_table(arrow, self._instruction))
        _write_json(self._root / STATS, self._statistics())
        totals = {"total_episodes": len(self.episodes), "total_frames": self.total_frames, "total_tasks": 1}
        _write_json(self._root / INFO, {**info, **totals, "splits": {"train": f"0:{len(self.episodes)}"}})

    def _counted(self, number: int, first: int, steps: int) -> Columns:
        """Return the columns that LeRobot fills in by itself."""
        frames = np.arange(steps, dtype=np.int64)
        return {
            "timestamp": (frames / self._fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(steps, number, np.int64),
            "index": first + frames,
            "task_index": np.zeros(steps, np.int64),
        }

    def _add_video(self, key: str, frames: ByteArray) -> dict[str, Any]:
        if key not in self._tracks:
            self._tracks[key] = VideoTrack(self._root, key, fps=self._fps, encoder=self._encoder, limits=self.limits)
        span = self._tracks[key].add(frames)
        where: dict[str, float] = {"chunk_index": span.place.chunk, "file_index": span.place.file}
        where |= {"from_timestamp": span.from_s, "to_timestamp": span.to_s}
        return {f"videos/{key}/{name}": value for name, value in where.items()}

    def _statistics(self) -> dict[str, statistics.Statistics]:
        keys = self._columns[0]
        about = {key: statistics.of_table(np.concatenate([each[key] for each in self._columns])) for key in keys}
        for key, counts in self._histograms.items():
            about[key] = statistics.of_images(statistics.total(counts), self.total_frames)
        return about


class _Tables:
    """The parquet files of the rows, several episodes in each, one row group per episode."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root, self._limits = root, limits
        self._place = FilePlace()
        self._writer: Any = None
        self._bytes = 0

    def add(self, columns: Columns) -> FilePlace:
        """Append an episode's rows and return the file that they are in."""
        arrow = load_arrow()
        table = arrow.table({key: _array(arrow, values) for key, values in columns.items()})
        if self._writer is not None and self._bytes + table.nbytes > self._limits.data_mb * 2**20:
            self.close()
            self._place = self._place.next(self._limits)
        if self._writer is None:
            path = self._root / self._place.path(DATA)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer, self._bytes = arrow.parquet.ParquetWriter(path, table.schema), 0
        self._writer.write_table(table)
        self._bytes += table.nbytes
        return self._place

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _array(arrow: Any, values: npt.NDArray[Any]) -> Any:
    """Return a column: numbers, or lists of equal length."""
    if values.ndim == 1:
        return arrow.array(values)
    flat = arrow.array(np.ascontiguousarray(values).ravel())
    return arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _tasks_table(arrow: Any, instruction: str) -> Any:
    """Return the table of tasks. LeRobot looks them up by the index that pandas keeps in the schema's metadata."""
    table = arrow.table({"task_index": arrow.array([0], arrow.int64()), "task": [instruction]})

    def described(name: str, kind: str, numpy_type: str) -> dict[str, Any]:
        return {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type, "metadata": None}

    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [described("task_index", "int64", "int64"), described("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": arrow.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _write_table(arrow: Any, path: Path, table: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrow.parquet.write_table(table, path)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def features(
    columns: Mapping[str, tuple[str, int]], cameras: Mapping[str, tuple[int, int, int]], fps: int
) -> dict[str, Any]:
    """Return features of info.json without names.

    Args:
        columns: Type and number of components by key.
        cameras: Shape of an image by key, (H, W, 3).
        fps: Frames per second.
    """
    plain: dict[str, Any] = {
        key: {"dtype": dtype, "shape": [size], "names": None} for key, (dtype, size) in columns.items()
    }
    return plain | {key: _video_feature(shape, fps) for key, shape in cameras.items()}


def _video_feature(shape: Sequence[int], fps: int) -> dict[str, Any]:
    height, width, channels = shape
    return {
        "dtype": "video",
        "shape": [height, width, channels],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": height,
            "video.width": width,
            "video.channels": channels,
            "video.pix_fmt": PIXELS,
            "video.fps": fps,
            "video.is_depth_map": False,
            "has_audio": False,
        },
    }


def counted() -> Iterable[tuple[str, tuple[str, int]]]:
    """Return type and size of the columns that every dataset has."""
    yield "timestamp", ("float32", 1)
    for key in ("frame_index", "episode_index", "index", "task_index"):
        yield key, ("int64", 1)
