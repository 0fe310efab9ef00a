"""Which folder of demonstrations a command means."""

from pathlib import Path

from agps_agent.cli.tasks import check_task, is_task


def folder_of(named: Path) -> Path:
    """Return the folder of demonstrations that was named, or the default one of the task that was."""
    if named.is_dir() or not is_task(str(named)):
        return named
    return default_folder(check_task(str(named)).name)


def default_folder(task: str, robot: str = "sim") -> Path:
    """Return where a task's demonstrations are if nobody says otherwise."""
    from agps_agent.run.place import named_at

    return Path("demos") / named_at(robot, task)
