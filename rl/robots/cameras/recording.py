"""Recordings that the SDK's pipeline plays back, made from any camera."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.errors import AgpsError, ConfigError
from rl.robots.base import CameraDriver, CameraInfo
from rl.robots.cameras.sdk import load_sdk
from rl.robots.cameras.software import make_device
from rl.types import ByteArray

_QUEUE = 64


class Recording:
    """A file that is being written; a context manager. The file is complete when it is closed."""

    def __init__(self, path: Path, info: CameraInfo) -> None:
        """Create the file.

        Args:
            path: Ends with .db3; with .bag for an SDK before 2.57.
            info: The camera whose frames it will hold; playback reports the same serial, lens, depth unit and rate.

        Raises:
            ConfigError: If the SDK refuses the path.
        """
        rs = load_sdk()
        self._camera = make_device(info)
        self._unit_m = info.depth_unit_m
        self.frames = 0
        """Frames written so far."""
        try:
            self._recorder: Any = rs.recorder(str(path), self._camera.device)
        except RuntimeError as error:
            raise ConfigError(f"Cannot record to {path}: {error}.") from error
        self._number = 0
        self._queue = rs.frame_queue(_QUEUE)
        self._sensors = self._recorder.query_sensors()
        for sensor in self._sensors:
            sensor.open(sensor.get_stream_profiles()[0])
            sensor.start(self._queue)

    def write(self, rgb: ByteArray, depth_m: npt.NDArray[np.float32], *, time_s: float) -> None:
        """Append one pair of images.

        Args:
            rgb: Shape (H, W, 3), uint8.
            depth_m: Aligned to colour, 0 where there is no data. Shape (H, W), [m].
            time_s: When it was taken, from the begin of the recording, [s]; rounded to the camera's frame period.
        """
        raw = np.clip(np.round(depth_m / self._unit_m), 0, 65535).astype(np.uint16)
        self.write_raw(rgb, raw, time_s=time_s)

    def write_raw(self, rgb: ByteArray, depth_raw: npt.NDArray[np.uint16], *, time_s: float) -> None:
        """Append one pair of images, depth in depth units; see `write`."""
        self.frames += 1
        self._number = max(self._number + 1, round(time_s * self._camera.info.fps))
        self._camera.push(rgb, depth_raw, number=self._number)

    def close(self) -> None:
        """Finish the file; may be called twice."""
        if self._recorder is None:
            return
        for sensor in self._sensors:
            sensor.stop()
            sensor.close()
        self._recorder.pause()
        self._recorder = None
        self._sensors = []
        gc.collect()  # the SDK completes the file when the recorder is destroyed

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def record(camera: CameraDriver, path: Path, *, seconds: float) -> int:
    """Write what a camera sees to a file that `open_camera` plays, and return the number of frames.

    Raises:
        AgpsError: If the camera gave no frame in that time.
        ConfigError: If the SDK refuses the path.
        HardwareFault: If the camera fails; what came until then is in the file.
    """
    begin_s = newest_s = camera.wait_newer(-np.inf).time_s
    with Recording(path, camera.info) as recording:
        while newest_s - begin_s < seconds:
            frame = camera.wait_newer(newest_s)
            recording.write(frame.rgb, frame.depth_m, time_s=frame.time_s - begin_s)
            newest_s = frame.time_s
    if recording.frames == 0:
        raise AgpsError(f"Nothing was recorded to {path} in {seconds:g} s; record for longer.")
    return recording.frames
