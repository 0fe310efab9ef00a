"""One process at a time works in a folder; the system gives the folder back when the process dies, however it dies."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rl.errors import ConfigError

LOCK = "owner.lock"
"""File in an owned folder; it holds the owner's process id."""

_log = logging.getLogger(__name__)


class InUse(ConfigError):
    """Another process owns the folder."""

    def __init__(self, folder: Path, owner: str) -> None:
        super().__init__(
            f"{folder} is in use by process {owner}, and has one owner at a time; wait for it to end, or name another."
        )
        self.owner = owner
        """Process id of the owner; `unknown` where it has not said it yet."""


def own(folder: Path) -> int:
    """Own a folder, which is made if need be, and return the descriptor that holds it: closing it gives it up.

    Raises:
        InUse: If another process, or somebody else in this one, owns it.
        OSError: If the lock cannot be made there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _is_only_looked_at(descriptor):
                os.close(descriptor)
                continue
            owner = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise InUse(folder, owner) from None
        except OSError as error:  # some network disks know no locks
            _log.warning("%s cannot be locked (%s); see to it that nobody else uses it.", folder, error.strerror)
        if _is_there(descriptor, folder / LOCK):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)  # its owner gave the folder up, and took this file away, while we opened it


@contextmanager
def owned(folder: Path, advice: str) -> Iterator[None]:
    """Own a folder meanwhile.

    Args:
        folder: Made if need be.
        advice: What to do where that cannot be, such as "name another folder".

    Raises:
        InUse: If another process owns it.
        ConfigError: If the lock cannot be made there.
    """
    try:
        descriptor = own(folder)
    except OSError as error:
        raise ConfigError(f"Cannot work in {folder}: {error.strerror}; {advice}.") from error
    try:
        yield
    finally:
        give_up(folder, descriptor)


def owner_of(folder: Path) -> str | None:
    """Return the process id of who owns a folder, `unknown` where it has not said it yet; None: nobody does."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError:  # there is no such folder, or no lock in it
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
    except OSError:  # a disk that knows no locks
        return None
    finally:
        os.close(descriptor)
    return None


def give_up(folder: Path, descriptor: int) -> None:
    """Take the lock away and give the folder up."""
    try:
        if _is_there(descriptor, folder / LOCK):
            (folder / LOCK).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _is_only_looked_at(descriptor: int) -> bool:
    """Return whether what stands in our way is nobody's lock, but `owner_of` at its look: that one shares."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
