"""Finished episodes on disk, each until whoever must have it says so; whatever kills the process, they are still there.

A robot keeps its episodes in one until the learner has acknowledged them. The learner keeps those that it has
acknowledged in another, until a checkpoint holds them.
"""

import contextlib
import os
import time
from pathlib import Path

from agps_agent.fleet.message import Key
from rl.errors import AgpsError
from rl.files import write_atomically
from rl.ownership import InUse, give_up, own

PATIENCE_S = 30.0
"""Time for the process before to end that was just killed, and whose folder this is, [s]."""
ASK_EVERY_S = 0.2


class Spool:
    """A folder with one file per episode. One process at a time owns it."""

    def __init__(self, folder: Path, *, patience_s: float = 0.0) -> None:
        """Own the folder, which is made if need be; what is in it is waiting.

        Args:
            folder: Where the episodes are.
            patience_s: Time to wait for its owner to end, [s].

        Raises:
            InUse: If another process owns it.
            AgpsError: If it cannot be made.
        """
        self.folder = folder
        try:
            self._lock = _owned(folder, time.monotonic() + patience_s)
        except OSError as error:
            raise AgpsError(f"Cannot keep episodes in {folder}: {error.strerror}; name another folder.") from error
        for unfinished in folder.glob(".*.npz.*"):  # what a kill left half written was never promised to anybody
            unfinished.unlink(missing_ok=True)

    def keep(self, key: Key, content: bytes) -> None:
        """Write an episode; it is on disk on return.

        Raises:
            AgpsError: If the disk refuses.
        """
        write_atomically(self.folder / key.file, content)
        try:
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)  # the name too: a file that nobody finds is lost
            finally:
                os.close(folder)
        except OSError as error:
            raise AgpsError(f"Cannot keep {self.folder / key.file}: {error.strerror}.") from error

    def waiting(self) -> list[Key]:
        """Return the keys of the episodes that are kept, oldest first."""
        keys = (Key.of_file(entry.name) for entry in self.folder.iterdir())
        return sorted(key for key in keys if key is not None)

    def read(self, key: Key) -> bytes:
        """Return an episode's content.

        Raises:
            AgpsError: If it cannot be read.
        """
        try:
            return (self.folder / key.file).read_bytes()
        except OSError as error:
            raise AgpsError(f"Cannot read {self.folder / key.file}: {error.strerror}.") from error

    def let_go(self, key: Key) -> None:
        """Delete an episode that somebody else keeps now; one that is gone already is no matter."""
        with contextlib.suppress(OSError):  # a second delivery is recognised by its key
            (self.folder / key.file).unlink(missing_ok=True)

    def close(self) -> None:
        """Give the folder up; once is enough."""
        if self._lock >= 0:
            give_up(self.folder, self._lock)
            self._lock = -1


def _owned(folder: Path, until_s: float) -> int:
    """Own a folder as `rl.ownership.own`, and be refused only once it is so late by the monotonic clock."""
    while True:
        try:
            return own(folder)
        except InUse:
            if time.monotonic() >= until_s:
                raise
        time.sleep(ASK_EVERY_S)
