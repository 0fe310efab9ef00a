"""The time of a station: the host's on a real arm, slower where an emulated one cannot keep real time.

An emulated arm, its cameras, the driver's limits and whoever waits for them read one clock, as a computer that is three
times as slow makes everything three times as slow. A real arm does not wait: its clock is the host's, always.
"""

import ipaddress
import math
import threading
import time
from dataclasses import dataclass

from rl.errors import ConfigError

SLOWEST = 20.0
"""Largest slowdown: libfranka takes a control box that says nothing for a second of host time for lost."""


@dataclass(frozen=True)
class Clock:
    """Seconds since some moment; the same in every process of a computer."""

    slowdown: float = 1.0
    """Host seconds per second of this clock."""

    def __post_init__(self) -> None:
        """Refuse a clock that is faster than the host's, or stands.

        Raises:
            ConfigError: If it is.
        """
        if not (math.isfinite(self.slowdown) and 1.0 <= self.slowdown <= SLOWEST):
            raise ConfigError(f"slowdown is {self.slowdown:g}; ask for 1 (real time) to {SLOWEST:g}.")

    def now(self) -> float:
        """Return what it shows, [s]."""
        return self.at(time.monotonic())

    def at(self, host_s: float) -> float:
        """Return what it shows at a host time (`time.monotonic`), [s]."""
        return host_s / self.slowdown

    def host_s(self, duration_s: float) -> float:
        """Return how long a duration of this clock takes on the host, [s]: what timeouts of libraries are given."""
        return duration_s * self.slowdown

    def sleep(self, duration_s: float) -> None:
        """Wait for a duration of this clock, [s]; not at all if it is negative."""
        time.sleep(max(0.0, self.host_s(duration_s)))

    def wait(self, event: threading.Event, duration_s: float) -> bool:
        """Wait for an event, at most for a duration of this clock, [s]; return whether it is set."""
        return event.wait(self.host_s(duration_s))


REAL_TIME = Clock()
"""The host's."""


def check_clock(clock: Clock, ip: str) -> None:
    """Refuse a slow clock for an arm that is not emulated on this computer: its limits hold in real time.

    Args:
        clock: What its limits are measured with.
        ip: Address of the arm.

    Raises:
        ConfigError: If the clock is slow and the address is not one of this computer's own.
    """
    if clock.slowdown > 1.0 and not _is_loopback(ip):
        raise ConfigError(
            f"slowdown is {clock.slowdown:g}, but the arm at {ip} is no emulator of this computer: the limits of a "
            "real arm hold in real time. Remove slowdown."
        )


def _is_loopback(ip: str) -> bool:
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return False  # a name: whose it is, nobody knows
