"""The tasks that exist, by name."""

from dataclasses import fields
from typing import Any

from rl.errors import ConfigError
from rl.tasks.base import Task
from rl.tasks.knot_hanging import KnotHanging
from rl.tasks.towel_folding import TowelFolding
from rl.tasks.usb_insertion import UsbInsertion

_TASKS: dict[str, type[Task]] = {task.name: task for task in (UsbInsertion, KnotHanging, TowelFolding)}

TASK_NAMES: tuple[str, ...] = tuple(_TASKS)
"""Names that `get_task` knows."""


def get_task(name: str, **overrides: Any) -> Task:
    """Return a task with some of its fields changed.

    Raises:
        ConfigError: If there is no such task or field.
    """
    if name not in _TASKS:
        raise ConfigError(f"Unknown task {name!r}; known tasks: {', '.join(TASK_NAMES)}.")
    known = [field.name for field in fields(_TASKS[name])]
    for key in overrides:
        if key not in known:
            raise ConfigError(f"Task {name} has no field {key!r}; its fields: {', '.join(known)}.")
    return _TASKS[name](**overrides)
