"""Which folder a command means by the name of one, or of a task."""

from collections.abc import Callable, Sequence
from pathlib import Path

from agps_agent.cli.tasks import check_task, is_task


def demonstrations_of(named: Path) -> Path:
    """Return the folder of demonstrations, or run, that was named, or the default folder of the task that was."""
    from rl.demonstrations import MANIFEST

    return _folder_of(named, (MANIFEST, "config.json"), default_folder)


def marks_of(named: Path) -> Path:
    """Return the folder of marked keypoints that was named, or the default one of the task that was."""
    from agps_agent.keypoints import store

    return _folder_of(named, (store.FILE,), store.default_folder)


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
