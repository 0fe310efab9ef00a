"""Scripted experts that know where things are: they record demonstrations and act through `env.step` only."""

from rl.errors import ConfigError
from rl.tasks.base import SimulatedTask, Task
from rl.types import Expert


def make_expert(task: Task) -> Expert:
    """Return the scripted expert of a task.

    Raises:
        ConfigError: If the task has none.
    """
    expert = _expert(task)
    if expert is None:
        raise ConfigError(
            f"Task {task.name} has no scripted expert, which this needs; return one from its `expert()`, let the "
            "agent demonstrate (agps demos record --by agent) or a person on a robot (--robot franka), or do without "
            "demonstrations (--demos 0)."
        )
    return expert


def has_expert(task: Task) -> bool:
    """Return whether somebody has written a scripted expert for a task."""
    return _expert(task) is not None


def _expert(task: Task) -> Expert | None:
    return task.expert() if isinstance(task, SimulatedTask) else None
