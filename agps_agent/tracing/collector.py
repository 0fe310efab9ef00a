"""A loopback server that the unmodified LangSmith SDK reports to, with a page to look at what it reported."""

import threading
from http.server import ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs
from uuid import NAMESPACE_URL, UUID, uuid5

from agps_agent.tracing.store import TraceStore
from agps_agent.tracing.wire import Update, WireError, parse_batch, parse_multipart, parse_one
from rl.answering import AnsweringHandler

LARGEST_REQUEST = 256 * 1024 * 1024
"""Longest request body, bytes: a batch of questions with several VGA images each."""
INFO = {
    "version": "0.14.0",
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
        "scale_up_nthreads_limit": 4,
        "scale_up_qsize_trigger": 1000,
        "scale_down_nempty_trigger": 4,
    },
    "instance_flags": {},
}
"""What the SDK asks before it sends: that it may batch runs and feedback, uncompressed."""


class Collector(ThreadingHTTPServer):
    """A running collector: `url` to point LANGSMITH_ENDPOINT and a browser at; a context manager."""

    daemon_threads = True

    def __init__(self, store: TraceStore, *, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)
        self.store = store
        self.page = files("agps_agent.tracing").joinpath("page.html").read_bytes()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"


def serve_traces(store: TraceStore, *, host: str = "127.0.0.1", port: int = 0) -> Collector:
    """Collect on an own thread and return at once; port 0 takes a free one. There is no authentication.

    Args:
        store: Where traces are kept.
        host: Address to listen on: only this machine by default.
        port: TCP port.
    """
    server = Collector(store, host=host, port=port)
    threading.Thread(target=server.serve_forever, args=(0.05,), name="agps-traces", daemon=True).start()
    return server


class _Handler(AnsweringHandler):
    """Routes the SDK's requests to the store, and the browser's to page, lists and images."""

    server: Collector

    def do_GET(self) -> None:  # noqa: N802 (the base class's name)
        """Answer the SDK's question about the server, or the browser."""
        path, store = self.path.partition("?")[0].rstrip("/"), self.server.store
        if path == "/info":
            return self._send_json(200, INFO)
        if path == "/sessions":
            return self._send_json(200, [self._project()])
        if path == "":
            return self._send(200, "text/html; charset=utf-8", self.server.page)
        if path == "/api/traces":
            return self._send_json(200, store.traces())
        if path.startswith("/api/traces/"):
            return self._send_json(200, store.trace(path.rpartition("/")[2]))
        image = store.image(path.removeprefix("/images/")) if path.startswith("/images/") else None
        if image is not None:
            return self._send(200, f"image/{path.rpartition('.')[2]}", image)
        self._send_json(404, {"detail": f"There is no {path}."})

    def do_POST(self) -> None:  # noqa: N802 (the base class's name)
        """Store new runs or feedback."""
        self._take()

    def do_PATCH(self) -> None:  # noqa: N802 (the base class's name)
        """Store what changed about a run."""
        self._take()

    def _project(self) -> dict[str, Any]:
        """Return the project whose name the SDK asks for: runs of any name are taken, so that there is one of each."""
        name = parse_qs(self.path.partition("?")[2]).get("name", ["default"])[0]
        ids = {"id": str(uuid5(NAMESPACE_URL, name)), "tenant_id": str(UUID(int=0)), "reference_dataset_id": None}
        return {"name": name, **ids}

    def _take(self) -> None:
        body = self._body(LARGEST_REQUEST)
        if body is None:
            return self._send_json(413, {"detail": self._length_refused(LARGEST_REQUEST)})
        try:
            updates = self._updates(body)
        except WireError as error:
            return self._send_json(422, {"detail": str(error)})
        if updates is None:
            return self._send_json(404, {"detail": f"There is no {self.path}."})
        self.server.store.apply(updates)
        self._send_json(202, {"message": f"{len(updates)} stored"})

    def _updates(self, body: bytes) -> list[Update] | None:
        """Return what a request reports, None for a path that is none of the SDK's."""
        path = self.path.partition("?")[0].rstrip("/")
        if path == "/runs/multipart":
            return parse_multipart(body, self.headers.get("Content-Type", ""))
        if path == "/runs/batch":
            return parse_batch(body)
        if path in ("/runs", "/feedback"):
            return [parse_one("post" if path == "/runs" else "feedback", body)]
        if self.command == "PATCH" and path.startswith("/runs/"):
            return [parse_one("patch", body, run_id=path.rpartition("/")[2])]
        return None
