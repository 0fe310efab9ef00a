"""A page on this machine where a person clicks on the keypoints of a task, image by image."""

import io
import json
import threading
from collections.abc import Mapping, Sequence
from http.server import ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from PIL import Image

from agps_agent.keypoints.store import MarkedImage, check_mark
from prompts.loader import TaskPrompt
from rl.answering import AnsweringHandler
from rl.errors import AgpsError, ConfigError
from rl.types import RGBDFrame

HOST = "127.0.0.1"
LARGEST_REQUEST = 1024 * 1024
"""Longest request body, bytes."""


class MarkingServer(ThreadingHTTPServer):
    """A running page: `url` to open, `wait()` for what was marked; a context manager."""

    daemon_threads = True

    def __init__(self, frames: Sequence[RGBDFrame], words: TaskPrompt, *, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.frames = tuple(frames)
        self.words = words
        self.page = files("agps_agent.keypoints").joinpath("page.html").read_bytes()
        self.marked: tuple[MarkedImage, ...] | None = None
        """What was marked, when the person is done."""
        self.done = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def wait(self) -> tuple[MarkedImage, ...]:
        """Return what was marked once the person is done."""
        while not self.done.wait(0.2):  # in pieces, so that Ctrl-C is heard
            pass
        assert self.marked is not None  # set before `done`
        return self.marked


def serve_marking(frames: Sequence[RGBDFrame], words: TaskPrompt, *, port: int = 0) -> MarkingServer:
    """Serve the page on an own thread and return at once; only this machine can reach it.

    Args:
        frames: Images to mark, in the order in which they are shown.
        words: The task's keypoints and their descriptions.
        port: TCP port; 0 takes a free one.

    Raises:
        AgpsError: If the port is taken.
    """
    try:
        server = MarkingServer(frames, words, port=port)
    except OSError as error:
        raise AgpsError(f"Cannot listen on {HOST}:{port}: {error.strerror}; name another --port.") from error
    threading.Thread(target=server.serve_forever, args=(0.05,), name="agps-keypoints", daemon=True).start()
    return server


def marks_of(frames: Sequence[RGBDFrame], words: TaskPrompt, given: Any) -> tuple[MarkedImage, ...]:
    """Return images with the marks that a page or a command line gives; images without a mark are left out.

    Args:
        frames: The images.
        words: The task's keypoints.
        given: Per image a mapping from label to (u, v), [px].

    Raises:
        ConfigError: If a keypoint is unknown, a mark is outside of its image or has no depth, or nothing is marked.
    """
    if not isinstance(given, list) or len(given) != len(frames):
        raise ConfigError(f"Expected the marks of {len(frames)} images.")
    marked = []
    for frame, marks in zip(frames, given, strict=True):
        checked = {label: check_mark(frame, label, _pixel(label, uv)) for label, uv in _known(marks, words).items()}
        if checked:
            marked.append(MarkedImage(frame=frame, marks=checked))
    if not marked:
        raise ConfigError("Nothing is marked; mark at least one keypoint.")
    return tuple(marked)


def _known(marks: Any, words: TaskPrompt) -> Mapping[str, Any]:
    if not isinstance(marks, Mapping):
        raise ConfigError("The marks of an image are no mapping from keypoints to pixels.")
    for label in marks:
        if label not in words.keypoints:
            raise ConfigError(f"{words.task} has no keypoint {label!r}; it has {', '.join(words.keypoints)}.")
    return marks


def _pixel(label: str, uv: Any) -> tuple[float, float]:
    if not isinstance(uv, list | tuple) or len(uv) != 2 or not all(isinstance(value, int | float) for value in uv):
        raise ConfigError(f"The mark of {label} is {uv!r}; give u and v in pixels.")
    return float(uv[0]), float(uv[1])


class _Handler(AnsweringHandler):
    """Routes page, images and marks."""

    server: MarkingServer

    def do_GET(self) -> None:  # noqa: N802 (the base class's name)
        """Answer with the page, what is to be marked, or an image."""
        if not self._is_ours():
            return self._send_json(403, {"detail": "Open the page at the address that the command printed."})
        path = self.path.partition("?")[0]
        if path == "/":
            return self._send(200, "text/html; charset=utf-8", self.server.page)
        if path == "/api/task":
            return self._send_json(200, _described(self.server))
        number = path.removeprefix("/images/").removesuffix(".png")
        if path.startswith("/images/") and number.isdecimal() and int(number) < len(self.server.frames):
            return self._send(200, "image/png", _png(self.server.frames[int(number)]))
        self._send_json(404, {"detail": f"There is no {path}."})

    def do_POST(self) -> None:  # noqa: N802 (the base class's name)
        """Check one mark, or take all of them."""
        server, body = self.server, self._body(LARGEST_REQUEST) if self._is_ours() else None
        if body is None:
            self.close_connection = True
            return self._send_json(403, {"detail": "This request is not from the page, or too long."})
        try:
            asked = json.loads(body)
            if self.path == "/api/check":
                depth_m = _depth_at(server.frames[int(asked["image"])], str(asked["label"]), asked["uv"])
                return self._send_json(200, {"depth_m": depth_m})
            if self.path != "/api/done":
                return self._send_json(404, {"detail": f"There is no {self.path}."})
            server.marked = marks_of(server.frames, server.words, asked["marks"])
        except (ConfigError, ValueError, KeyError, TypeError, IndexError) as error:
            return self._send_json(422, {"detail": str(error)})
        self._send_json(200, {"images": len(server.marked)})
        server.done.set()

    def _is_ours(self) -> bool:
        """Return whether a request is of our own page: another site in the same browser could send some too."""
        own = {f"{name}:{self.server.server_address[1]}" for name in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        return self.headers.get("Host") in own and (origin is None or origin.removeprefix("http://") in own)


def _described(server: MarkingServer) -> dict[str, Any]:
    images = [
        {"camera": frame.name, "width": frame.rgb.shape[1], "height": frame.rgb.shape[0]} for frame in server.frames
    ]
    keypoints = [{"label": label, "description": said} for label, said in server.words.keypoints.items()]
    return {"task": server.words.task, "keypoints": keypoints, "images": images}


def _depth_at(frame: RGBDFrame, label: str, uv: Any) -> float:
    """Return the depth at a mark, [m]."""
    u, v = check_mark(frame, label, _pixel(label, uv))
    return float(frame.depth_m[round(v), round(u)])


def _png(frame: RGBDFrame) -> bytes:
    held = io.BytesIO()
    Image.fromarray(frame.rgb).save(held, format="PNG")
    return held.getvalue()
