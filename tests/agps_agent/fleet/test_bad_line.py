import random
import socket
import time

from tests.agps_agent.fleet.bad_line import BadLine


def test_bad_line_delays_each_packet_and_loses_its_share() -> None:
    near, near_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    line = BadLine((near_end.fileno(), far_end.fileno()), delay_s=0.05, lost=0.1)
    sent_at, delays = {}, {}
    try:
        for number in range(200):
            sent_at[number] = time.monotonic()
            near.send(number.to_bytes(2, "big"))
            time.sleep(0.001)
            if number % 8 == 0:  # a queue of such sockets is short
                collect(far, sent_at, delays, wait_s=0.0)
        collect(far, sent_at, delays, wait_s=0.5)
        assert list(delays) == sorted(delays)
        assert len(delays) == line.counts["carried"] == 200 - line.counts["lost"]
        draws = random.Random(0)
        assert line.counts["lost"] == sum(draws.random() < 0.1 for _ in range(200)) > 0
        assert min(delays.values()) >= 0.05
        far.send(b"back")
        near.settimeout(5.0)
        assert near.recv(16) == b"back"
    finally:
        line.close()
        for end in (near, near_end, far, far_end):
            end.close()


def collect(far: socket.socket, sent_at: dict[int, float], delays: dict[int, float], *, wait_s: float) -> None:
    """Note when packets arrived, until none comes for so long."""
    far.settimeout(wait_s)
    while True:
        try:
            number = int.from_bytes(far.recv(16), "big")
        except (BlockingIOError, TimeoutError):
            return
        delays[number] = time.monotonic() - sent_at[number]
