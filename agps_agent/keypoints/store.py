"""Marked keypoints on disk: one folder per task, with images, depth, cameras and marks.

`keypoints.json` says what the images are of and where the marks lie; each image is `<name>.png` with its depth in
`<name>_depth.png`, 16 bits in units of 0.1 mm.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rl.errors import AgpsError, ConfigError
from rl.files import write_atomically
from rl.types import RGBDFrame
from tools.scene import load_frame, save_frame

VERSION = 1
FILE = "keypoints.json"
NEAR_PX = 2
"""A mark needs depth within so many pixels."""

Pixel = tuple[float, float]
"""(u, v) in pixels of the image, u to the right, v down."""


@dataclass(frozen=True, kw_only=True)
class MarkedImage:
    """What a camera showed, and where the keypoints are in it."""

    frame: RGBDFrame
    marks: Mapping[str, Pixel]
    """Pixel of each keypoint that was marked, by label; what is hidden has none."""


@dataclass(frozen=True, kw_only=True)
class MarkedKeypoints:
    """All that was marked of a task."""

    task: str
    images: tuple[MarkedImage, ...]

    def count(self, label: str) -> int:
        """Return in how many images a keypoint is marked."""
        return sum(label in image.marks for image in self.images)

    def missing(self, labels: Sequence[str]) -> list[str]:
        """Return which keypoints are marked in no image."""
        return [label for label in labels if not self.count(label)]


def default_folder(task: str) -> Path:
    """Return where the marks of a task lie if nobody says where: `keypoints/TASK`."""
    return Path("keypoints") / task


def check_mark(frame: RGBDFrame, label: str, uv: Pixel) -> Pixel:
    """Return a mark that is in its image and has depth.

    Raises:
        ConfigError: If it is not, or has none.
    """
    height, width = frame.rgb.shape[:2]
    u, v = uv
    if not (0 <= u <= width - 1 and 0 <= v <= height - 1):  # false for NaN too
        raise ConfigError(
            f"The mark of {label} at ({u:g}, {v:g}) is outside of {frame.name}, {width} x {height} px; mark it inside."
        )
    column, row = round(u), round(v)
    near = frame.depth_m[max(0, row - NEAR_PX) : row + NEAR_PX + 1, max(0, column - NEAR_PX) : column + NEAR_PX + 1]
    if not np.any(np.isfinite(near) & (near > 0)):
        raise ConfigError(f"There is no depth at the mark of {label}, ({u:g}, {v:g}) in {frame.name}; mark beside it.")
    return float(u), float(v)


def save_keypoints(keypoints: MarkedKeypoints, folder: Path) -> None:
    """Write marks into a folder, made if missing; the images of before are replaced.

    Raises:
        AgpsError: If it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        described = [
            {
                "name": name,
                "camera": image.frame.name,
                "calibration": save_frame(image.frame, folder / name),
                "marks": {label: [round(value, 2) for value in uv] for label, uv in image.marks.items()},
            }
            for number, image in enumerate(keypoints.images)
            if (name := f"{number:04d}_{image.frame.name}")
        ]
    except OSError as error:
        raise AgpsError(f"Cannot write {folder}: {error.strerror}; make room, or name another folder.") from error
    content = {"version": VERSION, "task": keypoints.task, "images": described}
    write_atomically(folder / FILE, json.dumps(content, indent=1))


def load_keypoints(folder: Path) -> MarkedKeypoints:
    """Return the marks in a folder.

    Raises:
        ConfigError: If there are none, or a file is missing, damaged or of another version.
    """
    if not (folder / FILE).is_file():
        raise ConfigError(f"There are no marked keypoints in {folder}; `agps keypoints mark TASK` makes some.")
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"{FILE} is no JSON object")
        if content["version"] != VERSION:
            raise ValueError(f"it is of version {content['version']}, this program reads {VERSION}")
        if not isinstance(content["task"], str):
            raise ValueError(f"its task is {content['task']!r}")
        task, images = content["task"], tuple(_read_image(folder, image) for image in content["images"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ConfigError(f"The marked keypoints in {folder} are damaged ({said}); mark them again.") from error
    return MarkedKeypoints(task=task, images=images)


def added(folder: Path, new: MarkedKeypoints) -> MarkedKeypoints:
    """Return new marks behind those that are in a folder already, which need not exist.

    Raises:
        ConfigError: If those are damaged, or of another task.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder for the marks.")
    if not (folder / FILE).is_file():
        return new
    old = load_keypoints(folder)
    if old.task != new.task:
        raise ConfigError(f"The marks in {folder} are of {old.task}, not of {new.task}; name another --out.")
    return replace(new, images=(*old.images, *new.images))


def _read_image(folder: Path, described: Mapping[str, Any]) -> MarkedImage:
    name = str(described["name"])
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no name of an image")
    frame = load_frame(folder / name, described["calibration"], camera=str(described["camera"]))
    marks = {
        str(label): check_mark(frame, str(label), (float(uv[0]), float(uv[1])))
        for label, uv in dict(described["marks"]).items()
    }
    return MarkedImage(frame=frame, marks=MappingProxyType(marks))
