"""Asks a running emulator for the truth, for another scene, or for a fault."""

import json
import socket
from urllib.parse import urlsplit

import numpy as np

from rl.errors import ConfigError, HardwareFault
from rl.types import FloatArray


class EmulatorClient:
    """One connection to the scene of an emulator; not thread-safe."""

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        """Connect.

        Args:
            url: emulator://HOST:PORT, the `truth` of a station file.
            timeout_s: Longest wait for any answer, [s].

        Raises:
            ConfigError: If that is no such address, or nobody answers there.
        """
        parts = urlsplit(url)
        if parts.scheme != "emulator" or not parts.hostname or not parts.port:
            raise ConfigError(f"{url!r} is no address of an emulator; write emulator://HOST:PORT.")
        self._url = url
        try:
            self._socket = socket.create_connection((parts.hostname, parts.port), timeout=timeout_s)
        except OSError as error:
            raise ConfigError(f"No emulator answers at {url}: {error}. Start `agps emulate TASK`.") from error
        self._lines = self._socket.makefile("r", encoding="utf-8", newline="\n")

    def truth(self) -> dict[str, FloatArray]:
        """Return the scene's named points, base frame, each (3,), [m]."""
        return {name: np.array(point) for name, point in json.loads(self._ask("TRUTH")).items()}

    def reset(self, seed: int) -> None:
        """Draw the scene of another episode; the arm stays where it is."""
        self._ask(f"RESET {seed}")

    def fault(self, name: str, *values: object) -> None:
        """Plant a fault.

        `reflex` aborts the motion; recover from errors to go on. `freeze [s]` answers nothing, for ever without a
        time; the arm holds. `die` ends the arm's process, the cameras go on. `slow s` stops time once. `force N` adds
        a push of the robot on the world, down, to what is measured. `gripper fail|hang|unhomed|drop`; a motion that
        hangs ends when the gripper is told to stop, `drop` loses the client once. `camera_stall NAME [s]` delivers no
        frames. `clear` ends them all.

        Times are the station's clock's.

        Raises:
            HardwareFault: If there is no such fault, or the emulator has ended.
        """
        self._ask(" ".join(["FAULT", name, *(str(value) for value in values)]))

    def clocks_s(self) -> tuple[float, float, float]:
        """Return the arm's own clock, which is late where cores are slow, and the CPU time of arm and cameras, [s]."""
        steps, arm_s, cameras_s = self._ask("STEPS").split()
        return int(steps) / 1000.0, float(arm_s), float(cameras_s)

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()

    def _ask(self, line: str) -> str:
        try:
            self._socket.sendall(f"{line}\n".encode())
            reply = self._lines.readline().strip()
        except OSError as error:
            raise HardwareFault(f"The emulator at {self._url} does not answer: {error}; start it again.") from error
        if not reply:
            raise HardwareFault(f"The emulator at {self._url} has ended; start it again.")
        if reply.startswith("error: "):
            raise HardwareFault(f"The emulator at {self._url} says: {reply.removeprefix('error: ')}.")
        return reply
