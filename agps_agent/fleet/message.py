"""A finished episode on its way from a robot to the learner: its arrays, how it ended, and a key of its own."""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rl.episodes import Episode
from rl.errors import AgpsError
from rl.types import EpisodeOutcome, InterventionEnd

_ABOUT = "about"
"""Array of a message's file that holds the JSON of everything but the arrays."""
_NAME = re.compile(r"([a-z0-9][a-z0-9-]*)__([0-9a-f]+)__(\d+)\.npz")


@dataclass(frozen=True, order=True)
class Key:
    """What tells one episode of a fleet from all others."""

    robot: str
    """The robot's name."""
    run: str
    """Hexadecimal name of the robot's process; each that is started has a new one, greater than those before."""
    number: int
    """Of the episode in that process, counting from 0."""

    @property
    def file(self) -> str:
        """Name of the file that holds the episode; names sort as keys do."""
        return f"{self.robot}__{self.run}__{self.number:08d}.npz"

    @classmethod
    def of_file(cls, name: str) -> "Key | None":
        """Return the key of a file's name; None for a file that holds no episode."""
        match = _NAME.fullmatch(name)
        return None if match is None else cls(match[1], match[2], int(match[3]))


@dataclass(frozen=True, kw_only=True)
class EpisodeMessage:
    """One finished episode of one robot, whole."""

    key: Key
    episode: Episode
    """As demonstrations lie on disk, with what a teacher said of it."""
    outcome: EpisodeOutcome
    """How it ended; without the arm's last measurement, which only the robot's own supervisor needs."""
    info: Mapping[str, Any]
    """What the environment said at its last step, as far as a row of the run needs it."""
    noted: Mapping[str, Any]
    """What the robot's supervisor noted of the rollout."""

    @property
    def steps(self) -> int:
        """Control steps."""
        return len(self.episode["action"])


def to_bytes(message: EpisodeMessage) -> bytes:
    """Return a message as a file's content: NumPy arrays and JSON, no pickle."""
    outcome = {**asdict(message.outcome), "final_robot": None}
    about = {"key": asdict(message.key), "outcome": outcome, "info": message.info, "noted": message.noted}
    text = json.dumps(about, default=_plain).encode()
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {**message.episode, _ABOUT: np.frombuffer(text, np.uint8)}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def from_bytes(content: bytes) -> EpisodeMessage:
    """Return the message that `to_bytes` wrote.

    Raises:
        AgpsError: If it is damaged.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        about = json.loads(arrays.pop(_ABOUT).tobytes())
        told = about["outcome"]
        ends = tuple(InterventionEnd(**end) for end in told["interventions"])
        outcome = EpisodeOutcome(**{**told, "interventions": ends, "intervention_ids": tuple(told["intervention_ids"])})
        return EpisodeMessage(
            key=Key(**about["key"]), episode=arrays, outcome=outcome, info=about["info"], noted=about["noted"]
        )
    except (OSError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise AgpsError(f"An episode of a robot is damaged ({error}); it is left out.") from error


def _plain(value: object) -> object:
    """Return NumPy scalars and arrays as JSON knows them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent with an episode")
