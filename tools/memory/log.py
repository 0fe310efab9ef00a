"""The truth of the memory: an append-only file of JSON lines that survives a crash at any byte."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.errors import MemoryUnavailable

_log = logging.getLogger(__name__)


class EventLog:
    """Appends events and reads them back; an event is durable once `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield every complete event, oldest first; a torn last line is cut off, a damaged one is skipped and logged.

        Raises:
            MemoryUnavailable: If the file cannot be read or repaired.
        """
        if not self.path.exists():
            return
        try:
            raw = self.path.read_bytes()
            complete, _, torn = raw.rpartition(b"\n")
            if torn:
                _log.warning("%s ends in %d torn bytes of an event that was never acknowledged.", self.path, len(torn))
                # Cut them off, or the next event would be glued to them.
                os.truncate(self.path, len(raw) - len(torn))
        except OSError as error:
            raise MemoryUnavailable(f"The memory {self.path} cannot be read ({error.strerror}).") from error
        yield from self._events(complete)

    def check(self) -> None:
        """Refuse a file with lines of which none is an event: it is damaged, or somebody else's.

        Raises:
            MemoryUnavailable: If it is, or cannot be read.
        """
        try:
            has_lines = self.path.exists() and b"\n" in self.path.read_bytes()
        except OSError as error:
            raise MemoryUnavailable(f"The memory {self.path} cannot be read ({error.strerror}).") from error
        if has_lines and next(self.peek(), None) is None:
            raise MemoryUnavailable(f"The memory {self.path} holds no line of a memory; it is damaged. Move it away.")

    def peek(self) -> Iterator[dict[str, Any]]:
        """Yield every complete event, oldest first, and change nothing: another process may be writing.

        Raises:
            MemoryUnavailable: If the file cannot be read.
        """
        try:
            raw = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise MemoryUnavailable(f"The memory {self.path} cannot be read ({error.strerror}).") from error
        yield from self._events(raw.rpartition(b"\n")[0])

    def _events(self, complete: bytes) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(complete.split(b"\n") if complete else (), start=1):
            try:
                event = json.loads(line)
            except ValueError:
                _log.warning("%s line %d is damaged and was skipped.", self.path, number)
                continue
            if isinstance(event, dict):
                yield event

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event to disk; all of it or nothing.

        Raises:
            MemoryUnavailable: If it cannot be written, e.g. on a full disk; what was there before stays.
        """
        line = json.dumps(event, allow_nan=False).encode() + b"\n"
        try:
            size = self.path.stat().st_size if self.path.exists() else 0
            try:
                with self.path.open("ab") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                if self.path.exists():
                    os.truncate(self.path, size)
                raise
        except OSError as error:
            raise MemoryUnavailable(
                f"The memory {self.path} cannot be written ({error.strerror}); free space. Nothing was remembered."
            ) from error
