"""Where things lie in a LeRobotDataset v3.0 and what they are called; the same for writing and reading."""

from dataclasses import dataclass

from rl.errors import ConfigError

VERSION = "v3.0"

INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
CARD = "README.md"
BESIDE = "agps/episodes.npz"
"""Ours, beside the format: what it has no place for. Per episode, in their order: its steps under `length`, the
observation after its last action under the keys of the features, and under `seed` that of its start, -1 for none."""

STATE_KEY = "observation.state"
ACTION_KEY = "action"
CAMERA_PREFIX = "observation.images."
REWARD, DONE, TRUNCATED, SUCCESS = "next.reward", "next.done", "next.truncated", "next.success"
"""Of the action in the same row. `next.done`: the episode ends, for whatever reason."""
INTERVENTION = "complementary_info.is_intervention"
"""1 where somebody guided: the name that datasets with human corrections use."""
ACTOR_KEY = "complementary_info.actor"
"""Who gave the action, as a number: the position in `ACTORS`."""
ACTORS = ("policy", "agent", "human", "expert", "unknown")
CONVERTER = "python -m lerobot.scripts.convert_dataset_v21_to_v30"
"""LeRobot's own command for a dataset of v2.1; it takes --repo-id and --root."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much goes into one file and one folder; the defaults are LeRobot's."""

    chunks_size: int = 1000
    """Files in one chunk."""
    data_mb: int = 100
    """Size from which on a new data file is begun, [MB]."""
    video_mb: int = 200
    """Size from which on a new video is begun, [MB]."""


@dataclass(frozen=True, kw_only=True)
class FilePlace:
    """Number of a file, and of the chunk that it is in."""

    chunk: int = 0
    file: int = 0

    def next(self, limits: Limits) -> "FilePlace":
        """Return the place of the file after this one."""
        if self.file + 1 < limits.chunks_size:
            return FilePlace(chunk=self.chunk, file=self.file + 1)
        return FilePlace(chunk=self.chunk + 1, file=0)

    def path(self, template: str, key: str = "") -> str:
        """Return the path by a template of info.json.

        Raises:
            ConfigError: If the template is none.
        """
        try:
            return template.format(chunk_index=self.chunk, file_index=self.file, video_key=key)
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"{INFO} names files by {template!r}, which cannot be filled in ({error}); it is damaged."
            ) from error


def camera_key(camera: str) -> str:
    """Return the key of a camera's images."""
    return f"{CAMERA_PREFIX}{camera}"
