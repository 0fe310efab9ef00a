"""A network line that delays and loses packets, on kernels without netem: a thread between two TUN devices."""

import fcntl
import heapq
import os
import random
import selectors
import struct
import threading
import time
from collections import Counter
from contextlib import suppress

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
LARGEST = 65_536
"""Bytes of the largest packet."""


def open_tun(name: str) -> int:
    """Make a TUN device, which exists until its file is closed, and return the file.

    Raises:
        OSError: If this process may not, or the kernel has none.
    """
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(file)
        raise
    return file


class BadLine:
    """Carries packets between two files, each way late by `delay_s`; a share of them never arrives."""

    def __init__(self, ends: tuple[int, int], *, delay_s: float, lost: float, seed: int = 0) -> None:
        self._ends, self._delay_s, self._lost = ends, delay_s, lost
        self._rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        """Packets that were carried, and that were lost."""
        self._is_over = False
        self._thread = threading.Thread(target=self._carry, name="bad line", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; whoever opened the files closes them."""
        self._is_over = True
        self._thread.join()

    def _carry(self) -> None:
        under_way: list[tuple[float, int, int, bytes]] = []  # due, number, to, packet
        number = 0
        near, far = self._ends
        with selectors.DefaultSelector() as selector:
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while not self._is_over:
                until_due = under_way[0][0] - time.monotonic() if under_way else 0.1
                for key, _ in selector.select(max(0.0, min(0.1, until_due))):
                    packet = os.read(key.fd, LARGEST)
                    number += 1
                    if self._rng.random() < self._lost:
                        self.counts["lost"] += 1
                    else:
                        heapq.heappush(under_way, (time.monotonic() + self._delay_s, number, key.data, packet))
                while under_way and under_way[0][0] <= time.monotonic():
                    _, _, to, packet = heapq.heappop(under_way)
                    with suppress(OSError):  # the far device is down, or its queue is full: lost, as on a real line
                        os.write(to, packet)
                        self.counts["carried"] += 1
