"""Limits of settings, written as their type: `clearance_m: Positive`, `share: Annotated[float, Interval(ge=0, le=1)]`.

They are those of the package annotated_types, which pydantic knows too: what is refused here is refused on the command
line in the same way.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import cache
from numbers import Real
from typing import Annotated, Any, get_args, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt

from rl.errors import ConfigError

Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Shift = Annotated[float, Interval(ge=0, le=0.1)]
"""How far a fixture may move to each side of its nominal place, [m]: workspaces reach little further."""
Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]
"""0, 1, 2 ..."""
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
"""What NumPy's global generator takes."""
Threads = Annotated[int, Interval(ge=0, le=1_024)]
"""0: as many as torch chooses. Some thousands of threads exhaust a machine."""
Port = Annotated[int, Interval(ge=0, le=65_535)]
"""Of TCP; 0: any free one."""
Limit = Ge | Gt | Le | Lt

_WORDS = {Ge: "at least", Gt: "more than", Le: "at most", Lt: "less than"}


def check_bounds(settings: object, called: Callable[[str], str] = str) -> None:
    """Refuse numbers of a dataclass instance that are not finite or outside of what their field's type allows.

    Dataclasses within it are looked at too.

    Args:
        settings: The dataclass.
        called: How the user knows a field of this name.

    Raises:
        ConfigError: With the first one, its limit and what would be possible.
    """
    kind: Any = type(settings)  # mypy takes no class for something that can be hashed
    for name, bounds in field_limits(kind).items():
        value = getattr(settings, name)
        if dataclasses.is_dataclass(value):
            check_bounds(value, called)
        for number in value if isinstance(value, tuple | list) else (value,):
            if bounds and number is not None and not isinstance(number, Real):
                raise ConfigError(f"{called(name)} is {number!r}; give a number.")
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"{called(name)} is {number}; give a finite number.")
            for limit in bounds:
                if isinstance(number, Real) and not _holds(limit, number):
                    raise ConfigError(f"{called(name)} is {number}; ask for {in_words(limit)}.")


@cache
def field_limits(kind: Any) -> dict[str, tuple[Limit, ...]]:
    """Return the limits of each field of a dataclass: a class that gives a field another default keeps its limits."""
    found: dict[str, dict[Limit, None]] = {field.name: {} for field in dataclasses.fields(kind)}
    for base in kind.__mro__:
        if dataclasses.is_dataclass(base):
            hints = get_type_hints(base, include_extras=True)
            for field in dataclasses.fields(base):
                found[field.name] |= dict.fromkeys(_limits(hints[field.name]))
    return {name: tuple(bounds) for name, bounds in found.items()}


def _limits(hint: Any) -> Iterator[Limit]:
    """Yield the limits in a type such as `Annotated[float, Ge(0)]`, `Annotated[float, Ge(0)] | None`."""
    for mark in getattr(hint, "__metadata__", ()):
        for limit in mark if isinstance(mark, GroupedMetadata) else (mark,):
            if isinstance(limit, Limit):
                yield limit
    for part in get_args(hint):
        yield from _limits(part)


def bound_of(limit: Limit) -> float:
    """Return the number of a limit: 0 of `Ge(0)`."""
    return float(getattr(limit, type(limit).__name__.lower()))


def in_words(limit: Limit) -> str:
    """Return a limit as words: `at least 0`."""
    return f"{_WORDS[type(limit)]} {bound_of(limit):.10g}"  # a seed's limit has ten digits


def _holds(limit: Limit, number: Any) -> bool:
    bound = bound_of(limit)
    match limit:
        case Ge():
            return bool(number >= bound)
        case Gt():
            return bool(number > bound)
        case Le():
            return bool(number <= bound)
        case Lt():
            return bool(number < bound)
