import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

import pytest

from rl.answering import AnsweringHandler

LARGE = b"x" * 20_000_000
"""More than fits into the buffers of a socket."""


class _Handler(AnsweringHandler):
    def do_GET(self) -> None:
        self._send(200, "text/plain", LARGE if self.path == "/large" else b"here")

    def do_POST(self) -> None:
        body = self._body(8)
        if body is None:
            return self._send_json(413, self._length_refused(8))
        self._send_json(200, body.decode())


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing it waits for whoever still answers


@contextmanager
def running() -> Iterator[tuple[str, int]]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield "127.0.0.1", server.server_address[1]
        server.shutdown()


def hang_up(address: tuple[str, int], said: bytes) -> None:
    """Say something, and go as a process that is killed goes: the connection is reset."""
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(said)
        if b"large" in said:
            client.recv(10)  # its answer has begun
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "said", [b"GET /large HTTP/1.1\r\n\r\n", b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"]
)
def test_client_that_hangs_up_leaves_no_traceback_and_the_next_one_is_answered(
    said: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as address:
        hang_up(address, said)
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/", timeout=60) as reply:
            assert reply.read() == b"here"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("length", ["9", "-1", "four", "9" * 5_000])
def test_length_that_is_no_number_or_above_the_limit_is_refused_with_both(
    length: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as address, socket.create_connection(address, timeout=60) as client:
        client.sendall(f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
        reply = b"".join(iter(lambda: client.recv(65_536), b"")).decode()
    assert reply.startswith("HTTP/1.1 413 ")
    assert f"The request has '{length}' bytes; the limit is 8." in reply
    assert capsys.readouterr().err == ""
