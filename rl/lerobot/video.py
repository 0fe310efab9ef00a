"""Images as mp4: several episodes in a file, one frame after the other, each found again at its time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from rl.errors import AgpsError, ConfigError
from rl.lerobot.layout import VIDEO, FilePlace, Limits
from rl.lerobot.software import load_av
from rl.types import ByteArray

PIXELS = "yuv420p"
"""How LeRobot's videos hold colours: brightness of each pixel, colour of each block of 2 x 2."""
SETTINGS = {"crf": "10", "g": "2"}
"""Of the encoder: nearly all that is lost at quality 10 is what `PIXELS` cannot hold; every second frame is a key frame
(LeRobot's default), so that any frame is found quickly."""
ENCODERS = {"libx264": "h264", "libsvtav1": "av1"}
"""Encoders in the order of preference, and what info.json calls their videos: H.264 plays everywhere, and loses less of
small images."""


def writes(encoder: str) -> bool:
    """Return whether this PyAV has an encoder for `PIXELS`."""
    av = load_av()
    try:
        formats = av.Codec(encoder, "w").video_formats or ()
    except av.codec.codec.UnknownCodecError:
        return False
    return PIXELS in [each.name for each in formats]


def choose_encoder(has: Callable[[str], bool] = writes) -> str:
    """Return the first of `ENCODERS` that there is.

    Raises:
        ConfigError: If there is none.
    """
    for name in ENCODERS:
        if has(name):
            return name
    raise ConfigError(
        f"This PyAV can write neither {' nor '.join(ENCODERS)} videos; install the wheel of PyPI: `pip install av`."
    )


@dataclass(frozen=True)
class Span:
    """Where an episode's frames lie in a camera's videos."""

    place: FilePlace
    from_s: float
    to_s: float
    """Its first frame is at `from_s`; at `to_s` the next episode begins, [s]."""


class VideoTrack:
    """All videos of one camera, as they are written."""

    def __init__(self, root: Path, key: str, *, fps: int, encoder: str, limits: Limits) -> None:
        """Begin; the first file appears with the first episode.

        Args:
            root: Folder of the dataset.
            key: Of the camera's images.
            fps: Frames per second.
            encoder: As `choose_encoder` returns it.
            limits: When a new file is begun.
        """
        self._root, self._key, self._fps, self._encoder, self._limits = root, key, fps, encoder, limits
        self._place = FilePlace()
        self._file: _VideoFile | None = None

    def add(self, images: ByteArray) -> Span:
        """Append an episode's images, (T, H, W, 3), and return where they lie.

        Raises:
            AgpsError: If they cannot be written.
        """
        if self._file is not None and self._file.bytes >= self._limits.video_mb * 2**20:
            self._file.close()
            self._file, self._place = None, self._place.next(self._limits)
        if self._file is None:
            path = self._root / self._place.path(VIDEO, self._key)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _VideoFile(path, images.shape[1:3], fps=self._fps, encoder=self._encoder)
        first = self._file.frames
        self._file.write(images)
        return Span(self._place, first / self._fps, self._file.frames / self._fps)

    def close(self) -> None:
        """Finish the last file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class _VideoFile:
    """One mp4 that is being written."""

    def __init__(self, path: Path, size: tuple[int, ...], *, fps: int, encoder: str) -> None:
        self.path, self.frames, self.bytes = path, 0, 0
        self._av = load_av()
        self._tick = Fraction(1, fps)
        try:
            self._output = self._av.open(str(path), "w")
            self._stream = self._output.add_stream(encoder, fps, options=SETTINGS)
        except self._av.FFmpegError as error:
            raise self._refused(error) from error
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = PIXELS

    def write(self, images: ByteArray) -> None:
        for image in images:
            frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = self.frames, self._tick
            self._mux(frame)
            self.frames += 1

    def close(self) -> None:
        self._mux(None)
        try:
            self._output.close()
        except self._av.FFmpegError as error:
            raise self._refused(error) from error

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self.bytes += packet.size
                self._output.mux(packet)
        except self._av.FFmpegError as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> AgpsError:
        return AgpsError(f"Cannot write {self.path}: {error}; make room, or name another folder.")


class VideoReader:
    """Frames of one camera by their times, in files that are read from the beginning to the end."""

    def __init__(self, *, fps: float) -> None:
        """Read videos of `fps` frames per second."""
        self._av = load_av()
        self._half_s = 0.5 / fps
        self._path: Path | None = None
        self._input: Any = None
        self._frames: Iterator[tuple[float, Any]] = iter(())
        self._last: tuple[float, Any] | None = None

    def frames(
        self, path: Path, times_s: Sequence[float], take: Callable[[ByteArray], ByteArray] = lambda image: image
    ) -> list[ByteArray]:
        """Return what `take` makes of the frames at some times, which rise.

        Args:
            path: Video.
            times_s: When, [s]: each must have a frame within half the time between two.
            take: From an image (H, W, 3), uint8.

        Raises:
            ConfigError: If the video is missing or damaged, or has no frame at one of the times.
        """
        if path != self._path or (self._last is not None and self._last[0] > times_s[0] + self._half_s):
            self._open(path)
        try:
            return [take(self._at(time_s).to_ndarray(format="rgb24")) for time_s in times_s]
        except self._av.FFmpegError as error:
            raise ConfigError(f"{path} is damaged ({error}); get the dataset anew.") from error

    def close(self) -> None:
        """Close the file."""
        if self._input is not None:
            self._input.close()
        self._path, self._input, self._last, self._frames = None, None, None, iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self, path: Path) -> None:
        self.close()
        if not path.is_file():
            raise ConfigError(f"There is no video {path}; get the dataset anew, with its videos.")
        try:
            self._input = self._av.open(str(path))
            stream = self._input.streams.video[0]
        except (self._av.FFmpegError, IndexError) as error:
            raise ConfigError(f"{path} is no video ({error}); get the dataset anew.") from error
        self._path = path
        self._frames = ((-1.0 if frame.time is None else frame.time, frame) for frame in self._input.decode(stream))

    def _at(self, time_s: float) -> Any:
        """Return the frame at a time, which is not before that of the last call."""
        while self._last is None or self._last[0] < time_s - self._half_s:
            before = self._last
            self._last = next(self._frames, None)
            if self._last is None:
                ends = "is empty" if before is None else f"ends at {before[0]:.3f} s"
                raise ConfigError(f"{self._path} {ends}, and a frame at {time_s:.3f} s is asked for; it is cut.")
        if self._last[0] > time_s + self._half_s:
            raise ConfigError(f"{self._path} has no frame at {time_s:.3f} s, but one at {self._last[0]:.3f} s.")
        return self._last[1]
