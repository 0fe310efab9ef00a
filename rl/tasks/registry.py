"""The tasks that there are: ours, those of installed packages, and whatever a file or a module holds."""

import re
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints

import numpy as np
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from rl.errors import ConfigError
from rl.registry import Registry
from rl.tasks.base import Task

TASKS: Registry[type[Task]] = Registry("agps.tasks", "task")
"""Classes of tasks by the name that each says of itself."""


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


def gym_ids() -> Iterable[tuple[str, str]]:
    """Yield the Gymnasium id and the name of each registered task: `agps/UsbInsertion-v0`; none is imported."""
    return ((f"agps/{name.title().replace('_', '')}-v0", name) for name in TASKS.names if _NAME.fullmatch(name))


def load_task(name: str) -> type[Task]:
    """Return a task's class.

    Args:
        name: A registered name, `package.module:Name` or `./file.py:Name`.

    Raises:
        ConfigError: If there is none, saying which there are; or if it is not a task.
    """
    kind = TASKS.load(name)
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise ConfigError(f"{name!r} is {kind!r}, not a class derived from rl.tasks.base.Task or SimulatedTask.")
    own = getattr(kind, "name", None)
    if not (isinstance(own, str) and _NAME.fullmatch(own)):
        raise ConfigError(
            f"The task {name!r} has the name {own!r}; give its class a `name` of letters, digits, _ and -."
        )
    if name in TASKS and own != name:
        raise ConfigError(f"The task {name!r} calls itself {own!r}; register it under that name.")
    return kind


def get_task(name: str, **overrides: Any) -> Task:
    """Return a task with some of its fields changed.

    Args:
        name: As in `load_task`.
        **overrides: Fields of the task.

    Raises:
        ConfigError: If there is no such task or field, or a value is out of its bounds.
    """
    return make_task(load_task(name), **overrides)


def _of_its_type(kind: type[Task], name: str, value: Any) -> Any:
    """Return a value of a field as its type has it: a list becomes a tuple, a table settings.

    Raises:
        ConfigError: If it is of another type; its bounds are not looked at.
    """
    adapter = _adapter(kind, name)
    if adapter is None:
        return value
    plain = (
        value.item() if isinstance(value, np.generic) else value.tolist() if isinstance(value, np.ndarray) else value
    )
    if get_type_hints(kind)[name] in (int, float) and (isinstance(plain, bool) or not isinstance(plain, int | float)):
        raise ConfigError(f"{name} is {value!r}; give a number.")
    try:
        return adapter.validate_python(plain)
    except ValidationError as error:
        raise ConfigError(f"{name} is {value!r}: {error.errors()[0]['msg']}.") from error


@cache
def _adapter(kind: type[Task], name: str) -> TypeAdapter[Any] | None:
    """Return what checks a field's type, without its bounds; None for types that only their author can check."""
    try:
        return TypeAdapter(get_type_hints(kind)[name])
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, KeyError, TypeError):
        return None


def make_task(kind: type[Task], **overrides: Any) -> Task:
    """Return a task of a class with some of its fields changed.

    Raises:
        ConfigError: If there is no such field, or a value is out of its bounds.
    """
    known = [field.name for field in fields(kind)]
    for key in overrides:
        if key not in known:
            raise ConfigError(f"Task {kind.name} has no field {key!r}; its fields: {', '.join(known)}.")
    try:
        return kind(**{name: _of_its_type(kind, name, value) for name, value in overrides.items()})
    except TypeError as error:  # something abstract, or a field without a value
        raise ConfigError(f"Task {kind.name} cannot be made: {error}.") from error
