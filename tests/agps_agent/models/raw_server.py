"""A model server that says whatever a test wants, byte for byte."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON, HTML, STREAM = "application/json", "text/html", "text/event-stream"


@dataclass
class Raw:
    """What is answered, and what was asked."""

    chat: Any = ""
    """Body of each chat completion: text as it is, anything else as JSON."""
    status: int = 200
    kind: str = JSON
    models: Any = field(default_factory=lambda: {"object": "list", "data": [{"id": "raw"}]})
    models_status: int = 200
    models_kind: str = JSON
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of the requests."""
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


def replied(message: dict[str, Any], *, finish_reason: str = "stop", tokens: int = 7) -> dict[str, Any]:
    """A chat completion with a message of the assistant."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}
    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
    named = {"id": "1", "object": "chat.completion", "created": 0, "model": "raw"}
    return {**named, "choices": [choice], "usage": usage}


@contextmanager
def raw_server(chat: Any = "", **fields: Any) -> Iterator[Raw]:
    raw = Raw(chat=chat, **fields)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(raw.models_status, raw.models_kind, raw.models)

        def do_POST(self) -> None:
            raw.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._send(raw.status, raw.kind, raw.chat)

        def _send(self, status: int, kind: str, said: Any) -> None:
            raw.headers.append({name.lower(): value for name, value in self.headers.items()})
            body = (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        raw.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield raw
        server.shutdown()
