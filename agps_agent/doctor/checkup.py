"""One check is one function; its finding is one line."""

from collections.abc import Callable
from dataclasses import dataclass

from rl.errors import AgpsError

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
