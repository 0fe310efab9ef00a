"""One command of AGPS on this machine, for a process on another one that sends what it reads and takes what it leaves.

Everything lies in a folder of its own meanwhile, that goes with this process.
"""

import ctypes
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rl.ownership import LOCK, give_up, own, owner_of

PREFIX = "agps-guest-"
"""Begins the name of such a folder, among those of temporary files."""
SHOWN = (".json", ".jsonl")
"""Files that are sent as they change: rows, by which others see how far it is, and finished measurements."""
LAST = ("config.json", "summary.json")
"""Files that say that something is whole: they are not sent before it is."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class News:
    """What has changed since the last time."""

    output: bytes
    """What the command said."""
    files: Mapping[str, bytes]
    """Content of files of its folder, by name."""
    code: int | None
    """Its exit code; None: it is at work."""


class Guest:
    """The command, from its beginning on; an actor of Ray."""

    def __init__(self, carried: Mapping[str, bytes | None], folder: str, command: Sequence[str]) -> None:
        """Start the command.

        Args:
            carried: Files and folders that the command names, packed; None: there is nothing yet.
            folder: The one of them that it writes.
            command: Its name and arguments.
        """
        sweep()
        self._root = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = own(self._root)
        places = {name: _place_of(name, number) for number, name in enumerate(carried)}
        for name, content in carried.items():
            (self._root / places[name]).parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                unpack(content, (self._root / places[name]).parent)
        self._folder = self._root / places[folder]
        self._sent: dict[str, tuple[int, int]] = {}
        self._output, self._told = (self._root / "output").open("w+b"), 0
        environment = dict(os.environ)
        if environment.get("CUDA_VISIBLE_DEVICES") == "":  # Ray hides GPUs that nobody asked for
            del environment["CUDA_VISIBLE_DEVICES"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agps_agent.cli", *(places.get(word, word) for word in command)],
            stdin=subprocess.DEVNULL,
            stdout=self._output.fileno(),
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=self._root,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # the child has one thread, and calls into libc alone
        )

    def news(self) -> News:
        """Return what has changed since the last call."""
        code = self._process.poll()  # first: what is said afterwards is of the next call
        files = {}
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            if path.suffix not in SHOWN or path.name in LAST:
                continue
            found = path.stat()
            if self._sent.get(path.name) != (found.st_size, found.st_mtime_ns):
                self._sent[path.name] = (found.st_size, found.st_mtime_ns)
                files[path.name] = path.read_bytes()
        return News(output=self._output_since(), files=files, code=code)

    def end(self) -> None:
        """Tell the command to end, as Ctrl-C does: it saves first."""
        self._process.terminate()

    def folder(self) -> bytes | None:
        """Return what the command has left, packed; None: nothing."""
        return pack(self._folder) if self._folder.exists() else None

    def clear(self) -> None:
        """Take everything away."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        give_up(self._root, self._lock)
        shutil.rmtree(self._root, ignore_errors=True)

    def _output_since(self) -> bytes:
        """Return what was said since the last call; the command writes to the end of the same file."""
        told = os.fstat(self._output.fileno()).st_size
        since, self._told = self._told, told
        return os.pread(self._output.fileno(), told - since, since)


def _place_of(name: str, number: int) -> str:
    """Return where something lies here: where it lies at home, if that is below the folder that is worked in."""
    path = Path(name)
    return f"{number}/{path.name}" if path.is_absolute() or ".." in path.parts else name


def sweep() -> None:
    """Take away what others left whose processes were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (path / LOCK).exists() and owner_of(path) is None:
            shutil.rmtree(path, ignore_errors=True)


def pack(path: Path) -> bytes:
    """Return a file or folder as an archive, without the lock of who works in it; what is linked is in it once."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(path, arcname=path.name, filter=lambda member: None if Path(member.name).name == LOCK else member)
    return packed.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Unpack an archive of `pack` into a folder."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")


def _end_with_parent() -> None:
    """Let this process be killed when its parent is (Linux): nobody would take what it leaves."""
    if sys.platform.startswith("linux"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
