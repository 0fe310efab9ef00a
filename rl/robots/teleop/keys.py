"""Keys with which a person judges an episode or stops the arm; nothing moves by a key."""

import atexit
import contextlib
import logging
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Literal, TextIO

_log = logging.getLogger(__name__)

Key = Literal["success", "fail", "stop"]

_POLL_S = 0.02
"""Pause between two looks of the thread that waits for a stop, [s]."""

KEYS: dict[bytes, Key] = {b"s": "success", b"f": "fail", b" ": "stop", b"\x1b": "stop"}
"""s, f, space, Esc. Arrow keys begin with Esc and stop too: one stop too many is the better mistake."""


class KeyReader:
    """Reads single keys from a terminal without waiting for them, and leaves the terminal as it was.

    ```python
    with KeyReader() as keys:
        ...
        if keys.read() == "stop":
            ...
    ```

    `read` sees a stop when it is called. After `watch` a thread sees it at once, whatever the program is busy with.

    Without a terminal (a pipe, a service, a job in the background) there are no keys, which is logged once.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Choose the terminal.

        Args:
            stream: Where keys come from; None: stdin.
        """
        self._stream = sys.stdin if stream is None else stream
        self._fd: int | None = None
        self._saved: list[Any] = []
        self._lock = threading.RLock()
        """Held by whoever reads the terminal, or asks the operator something in it."""
        self._watcher: threading.Thread | None = None
        self._pressed: Key | None = None
        """Newest verdict that the watcher has seen and nobody has read."""

    @property
    def available(self) -> bool:
        """Whether there is a terminal that is being read."""
        return self._fd is not None

    def __enter__(self) -> "KeyReader":
        """Put the terminal into cbreak mode: keys come at once and unseen; Ctrl-C still interrupts."""
        fd = _terminal(self._stream)
        if fd is None:
            _log.warning("No terminal: the keys s (success), f (fail) and space or Esc (stop) are not read.")
            return self
        self._saved = termios.tcgetattr(fd)
        self._fd = fd
        atexit.register(self.close)  # also where an exit passes the context manager by
        tty.setcbreak(fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the terminal."""
        self.close()

    def close(self) -> None:
        """Restore the terminal; doing it twice does no harm."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            atexit.unregister(self.close)
            _restore(fd, self._saved)
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join(timeout=1.0)

    def watch(self, on_stop: Callable[[], None]) -> None:
        """Have a thread read the keys from now on, and call something at once when a stop is pressed.

        Args:
            on_stop: Stops the arm; called in that thread. `read` does not report the stop again.
        """
        if self._fd is None or self._watcher is not None:
            return
        self._watcher = threading.Thread(target=self._watch, args=(on_stop,), name="keys", daemon=True)
        self._watcher.start()

    def _watch(self, on_stop: Callable[[], None]) -> None:
        pause = threading.Event()
        while self._fd is not None:
            with self._lock:
                pressed = self._take()
            if pressed == "stop":
                on_stop()
            elif pressed is not None:
                self._pressed = pressed
            pause.wait(_POLL_S)

    def read(self) -> Key | None:
        """Return the key that was pressed since the last call, None for none; a stop comes before any other."""
        if self._watcher is not None:
            pressed, self._pressed = self._pressed, None
            return pressed
        with self._lock:
            return self._take()

    def _take(self) -> Key | None:
        pressed: Key | None = None
        while self._fd is not None and select.select([self._fd], [], [], 0.0)[0]:
            try:
                typed = os.read(self._fd, 256)
            except OSError:  # the terminal was closed under us
                typed = b""
            if not typed:
                _log.warning("The terminal is gone: keys are not read any more.")
                self.close()
                break
            for i in range(len(typed)):
                key = KEYS.get(typed[i : i + 1].lower())
                if key is not None and pressed != "stop":
                    pressed = key
        return pressed

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Give the terminal back inside, e.g. for a question to the operator; keys typed there are not read here."""
        if self._fd is None:
            yield
            return
        with self._lock:
            _restore(self._fd, self._saved)
            try:
                yield
            finally:
                if self._fd is not None:
                    termios.tcflush(self._fd, termios.TCIFLUSH)
                    tty.setcbreak(self._fd)


def _terminal(stream: TextIO) -> int | None:
    """Return the descriptor of a terminal that is ours to change, None if there is none."""
    try:
        fd = stream.fileno()
    except (OSError, ValueError):  # no descriptor, or closed
        return None
    if not os.isatty(fd):
        return None
    try:
        # A process in the background that changes its terminal is suspended by the kernel.
        return fd if os.tcgetpgrp(fd) == os.getpgrp() else None
    except OSError:  # a terminal, but not the one that controls us: nobody suspends us for it
        return fd


def _restore(fd: int, attributes: list[Any]) -> None:
    with contextlib.suppress(termios.error, OSError):  # a terminal that is gone needs no restoring
        termios.tcsetattr(fd, termios.TCSADRAIN, attributes)
