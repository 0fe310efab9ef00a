"""Which folder a command means by the name of one, or of a task."""

from collections.abc import Callable, Sequence
from pathlib import Path

from agps_agent.cli.tasks import check_task, is_task
from rl.errors import ConfigError


def demonstrations_of(named: Path) -> Path:
    """Return the folder of demonstrations, or run, that was named, or the default folder of the task that was."""
    from rl.demonstrations import MANIFEST

    return _folder_of(named, (MANIFEST, "config.json"), default_folder)


def marks_of(named: Path) -> Path:
    """Return the folder of marked keypoints that was named, or the default one of the task that was."""
    from agps_agent.keypoints import store

    return _folder_of(named, (store.FILE,), store.default_folder)


def check_folder(folder: Path, *, option: str = "--out") -> None:
    """Refuse a folder that cannot be made, before the work is done that it is for.

    Args:
        folder: Where it shall be.
        option: What named it.

    Raises:
        ConfigError: If a file is in its way.
    """
    for place in (folder, *folder.parents):
        if place.is_dir():
            return
        if place.exists():
            raise ConfigError(f"{place} is a file, where a folder is needed; name another {option}.")


def check_file(file: Path) -> None:
    """Refuse a file that cannot be written, before the work is done that it is for.

    Raises:
        ConfigError: If it is a folder, or a file is in the way of its folder.
    """
    if file.is_dir():
        raise ConfigError(f"{file} is a folder, where a file is needed; name another --out.")
    check_folder(file.parent)


def default_folder(task: str, robot: str = "sim") -> Path:
    """Return where a task's demonstrations are if nobody says otherwise."""
    from agps_agent.run.place import named_at

    return Path("demos") / named_at(robot, task)


def _folder_of(named: Path, files: Sequence[str], default: Callable[[str], Path]) -> Path:
    """Return a folder that was named, or that of the task that was; one that is meant holds one of the files.

    A package of the task's name may lie here too: `agps new-task` writes one.
    """
    if any((named / file).is_file() for file in files) or not is_task(str(named)):
        return named
    return default(check_task(str(named)).name)
