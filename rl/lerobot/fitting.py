"""A LeRobotDataset as demonstrations of a task: whether it fits, and its episodes as ours."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rl.demonstrations import read_episode
from rl.episodes import GUIDED, STATE, Episode, check_episode
from rl.errors import ConfigError
from rl.lerobot.dataset import Dataset, Feature
from rl.lerobot.layout import (
    ACTION_KEY,
    ACTOR_KEY,
    ACTORS,
    BESIDE,
    DONE,
    INTERVENTION,
    REWARD,
    STATE_KEY,
    SUCCESS,
    TRUNCATED,
    camera_key,
)
from rl.lerobot.recorded import ACTOR
from rl.lerobot.video import VideoReader
from rl.types import ByteArray

logger = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What demonstrations of a task must be like."""

    task: str
    cameras: tuple[str, ...]
    image_size: int
    """Side of the images, [px]."""
    state: int
    """Components of the state."""
    action: int
    """Components of an action."""
    rate_hz: float
    """Control steps per second."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Keys of the dataset by camera, where they are not called as here."""
    last_frame_succeeds: bool = False
    """Every episode ends in success, whatever the dataset says."""


def fitted_episodes(dataset: Dataset, wanted: Wanted) -> Iterator[Episode]:
    """Yield the episodes of a dataset that succeeded, in their order.

    Args:
        dataset: Where they are.
        wanted: What they must be like.

    Raises:
        ConfigError: If the dataset does not fit, nobody knows which episodes succeeded, or values are unsound.
    """
    keys = check_fits(dataset, wanted)
    beside = _Beside(dataset)
    shapes = dict.fromkeys(wanted.cameras, (wanted.image_size, wanted.image_size, 3))

    def small(image: ByteArray) -> ByteArray:
        return squared(image, wanted.image_size)

    with ExitStack() as opened:
        readers = {key: opened.enter_context(VideoReader(fps=dataset.fps)) for key in keys.values()}
        for number in range(len(dataset.episodes)):
            episode = _numbers(dataset, number, wanted)
            steps = len(episode["action"])
            if not (episode["terminated"][-1] and episode["reward"][-1] > 0.0):
                continue
            state = dataset.column(number, STATE_KEY).reshape(-1, wanted.state).astype(np.float32)
            episode[STATE] = _with_last(state, steps, beside.last(STATE_KEY, number))
            for camera, key in keys.items():
                images = np.stack(dataset.images(number, key, readers[key], small))
                last = beside.last(key, number)
                episode[camera] = _with_last(images, steps, None if last is None else small(last))
            episode |= beside.seed(number)
            check_episode(episode, shapes, wanted.state, wanted.action, where=dataset.name_of(number))
            yield episode


def check_fits(dataset: Dataset, wanted: Wanted) -> dict[str, str]:
    """Return the key of each camera's images.

    Raises:
        ConfigError: Says what the dataset has and what the task wants.
    """
    keys = _camera_keys(dataset, wanted)
    images = {feature.key: feature for feature in dataset.cameras if feature.image_shape[2:] == (3,)}
    if any(key not in images for key in keys.values()):
        has = _listed([str(feature) for feature in dataset.cameras]) or "no images"
        side = f"{wanted.image_size}x{wanted.image_size}"
        raise ConfigError(
            f"{dataset.folder} has {has}; {wanted.task} wants {_listed(list(wanted.cameras))} of {side}, in three "
            "channels. Say which is which with --camera NAME=KEY; any size is resized."
        )
    for key, size in ((STATE_KEY, wanted.state), (ACTION_KEY, wanted.action)):
        _check_vector(dataset, key, size, wanted)
    if abs(dataset.fps - wanted.rate_hz) > 1e-3 * wanted.rate_hz:
        raise ConfigError(
            f"{dataset.folder} has {dataset.fps:g} frames per second; {wanted.task} acts {wanted.rate_hz:g} times per "
            "second, and an action is one step's. Resample it first."
        )
    return keys


def _camera_keys(dataset: Dataset, wanted: Wanted) -> dict[str, str]:
    for camera, key in wanted.renamed.items():
        if camera not in wanted.cameras:
            raise ConfigError(
                f"--camera {camera}={key}: {wanted.task} has no camera {camera}, but {_listed(list(wanted.cameras))}."
            )
        if key not in dataset.features and camera_key(key) not in dataset.features:
            has = _listed([feature.key for feature in dataset.cameras]) or "no images"
            raise ConfigError(f"--camera {camera}={key}: {dataset.folder} has {has}.")
    named = {camera: wanted.renamed.get(camera, camera_key(camera)) for camera in wanted.cameras}
    return {camera: key if key in dataset.features else camera_key(key) for camera, key in named.items()}


def _check_vector(dataset: Dataset, key: str, size: int, wanted: Wanted) -> None:
    feature = dataset.features.get(key)
    if feature is not None and feature.shape == (size,) and feature.dtype[:5] == "float":
        return
    has = f"no {key}" if feature is None else f"{key} of {_sized(feature)}"
    raise ConfigError(
        f"{dataset.folder} has {has}; {wanted.task} wants {size} numbers there, as docs/data.md names them."
    )


def _sized(feature: Feature) -> str:
    names = f" ({', '.join(feature.names)})" if feature.names else ""
    return f"{' x '.join(map(str, feature.shape))} numbers of type {feature.dtype}{names}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)


def _numbers(dataset: Dataset, number: int, wanted: Wanted) -> Arrays:
    """Return actions, rewards and how an episode ended, cut after its success."""
    action = dataset.column(number, ACTION_KEY).reshape(-1, wanted.action).astype(np.float32)
    given = {key: dataset.column(number, key) for key in (REWARD, DONE, TRUNCATED, SUCCESS) if key in dataset.features}
    steps = len(action)
    last = np.arange(steps) == steps - 1
    if wanted.last_frame_succeeds:
        ends = {"reward": last.astype(np.float32), "terminated": last, "truncated": np.zeros(steps, np.bool_)}
    elif REWARD in given:
        ends = {"reward": given[REWARD].astype(np.float32), **_flags(given, last)}
    elif SUCCESS in given:
        succeeded = given[SUCCESS].astype(np.bool_)
        steps = int(np.argmax(succeeded)) + 1 if succeeded.any() else steps
        last = np.arange(len(action)) == steps - 1
        ends = {"reward": succeeded.astype(np.float32), "terminated": last & succeeded, "truncated": last & ~succeeded}
    else:
        raise ConfigError(
            f"{dataset.folder} has neither {REWARD} nor {SUCCESS}: which episodes succeeded? If all did, add "
            "--success last-frame."
        )
    rows = {"action": action, **ends, **_who(dataset, number)}
    return {key: values[:steps] for key, values in rows.items()}


def _flags(given: Mapping[str, npt.NDArray[Any]], last: npt.NDArray[np.bool_]) -> Arrays:
    """Return where an episode with rewards terminated or was truncated."""
    done = given.get(DONE, last).astype(np.bool_)
    if TRUNCATED in given:
        truncated = given[TRUNCATED].astype(np.bool_)
        return {"terminated": done & ~truncated, "truncated": truncated}
    succeeded = given.get(SUCCESS, given[REWARD])[-1] > 0
    terminated = last & succeeded
    return {"terminated": terminated, "truncated": (done | last) & ~terminated}


def _who(dataset: Dataset, number: int) -> Arrays:
    """Return what a dataset says of who acted."""
    said: Arrays = {}
    if INTERVENTION in dataset.features:
        said[GUIDED] = dataset.column(number, INTERVENTION) > 0.5
    if ACTOR_KEY in dataset.features:
        actors = dataset.column(number, ACTOR_KEY).astype(np.int64)
        said[ACTOR] = np.where((actors >= 0) & (actors < len(ACTORS)), actors, ACTORS.index("unknown"))
    return said


def _with_last(rows: npt.NDArray[Any], steps: int, beside: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """Return the observations of an episode: one more than its actions.

    The format keeps none after the last action. Where no row follows and nothing lies beside, the last one stands for
    it, as in LeRobot's own replay memory; a task that has terminated is not asked what comes after.
    """
    if steps < len(rows):
        return rows[: steps + 1]
    return np.concatenate([rows, rows[-1:] if beside is None else beside[np.newaxis]])


class _Beside:
    """What an export of ours keeps beside the format; nothing where the dataset has been changed since."""

    def __init__(self, dataset: Dataset) -> None:
        self._arrays: Arrays = {}
        path = dataset.folder / BESIDE
        if not path.is_file():
            return
        try:
            arrays = read_episode(path)
        except ConfigError as error:
            raise ConfigError(f"{path} is damaged; get the dataset anew, or delete this file.") from error
        lengths = [dataset.steps_of(number) for number in range(len(dataset.episodes))]
        whole = all(len(np.atleast_1d(array)) == len(lengths) for array in arrays.values())
        if whole and np.array_equal(arrays.get("length", ()), lengths):
            self._arrays = dict(arrays)
        else:
            logger.warning("%s is of other episodes than the dataset; last frames stand for what came after.", path)

    def last(self, key: str, number: int) -> npt.NDArray[Any] | None:
        """Return what was observed under a key after an episode's last action."""
        return self._arrays[key][number] if key in self._arrays else None

    def seed(self, number: int) -> Arrays:
        """Return the seed that an episode started from."""
        seed = int(self._arrays["seed"][number]) if "seed" in self._arrays else -1
        return {} if seed < 0 else {"seed": np.array(seed, np.int64)}


def squared(image: ByteArray, size: int) -> ByteArray:
    """Return the middle square of an image, as a station's cameras give it, resized by area. Shape (size, size, 3)."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=how), np.uint8)
