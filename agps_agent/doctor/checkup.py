"""One check is one function; its finding is one line."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rl.errors import AgpsError

T = TypeVar("T")

Check = Callable[[], str]
"""Returns what it found; raises AgpsError with what to do."""


class NotChecked(AgpsError):
    """A check that another one's failure makes impossible."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    ok: bool | None
    """None: not checked, for something that it needs failed."""
    finding: str

    @property
    def mark(self) -> str:
        """What the line begins with."""
        return {True: "ok  ", False: "FAIL", None: "-   "}[self.ok]


def attempt(check: Check) -> Finding:
    """Return what a check finds."""
    try:
        return Finding(True, check())
    except NotChecked as reason:
        return Finding(None, str(reason))
    except (AgpsError, ImportError, OSError) as error:
        return Finding(False, " ".join(str(error).split()))


def within(timeout_s: float, call: Callable[[], T], otherwise: str) -> T:
    """Return what a call returns, or raises, unless it takes too long; then it is left to itself.

    For calls into libraries that wait for ever, such as a connection to an arm that serves somebody else.

    Raises:
        AgpsError: With the sentence given, if it does.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not results:
        raise AgpsError(otherwise)
    return results[0]
