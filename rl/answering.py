"""How a server of ours on this machine answers a browser or a client: whole, with its length, at once."""

import contextlib
import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import Any

LONGEST_COUNT = 15
"""Digits of a length: Python refuses to read one of thousands."""
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class AnsweringHandler(BaseHTTPRequestHandler):
    """Sends whole answers, and keeps quiet: whoever asked is told what is wrong, whoever hung up nothing."""

    protocol_version = "HTTP/1.1"
    # Unbuffered writes with Nagle's algorithm wait 40 ms for an acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60.0

    def handle(self) -> None:
        """Answer until the client hangs up."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""

    def _body(self, largest: int) -> bytes | None:
        """Return what was sent; None if its length, [bytes], is no number or above a limit."""
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or len(length) > LONGEST_COUNT or int(length) > largest:
            self.close_connection = True  # what was sent is still there, and would be read as the next request
            return None
        return self.rfile.read(int(length))

    def _length_refused(self, largest: int) -> str:
        return f"The request has {self.headers['Content-Length']!r} bytes; the limit is {largest}."

    def _send_json(self, status: int, payload: Any, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        self._send(status, "application/json", json.dumps(payload).encode(), headers)

    def _send(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self._write(body)
        except ConnectionError:
            self.close_connection = True

    def _write(self, body: bytes) -> None:
        self.wfile.write(body)
        self.wfile.flush()
