"""A folder of episodes that grows by one at a time: whatever ends a recording, the episodes before it are on disk.

It holds a manifest and one `episode_NNN.npz` each, as folders do that are written at once (`rl.demonstrations`). Cut
between an episode and its manifest, it has one episode more than the manifest counts, and that one is whole.
"""

import contextlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.errors import AgpsError


def is_in_use(folder: Path) -> bool:
    """Return whether anything is in the way of a new folder; what a crash left half written is hidden, and is not."""
    return folder.exists() and (not folder.is_dir() or any(entry.name[0] != "." for entry in folder.iterdir()))


def keep_episode(
    manifest: Path,
    episode: Mapping[str, npt.NDArray[Any]],
    *,
    number: int,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    """Add an episode to a folder, which its first one makes; both are on disk on return.

    Args:
        manifest: File that says what is in the folder.
        episode: Arrays by name.
        number: How many there are before it.
        before: The manifest without it.
        after: The manifest with it.

    Raises:
        AgpsError: If the disk refuses; the episodes before it are still there.
    """
    path = manifest.with_name(f"episode_{number:03d}.npz")
    try:
        if number == 0:  # an episode without a manifest would be nobody's
            manifest.parent.mkdir(parents=True, exist_ok=True)
            _write(manifest, _as_json(before))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **dict[str, Any](episode))
        _write(path, buffer.getvalue())
        _write(manifest, _as_json(after))
    except OSError as error:
        reason = error.strerror or str(error)
        raise AgpsError(f"Cannot save {path}: {reason}; make room, then record the rest.") from error


def _as_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or as it was."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
