"""A camera of the emulator: frames from a socket through a software device of the SDK.

The client sends `CAMERA <name>`, the server one JSON line that describes the camera, then per frame its number
(uint64), time by the station's clock (float64, little-endian), colour (rgb8) and raw depth (uint16, in depth units).
"""

import contextlib
import json
import re
import socket
import struct
import threading
from typing import Any

import numpy as np

from rl.errors import ConfigError
from rl.robots.base import CameraInfo
from rl.robots.cameras.software import make_device
from rl.robots.clock import REAL_TIME, Clock
from rl.robots.station import CameraConfig

SCHEME = "emulator://"
_FRAME_HEADER = struct.Struct("<Qd")
_CONNECT_S = 5.0


class SocketSource:
    """Framesets that the SDK's syncer makes of images from a socket."""

    def __init__(self, config: CameraConfig, clock: Clock = REAL_TIME) -> None:
        """Connect.

        Args:
            config: Which camera, and where.
            clock: The station's.

        Raises:
            ConfigError: If nothing answers, there is no such camera, or it has another image size.
        """
        self._clock = clock
        host, port, name = parse_address(config)
        self._socket = _connect(config, host, port)
        try:
            self._socket.sendall(f"CAMERA {name}\n".encode())
            self._info = self._read_header(config, name)
        except OSError as error:
            self._socket.close()
            raise ConfigError(f"Camera {config.name}: {config.device} does not answer: {error}.") from error
        except BaseException:
            self._socket.close()
            raise
        self._camera = make_device(self._info)
        self._camera.start()
        self._failure: OSError | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._read_frames, name=f"socket {config.name}", daemon=True)
        self._thread.start()

    @property
    def device(self) -> Any:
        """The `rs.software_device`."""
        return self._camera.device

    def wait(self, timeout_s: float) -> Any | None:
        """Return the next frameset; None if there is none in time."""
        frames = self._camera.wait(timeout_s)
        if frames is None and self._failure is not None:
            raise self._failure
        return frames

    def taken_at(self, frame: Any) -> float | None:
        """Return when the emulator rendered a frame; None where its clock is another computer's."""
        time_s = self._camera.taken_at(frame)
        return time_s if time_s is not None and -0.01 <= self._clock.now() - time_s < 60.0 else None

    def close(self) -> None:
        """Disconnect."""
        self._closing = True
        with contextlib.suppress(OSError):  # the other end may be gone
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5.0)
        self._socket.close()
        self._camera.close()

    def _read_header(self, config: CameraConfig, name: str) -> CameraInfo:
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = self._socket.recv(1)
            if not byte or len(line) > 65536:
                raise ConfigError(f"Camera {config.name}: {config.device} has no camera {name!r}.")
            line += byte
        try:
            header = json.loads(line)
            info = CameraInfo(
                name=config.name,
                serial=str(header["serial"]),
                model=str(header["model"]),
                width=int(header["width"]),
                height=int(header["height"]),
                depth_unit_m=float(header["depth_unit_m"]),
                K=np.array(header["K"], float).reshape(3, 3),
                distortion=np.array(header["distortion"], float).reshape(5),
                fps=int(header["fps"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            text = line.decode(errors="replace").strip()[:200]
            raise ConfigError(f"Camera {config.name}: {config.device} answers {text!r}, no description.") from error
        if (info.width, info.height) != (config.width, config.height):
            raise ConfigError(
                f"Camera {config.name} ({config.device}) has no depth and colour with {config.width}x{config.height}; "
                f"it has: {info.width}x{info.height} at {info.fps} Hz."
            )
        return info

    def _read_frames(self) -> None:
        height, width = self._info.height, self._info.width
        header = bytearray(_FRAME_HEADER.size)
        rgb = np.empty((height, width, 3), np.uint8)
        depth = np.empty((height, width), np.dtype("<u2"))
        views = [memoryview(header), rgb.data.cast("B"), depth.data.cast("B")]
        try:
            self._socket.settimeout(None)
            while not self._closing:
                for view in views:
                    self._fill(view)
                number, time_s = _FRAME_HEADER.unpack(header)
                self._camera.push(rgb, depth, number=number, taken_s=time_s)
        except OSError as error:
            self._failure = error

    def _fill(self, view: memoryview) -> None:
        while view:
            count = self._socket.recv_into(view)
            if count == 0:
                raise ConnectionError("the other end closed the connection")
            view = view[count:]


def parse_address(config: CameraConfig) -> tuple[str, int, str]:
    """Return host, port and camera of `emulator://HOST:PORT/CAMERA`.

    Raises:
        ConfigError: If the device is written in another way.
    """
    match = re.fullmatch(r"emulator://([^:/]+):(\d+)/(.+)", config.device)
    if match is None:
        raise ConfigError(f"Camera {config.name}: device is {config.device!r}; write emulator://HOST:PORT/CAMERA.")
    return match[1], int(match[2]), match[3]


def _connect(config: CameraConfig, host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=_CONNECT_S)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"Camera {config.name}: nothing answers at {host}:{port} ({error}); start `agps emulate` first."
        ) from error
