"""A camera server of few lines that speaks the emulator's wire format, for the tests of cameras."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rl.robots.cameras.base import CameraInfo
from rl.robots.station import CameraConfig

INFO = CameraInfo(
    name="wrist_1",
    serial="218622270001",
    model="RealSense D405",
    width=640,
    height=480,
    depth_unit_m=0.0001,
    K=np.array([[433.0, 0.0, 318.1], [0.0, 432.5, 241.7], [0.0, 0.0, 1.0]]),
    distortion=np.array([-0.05, 0.02, 0.001, -0.002, 0.0]),
    fps=30,
)


def config(device: str, **changes: Any) -> CameraConfig:
    values = {"name": "wrist_1", "mount": "hand", "max_age_s": 60.0, **changes}
    return CameraConfig(device=device, **values)


Render = Callable[[int], tuple[Any, Any]]
"""From the frame number to colour (H, W, 3), uint8, and raw depth (H, W), uint16."""


def gradient(info: CameraInfo) -> Render:
    """Images that tell their frame number: red is the number, depth is 5000 units and as many more."""

    def render(number: int) -> tuple[Any, Any]:
        rgb = np.full((info.height, info.width, 3), 90, np.uint8)
        rgb[:, : info.width // 2, 1] = 200
        rgb[..., 0] = number % 256
        return rgb, np.full((info.height, info.width), 5000 + number % 256, np.uint16)

    return render


class CameraServer:
    """Serves one camera to one client at a time, until closed."""

    def __init__(self, info: CameraInfo, render: Render) -> None:
        self.info, self.render = info, render
        self.stalled = threading.Event()
        self.stalled_at_s = 0.0
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def device(self) -> str:
        return f"emulator://127.0.0.1:{self.port}/{self.info.name}"

    def stall(self) -> None:
        self.stalled.set()
        self.stalled_at_s = time.monotonic()

    def disconnect(self) -> None:
        for client in self._clients:
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60.0)

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            with client:
                try:
                    self._stream(client)
                except OSError:
                    pass
            self._clients.remove(client)

    def _stream(self, client: socket.socket) -> None:
        line = client.makefile("rb").readline().decode()
        if line != f"CAMERA {self.info.name}\n":
            return
        info = self.info
        header = {
            "name": info.name,
            "serial": info.serial,
            "model": info.model,
            "width": info.width,
            "height": info.height,
            "fps": info.fps,
            "depth_unit_m": info.depth_unit_m,
            "K": info.K.tolist(),
            "distortion": info.distortion.tolist(),
            "T_mount_cam": np.eye(4).tolist(),
            "mount": "hand",
        }
        client.sendall(json.dumps(header).encode() + b"\n")
        number = 0
        while not self._closing.is_set():
            if self.stalled.wait(1.0 / info.fps):
                self._closing.wait(0.05)
                continue
            number += 1
            time_s = time.monotonic()
            rgb, depth = self.render(number)
            client.sendall(struct.pack("<Qd", number, time_s) + rgb.tobytes() + depth.astype("<u2").tobytes())
