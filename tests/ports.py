"""Ports for the programs that tests start."""

import random
import socket

FROM, TO = 20_000, 30_000
"""Below the ports of outgoing connections, none of which can take one between the question and its use."""


def free_port() -> int:
    """Return a port of this computer that nobody listens at: a random one, as tests beside this one ask too."""
    ports = random.SystemRandom()
    while True:
        port = ports.randrange(FROM, TO)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
