"""Any LeRobotDataset v3.0 on disk, read by its info.json."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from rl.errors import AgpsError, ConfigError
from rl.files import read_json_object
from rl.lerobot.layout import CONVERTER, DATA, INFO, VERSION, VIDEO, FilePlace
from rl.lerobot.software import load_arrow
from rl.lerobot.video import VideoReader
from rl.types import ByteArray

ANEW = "get the dataset anew"
IMAGES = ("video", "image")
"""Types of features that are images: in mp4 files, or as picture files within the rows."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One entry of `features` in info.json."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    """Of its components, or of its axes; empty where it has none."""

    @property
    def is_image(self) -> bool:
        """Whether it holds images."""
        return self.dtype in IMAGES

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width and channels, in whatever order the shape has them; the shape where it is no image's."""
        if len(self.shape) != 3:
            return self.shape
        first = self.names[0][:1] == "c" if self.names else self.shape[0] in (1, 3) and self.shape[2] not in (1, 3)
        return (*self.shape[1:], self.shape[0]) if first else self.shape

    def __str__(self) -> str:
        """Return key and size as messages tell them."""
        size = self.image_shape[:2] if self.is_image else self.shape
        return f"{self.key} {'x'.join(map(str, size))}"


class Dataset:
    """A folder in the format; what is read is checked on the way."""

    def __init__(self, folder: Path) -> None:
        """Open a dataset.

        Raises:
            ConfigError: If there is none, it is of another version, or incomplete.
        """
        self.folder = Path(folder)
        self.info = _read_info(self.folder)
        self.features = _features(self.info, self.folder)
        self.fps = _positive(self.info, "fps", self.folder)
        self.episodes = self._read_episodes()
        """Rows of meta/episodes, in the order of their numbers."""
        self._table: tuple[Path, Any] | None = None

    @property
    def cameras(self) -> tuple[Feature, ...]:
        """Features that hold images."""
        return tuple(feature for feature in self.features.values() if feature.is_image)

    def name_of(self, number: int) -> str:
        """Return how messages name an episode."""
        return f"episode {self.episodes[number]['episode_index']} of {self.folder}"

    def steps_of(self, number: int) -> int:
        """Return the number of rows of an episode."""
        return int(self.episodes[number]["length"])

    def column(self, number: int, key: str) -> npt.NDArray[Any]:
        """Return a feature of an episode's rows: (T,) if it has one component, else (T, n).

        Raises:
            ConfigError: If it is not there, or not what info.json says.
        """
        column, size = self._rows(number, key), int(np.prod(self.features[key].shape))
        try:
            values = np.array(column.to_pylist() if size > 1 else column.to_numpy(zero_copy_only=False))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{key} of {self.name_of(number)} is no table of numbers ({error}); {ANEW}.") from error
        values = values.reshape(len(values), -1) if values.dtype != object else values
        if values.dtype.kind not in "fiub" or values.shape != (len(values), size):
            raise ConfigError(
                f"{key} of {self.name_of(number)} does not hold {size} numbers in each row, as {INFO} says; {ANEW}."
            )
        return values[:, 0] if size == 1 else values

    def images(
        self, number: int, key: str, reader: VideoReader, take: Callable[[ByteArray], ByteArray]
    ) -> list[ByteArray]:
        """Return what `take` makes of each image of an episode, (H, W, 3), uint8.

        Args:
            number: Position of the episode.
            key: Feature that holds images.
            reader: One for each such feature, from the first episode on.
            take: From an image.

        Raises:
            ConfigError: If one is missing or damaged.
        """
        if self.features[key].dtype == "image":
            return [take(image) for image in self._pictures(number, key)]
        row = self.episodes[number]
        place = self._place(row, f"videos/{key}", number)
        path = self.folder / place.path(str(self.info.get("video_path") or VIDEO), key)
        start_s = self._entry(row, f"videos/{key}/from_timestamp", number)
        # From the row's number: the stored time stamps are rounded to float32, half a frame off after some hours.
        return reader.frames(path, (start_s + np.arange(self.steps_of(number)) / self.fps).tolist(), take)

    def _pictures(self, number: int, key: str) -> Iterator[ByteArray]:
        for cell in self._rows(number, key).to_pylist():
            try:
                with Image.open(io.BytesIO(cell["bytes"])) as picture:
                    yield np.asarray(picture.convert("RGB"))
            except (OSError, KeyError, TypeError) as error:
                raise ConfigError(f"An image {key} of {self.name_of(number)} is damaged ({error}); {ANEW}.") from error

    def _rows(self, number: int, key: str) -> Any:
        """Return a column of an episode's rows, in the order of time."""
        row = self.episodes[number]
        path = self.folder / self._place(row, "data", number).path(str(self.info.get("data_path") or DATA))
        if self._table is None or self._table[0] != path:
            self._table = (path, self._read_table(path))
        arrow, table = load_arrow(), self._table[1]
        for needed in ("episode_index", "frame_index", key):
            if needed not in table.column_names:
                raise ConfigError(f"{path} has no column {needed}; {ANEW}.")
        mine = table.select(list(dict.fromkeys(("episode_index", "frame_index", key))))
        mine = mine.filter(arrow.compute.equal(mine["episode_index"], row["episode_index"])).sort_by("frame_index")
        if mine["frame_index"].to_pylist() != list(range(self.steps_of(number))):
            raise ConfigError(
                f"{path} has {len(mine)} rows of {self.name_of(number)}, not one for each of its "
                f"{self.steps_of(number)} frames; {ANEW}."
            )
        return mine[key].combine_chunks()

    def _read_episodes(self) -> list[dict[str, Any]]:
        paths = sorted(self.folder.glob("meta/episodes/*/*.parquet"))
        if not paths:
            raise ConfigError(f"There is nothing in {self.folder / 'meta/episodes'}; {ANEW}, with all of its meta/.")
        rows: list[dict[str, Any]] = []
        for path in paths:
            table = self._read_table(path)
            rows += table.select([name for name in table.column_names if not name.startswith("stats/")]).to_pylist()
        for row in rows:
            if not all(isinstance(row.get(key), int) for key in ("episode_index", "length")):
                raise ConfigError(f"An episode in {self.folder / 'meta/episodes'} has no number or length; {ANEW}.")
            if row["length"] < 1:
                raise ConfigError(
                    f"There are no steps in episode {row['episode_index']} of {self.folder}; leave it out."
                )
        return sorted(rows, key=lambda row: int(row["episode_index"]))

    def _read_table(self, path: Path) -> Any:
        arrow = load_arrow()
        try:
            return arrow.parquet.read_table(path)
        except FileNotFoundError:
            raise ConfigError(f"There is no {path}; {ANEW}, with its data.") from None
        except (arrow.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"{path} is damaged ({reason}); {ANEW}.") from error

    def _place(self, row: Mapping[str, Any], what: str, number: int) -> FilePlace:
        chunk, file = (int(self._entry(row, f"{what}/{name}", number)) for name in ("chunk_index", "file_index"))
        return FilePlace(chunk=chunk, file=file)

    def _entry(self, row: Mapping[str, Any], name: str, number: int) -> float:
        value = row.get(name)
        if not isinstance(value, int | float):
            raise ConfigError(f"meta/episodes does not say {name} of {self.name_of(number)}; {ANEW}.")
        return value


def _read_info(folder: Path) -> dict[str, Any]:
    """Return info.json.

    Raises:
        ConfigError: If there is none, it is damaged, or of a version that this does not read.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder {folder}; a dataset of the Hugging Face Hub is downloaded first: "
            f"`hf download USER/NAME --repo-type dataset --local-dir {folder}`."
        )
    if not (folder / INFO).is_file():
        raise ConfigError(f"{folder} is no LeRobotDataset: it has no {INFO}; name the folder that has one.")
    try:
        info = read_json_object(folder / INFO)
    except AgpsError as error:
        raise ConfigError(f"{error} {ANEW.capitalize()}.") from error
    version = str(info.get("codebase_version"))
    if version.startswith("v2."):
        raise ConfigError(
            f"{folder} is a LeRobotDataset {version}, and {VERSION} is read here; convert it with LeRobot's "
            f"`{CONVERTER} --repo-id={folder.name} --root={folder}`."
        )
    if not version.startswith("v3."):
        raise ConfigError(f"{folder} is a LeRobotDataset of version {version}; {VERSION} is read here.")
    if info.get("storage_format", "parquet") == "lance":
        raise ConfigError(f"{folder} is stored as Lance tables; export it as parquet and mp4 first.")
    return info


def _features(info: Mapping[str, Any], folder: Path) -> dict[str, Feature]:
    described = info.get("features")
    if not isinstance(described, dict):
        raise ConfigError(f"{folder / INFO} has no features; {ANEW}.")
    features = {}
    for key, about in described.items():
        shape = about.get("shape") if isinstance(about, dict) else None
        if not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
            raise ConfigError(f"{folder / INFO} gives {key} no shape; {ANEW}.")
        names = tuple(_leaves(about.get("names")))
        features[key] = Feature(key=key, dtype=str(about.get("dtype")), shape=tuple(shape), names=names)
    return features


def _leaves(names: Any) -> Iterator[str]:
    """Yield names from the lists, and the lists in dictionaries, that datasets have for them."""
    if isinstance(names, str):
        yield names
    elif isinstance(names, Mapping):
        for key, value in names.items():
            yield from _leaves(value) if isinstance(value, Sequence) else (str(key),)
    elif isinstance(names, Sequence):
        for each in names:
            yield from _leaves(each)


def _positive(info: Mapping[str, Any], name: str, folder: Path) -> float:
    value = info.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ConfigError(f"{folder / INFO} says {name} is {value!r}; it must be more than 0.")
    return float(value)
