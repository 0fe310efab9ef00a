"""Numbers within their limits: for each setting that cannot work one sentence with its name, value and limit."""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from rl.errors import ConfigError

MAX_SEED = 2**32 - 1
"""Largest seed that NumPy's global generator takes."""
MAX_THREADS = 1_024
"""More than processors have cores; some thousands of threads exhaust a machine."""


@dataclass(frozen=True)
class Range:
    """The finite numbers between two limits."""

    least: float = -math.inf
    most: float = math.inf
    without_least: bool = False
    """The lower limit itself is too small."""
    without_most: bool = False
    """The upper limit itself is too large."""

    def holds(self, value: Any) -> bool:
        """Return whether a value is a number of this range; a bool is none."""
        if not _is_finite(value):
            return False
        is_above = value > self.least if self.without_least else value >= self.least
        is_below = value < self.most if self.without_most else value <= self.most
        return bool(is_above and is_below)

    def __str__(self) -> str:
        if self.least > -math.inf and self.most < math.inf:
            left, right = "(" if self.without_least else "[", ")" if self.without_most else "]"
            return f"a value in {left}{_short(self.least)}, {_short(self.most)}{right}"
        if self.least > -math.inf:
            return f"more than {_short(self.least)}" if self.without_least else f"at least {_short(self.least)}"
        return "a finite number" if self.most == math.inf else f"at most {_short(self.most)}"


FINITE = Range()
SHARE = Range(0, 1)
SEED = Range(0, MAX_SEED)
THREADS = Range(0, MAX_THREADS)
PORT = Range(0, 65_535)
"""Of TCP; 0 is any free one."""


def at_least(least: float) -> Range:
    """Return the range from a number on."""
    return Range(least)


def above(least: float) -> Range:
    """Return the range of everything larger."""
    return Range(least, without_least=True)


def check_ranges(settings: Any, prefix: str = "", /, **ranges: Range) -> None:
    """Refuse settings that are out of range, and floats that are not finite whatever their range is.

    Of a tuple each number counts; None is no number, and left alone.

    Args:
        settings: A dataclass.
        prefix: What comes before the name of a setting in messages.
        ranges: By name of the setting.

    Raises:
        ConfigError: Names the first setting that cannot work, its value and what to ask for.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        wanted = ranges.get(field.name)
        for number in value if isinstance(value, tuple | list) else (value,):
            if number is not None and (wanted is not None or isinstance(number, float)):
                check_range(f"{prefix}{field.name}", number, wanted or FINITE, shown=value)


def check_range(name: str, value: Any, wanted: Range, *, shown: Any = None) -> None:
    """Refuse a number that is out of range.

    Args:
        name: Of the setting.
        value: The number.
        wanted: Its range.
        shown: What to show in its place, such as the tuple that it is part of.

    Raises:
        ConfigError: Names the setting, its value and what to ask for.
    """
    if wanted.holds(value):
        return
    what = str(wanted) if _is_finite(value) or wanted == FINITE else f"a finite number: {wanted}"
    raise ConfigError(f"{name} is {value if shown is None else shown}; ask for {what}.")


def _is_finite(value: Any) -> bool:
    if isinstance(value, Integral):
        return not isinstance(value, bool)
    return isinstance(value, Real) and math.isfinite(value)


def _short(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"
