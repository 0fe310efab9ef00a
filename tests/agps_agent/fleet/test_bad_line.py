import random
import socket
import time
from contextlib import ExitStack, closing

from tests.agps_agent.fleet.bad_line import BadLine

PACKETS, DELAY_S, LOST = 200, 0.05, 0.1


def test_bad_line_delays_each_packet_and_loses_its_share() -> None:
    draws = random.Random(0)
    arriving = [number for number in range(PACKETS) if draws.random() >= LOST]
    assert len(arriving) < PACKETS
    sent_at: list[float] = []
    with ExitStack() as opened:
        # Packets, of which more than these wait without anybody reading.
        near, near_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        far, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (near, near_end, far, far_end):
            opened.enter_context(closing(end)).settimeout(60.0)
        line = BadLine((near_end.fileno(), far_end.fileno()), delay_s=DELAY_S, lost=LOST)
        opened.callback(line.close)
        for number in range(PACKETS):
            sent_at.append(time.monotonic())
            near.send(number.to_bytes(2, "big"))
        for number in arriving:  # in the order in which they were sent
            assert int.from_bytes(far.recv(16), "big") == number
            assert time.monotonic() - sent_at[number] >= DELAY_S
        far.send(b"back")
        assert near.recv(16) == b"back"
        line.close()
        assert line.counts == {"carried": len(arriving) + 1, "lost": PACKETS - len(arriving)}
