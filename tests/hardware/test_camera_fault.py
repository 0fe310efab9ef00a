"""A camera that stalls in the middle of an episode, on the emulated arm."""

import numpy as np
import pytest

pytest.importorskip("franky", reason="needs the extra robot")
pytest.importorskip("pyrealsense2", reason="needs the extra realsense")

from rl.envs.robot import PERIOD_S, RobotEnv
from rl.robots.cameras.rig import CameraRig
from rl.robots.emulator.server import Emulator
from rl.robots.franka.backend import FrankaBackend
from rl.robots.station import load_station
from rl.tasks import get_task

pytestmark = pytest.mark.emulated

TASK = get_task("usb_insertion")
STILL = np.zeros(6, np.float32)


def test_stalled_camera_stops_the_arm_and_ends_the_episode_only(fresh_emulator: Emulator):
    station = load_station(fresh_emulator.station)
    backend = FrankaBackend(TASK, station, cameras=CameraRig(station.cameras, TASK, clock=station.clock))
    env = RobotEnv(TASK, backend, image_size=32, knows_truth=True, clock=station.clock)
    try:
        env.reset(seed=0)
        for _ in range(5):
            _, _, _, truncated, info = env.step(STILL)
            assert not truncated and "fault" not in info
        fresh_emulator.fault("camera_stall", "wrist_1")
        stalled_s, steps = station.clock.now(), 0
        while not truncated:
            _, _, terminated, truncated, info = env.step(STILL)
            steps += 1
            assert not terminated
        print(f"\ncamera stalled: told after {station.clock.now() - stalled_s:.2f} s: {info['fault']}")
        assert "wrist_1" in info["fault"]
        assert steps <= 2 * station.camera("wrist_1").max_age_s / PERIOD_S + 2  # a step takes half a period at least
        assert not backend.arm.tracking  # stopped, not only held
        assert np.all(info["executed_action"] == 0.0)

        fresh_emulator.fault("clear")
        _, info = env.reset(seed=1)
        assert "fault" not in info
        _, _, _, truncated, info = env.step(STILL)
        assert not truncated and "fault" not in info
        assert env.metrics()["faults"] == 1.0
    finally:
        env.close()
