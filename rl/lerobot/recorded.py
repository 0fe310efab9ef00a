"""What is exported: episodes on disk, what they are of, who acted in them; and what came of the export."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.envs.datasheet import Component
from rl.episodes import GUIDED, Episode
from rl.errors import ConfigError
from rl.lerobot.layout import ACTORS

ACTOR = "actor"
"""What an imported episode calls who acted at each step: positions in `ACTORS`. Shape (T,), int64."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One episode on disk."""

    path: Path
    actor: str
    """Who gave the actions that nobody guided: one of `ACTORS`."""
    guide: str
    """Who gave those that were guided."""

    def actors(self, episode: Episode) -> npt.NDArray[np.int64]:
        """Return who acted at each step of the episode that was read from the file. Shape (T,).

        Raises:
            ConfigError: If the file says it, and nothing that can be.
        """
        steps = len(episode["action"])
        if ACTOR not in episode:
            guided = episode.get(GUIDED, np.zeros(steps, np.bool_))
            return np.where(guided, ACTORS.index(self.guide), ACTORS.index(self.actor)).astype(np.int64)
        said = np.asarray(episode[ACTOR])
        if said.shape != (steps,) or said.dtype.kind not in "iu" or not ((said >= 0) & (said < len(ACTORS))).all():
            raise ConfigError(
                f"'{ACTOR}' of {self.path} must be {steps} whole numbers from 0 to {len(ACTORS) - 1}; leave it out."
            )
        return said.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class About:
    """What recorded episodes are of."""

    task: str
    """Name of the task."""
    instruction: str
    """One sentence that says what to do."""
    robot: str
    """Where they were recorded, as --robot says it."""
    fps: int
    """Control steps per second."""
    state: Sequence[Component]
    action: Sequence[Component]
    source: str
    """Where they come from, in words."""
    manifest: dict[str, Any]
    """What else is known of them, as JSON takes it."""


@dataclass(frozen=True, kw_only=True)
class ColourError:
    """How far decoded images are from the recorded ones, in grey values of 255, over all pixels and channels."""

    mean: float
    """Of the absolute difference."""
    max: int
    """The largest."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A dataset that was written."""

    episodes: int
    successes: int
    frames: int
    codec: str
    colour_error: Mapping[str, ColourError]
    """Per camera."""

    @property
    def mean_error(self) -> float:
        """Mean over the cameras, [grey values]; 0 where there is none."""
        errors = [error.mean for error in self.colour_error.values()]
        return float(np.mean(errors)) if errors else 0.0

    @property
    def max_error(self) -> int:
        """Largest of any camera, [grey values]; 0 where there is none."""
        return max((error.max for error in self.colour_error.values()), default=0)
