"""Runs one command of AGPS on a machine of a Ray cluster.

To whoever looks at the folder that the command writes it is as if it ran here: this process holds its lock, what the
command says is said here, rows come as they are written, and all that it leaves lies there before this process ends.
Told to end, it tells the command so, which saves. It may outlive who started it; where it is killed, the command is.
"""

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agps_agent.fleet.cluster import open_cluster
from agps_agent.fleet.guest import LAST, Guest, News, pack, unpack
from agps_agent.run.directory import alone_in
from agps_agent.run.signals import saving, terminated_like_ctrl_c
from rl.errors import AgpsError
from rl.files import write_atomically

WRITES = ("--run-dir", "--out")
"""Options behind which the folder stands that a command writes."""
NEWS_EVERY_S = 1.0
COMING = ".coming"
"""Folder within the other where what the command has left is unpacked."""


def run_elsewhere(address: str, command: Sequence[str], *, cores: int) -> int:
    """Run a command on a machine of a cluster, and return its exit code.

    Args:
        address: Of the cluster, HOST:PORT.
        command: Its name and arguments. Files and folders among them are sent along.
        cores: That it is to have there.

    Raises:
        ConfigError: If Ray is not installed, or somebody else works in the folder.
        AgpsError: If the cluster does not answer, or the machine is lost.
        KeyboardInterrupt: If it is told to end before a machine had room for it.
    """
    command = [_from_here(word) for word in command]
    folder = next(Path(path) for option, path in zip(command, command[1:], strict=False) if option in WRITES)
    with terminated_like_ctrl_c(), alone_in(folder), open_cluster(address) as ray:
        carried = {word: _packed(Path(word)) for word in command if word == str(folder) or _is_file(word)}
        # Its methods take turns, in the thread that started the command.
        guest = ray.remote(num_cpus=cores, max_restarts=0)(Guest).remote(carried, str(folder), command)
        try:
            code = _attend(ray, guest, folder)
            with saving():
                _bring_home(ray.get(guest.folder.remote()), folder)
                ray.get(guest.clear.remote())
        except ray.exceptions.RayActorError as error:
            said = textwrap.shorten(str(error), 300, placeholder=" ...")
            raise AgpsError(f"The machine that it ran on was lost, or could not begin ({said}).") from error
    return code


def _attend(ray: Any, guest: Any, folder: Path) -> int:
    """Pass on what a command says and writes until it ends, and return its exit code."""
    has_begun = is_told_to_end = False
    while True:
        try:
            news: News = ray.get(guest.news.remote())
            has_begun = True
            _pass_on(news, folder)
            if news.code is not None:
                return news.code
            time.sleep(NEWS_EVERY_S)
        except KeyboardInterrupt:
            if not has_begun or is_told_to_end:
                ray.kill(guest)
                raise
            is_told_to_end = True
            guest.end.remote()


def _pass_on(news: News, folder: Path) -> None:
    sys.stdout.buffer.write(news.output)
    sys.stdout.buffer.flush()
    for name, content in news.files.items():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)


def _bring_home(content: bytes | None, folder: Path) -> None:
    """Put what a command has left into its folder; what says that it is whole comes last."""
    if content is None:
        return
    coming = folder / COMING
    shutil.rmtree(coming, ignore_errors=True)
    coming.mkdir(parents=True)
    unpack(content, coming)
    for path in sorted((coming / folder.name).iterdir(), key=lambda path: path.name in LAST):
        there = folder / path.name
        if there.is_dir():
            there.rename(coming / f"{path.name}.old")  # it is replaced in no time
        path.rename(there)
    shutil.rmtree(coming)


def _from_here(word: str) -> str:
    """Return an argument as seen from the folder that is worked in: what is below it lies in the same place there."""
    path = Path(word)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else word


def _is_file(word: str) -> bool:
    """Return whether an argument names a file or folder that is there, and not a task or a number."""
    return (os.sep in word or Path(word).suffix != "") and Path(word).exists()


def _packed(path: Path) -> bytes | None:
    return pack(path) if path.exists() else None
