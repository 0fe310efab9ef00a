"""Space stops the arm at once, also while nobody looks at keys."""

import os
import pty
import threading
import time
from functools import partial

import pytest

from agps_agent.run.hardware import stop_now
from rl.robots.teleop import KeyReader


class Arm:
    """Notes when it was stopped."""

    def __init__(self) -> None:
        self.halted = threading.Event()

    def halt(self) -> None:
        self.halted.set()


def test_space_stops_an_arm_whose_program_is_busy_and_interrupts_the_program():
    arm, (master, slave) = Arm(), pty.openpty()
    with os.fdopen(slave, "r") as stream, KeyReader(stream) as keys:
        keys.watch(partial(stop_now, arm))
        threading.Timer(0.2, os.write, (master, b" ")).start()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(200.0)
        assert arm.halted.wait(60.0)
    os.close(master)
