"""Films of the policy alone: what its cameras see in a success and in failures, small enough to be mailed."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from rl.files import write_atomically
from rl.rollout import Moment

MOST = {"success": 1, "failure": 2}
"""Films of each outcome: the first ones of an evaluation."""
LONGEST = 300
"""Frames of a film: an episode that is longer is shown in larger steps."""
LAST_MS = 1_500
"""How long the last frame stays, [ms]."""
_NAME = re.compile(r"(success|failure)_\d+_\d+\.webp")
QUALITY = 70
"""Of WebP: 40 frames of two cameras of 128 px take some 100 kB."""


@dataclass
class Filmer:
    """Keeps the first success and the first failures of an evaluation; called with each moment of each episode."""

    folder: Path
    cameras: Sequence[str]
    rate_hz: float
    _frames: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    _kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MOST, 0))

    def __post_init__(self) -> None:
        """Make the folder, and clear away the films of an evaluation that is done over."""
        self.folder.mkdir(exist_ok=True)
        for film in films_in(self.folder):
            film.unlink()

    def __call__(self, episode: int, moment: Moment) -> None:
        """Take a frame; when the episode is over, keep the film if there are too few of its outcome."""
        if moment.step == 0:
            self._frames.clear()
        if all(self._kept[outcome] == most for outcome, most in MOST.items()):
            return
        self._frames.append(side_by_side(moment.obs, self.cameras))
        if not moment.is_over:
            return
        outcome = "success" if moment.info.get("is_success") else "failure"
        if self._kept[outcome] < MOST[outcome]:
            self._kept[outcome] += 1
            name = f"{outcome}_{episode:03d}_{moment.step}.webp"
            write_atomically(self.folder / name, animation(self._frames, rate_hz=self.rate_hz))


def films_in(folder: Path) -> list[Path]:
    """Return the films of a run: `OUTCOME_EPISODE_STEPS.webp`, successes first."""
    films = [film for film in folder.glob("*_*_*.webp") if _NAME.fullmatch(film.name) and film.is_file()]
    return sorted(films, key=lambda film: (film.name.startswith("failure"), film.name))


def side_by_side(images: Mapping[str, Any], cameras: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return the images of some cameras beside each other, lower ones on black. Shape (H, W, 3)."""
    seen = [np.asarray(images[camera]) for camera in cameras]
    height = max(image.shape[0] for image in seen)
    padded = [np.pad(image, ((0, height - image.shape[0]), (0, 0), (0, 0))) for image in seen]
    return np.concatenate(padded, axis=1)


def animation(frames: Sequence[npt.NDArray[np.uint8]], *, rate_hz: float) -> bytes:
    """Return frames as an animated WebP that plays in the time that the episode took, over and over."""
    shown = frames[:: -(-len(frames) // LONGEST)]
    period_ms = round(1_000 * len(frames) / len(shown) / rate_hz)
    pictures = [Image.fromarray(frame) for frame in [*shown[:-1], frames[-1]]]
    durations = [period_ms] * (len(pictures) - 1) + [LAST_MS]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        quality=QUALITY,
    )
    return buffer.getvalue()
