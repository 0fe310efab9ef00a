"""How a server of ours on this machine answers a browser or a client: whole, with its length, at once."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any


class AnsweringHandler(BaseHTTPRequestHandler):
    """Sends whole answers, and keeps quiet: whoever asked is told what is wrong."""

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""

    def _send_json(self, status: int, payload: Any) -> None:
        self._send(status, "application/json", json.dumps(payload).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
