"""What is printed: a terminal that cannot show a character, or is gone, never ends what goes on."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, TextIO, cast

from rich.console import Console, RenderableType

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress


def replace_what_cannot_be_shown(stream: TextIO) -> None:
    """Have a stream print a question mark for a character that its encoding lacks: a Greek letter in Latin-1."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


def say(line: str) -> None:
    """Tell whoever watches something on stderr, at once."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def console(stream: TextIO) -> Console:
    """Return what draws bars and tables on a stream, for as long as somebody sees them."""
    return Console(file=cast(IO[str], Forgiving(stream)), highlight=False)


def live(shown: Console, render: Callable[[], RenderableType], *, per_second: int) -> "Live | None":
    """Take a terminal's last lines, and draw there until `stop`; None where nobody looks at a terminal."""
    if not shown.is_terminal:
        return None
    from rich.live import Live

    drawn = Live(console=shown, get_renderable=render, refresh_per_second=per_second, redirect_stdout=False)
    drawn.start()
    return drawn


@contextlib.contextmanager
def progress_bars() -> "Iterator[Progress]":
    """Show bars on stderr while something goes on, and nothing where stderr is not a terminal."""
    from rich.progress import Progress

    shown = console(sys.stderr)
    with Progress(console=shown, transient=True, disable=not shown.is_terminal) as progress:
        yield progress


class Forgiving(io.TextIOBase):
    """Writes to a stream what it can show; where nobody reads it any more, it is nobody's loss."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has an attribute that nobody sets
        """What the stream can show."""
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Write text with a question mark for what cannot be shown; return its length."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's descriptor."""
        return self._stream.fileno()
