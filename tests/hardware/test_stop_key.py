"""Space stops the emulated arm in the middle of a reset, which reads no keys."""

import os
import pty
import threading

import numpy as np
import pytest

franky = pytest.importorskip("franky")
pytest.importorskip("pyrealsense2")
pytestmark = pytest.mark.emulated

from agps_agent.run.config import RunConfig  # noqa: E402
from agps_agent.run.hardware import open_robot  # noqa: E402
from rl.robots.teleop import KeyReader  # noqa: E402


def test_space_stops_a_reset_under_way(emulator):
    config = RunConfig(task="usb_insertion", robot="franka", station=emulator.station, method="serl", speed=0.2)
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as terminal, KeyReader(terminal) as keys:
        env = open_robot(config, keys=keys)
        try:
            resets, pressed_in = [0], []

            def press() -> None:
                pressed_in.append(len(resets))
                os.write(master, b" ")

            threading.Timer(emulator.clock.host_s(0.8), press).start()
            with pytest.raises(KeyboardInterrupt):
                while True:
                    env.reset(seed=len(resets))
                    resets.append(len(resets))
            assert len(resets) - pressed_in[0] <= 1  # in the reset in which it was pressed, or as the next one begins
            env.halt()
        finally:
            env.close()
    os.close(master)
    arm = franky.Robot(emulator.ip, realtime_config=franky.RealtimeConfig.Ignore)
    assert np.max(np.abs(arm.state.dq)) < 0.01
