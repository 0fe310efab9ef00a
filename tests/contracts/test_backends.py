"""The contract of backends on those that every computer has; the FR3's is in tests/hardware."""

from collections.abc import Iterator

import numpy as np
import pytest

from examples.extend_arm import write_station
from rl.envs.manipulation import ManipulationEnv
from rl.envs.robot import RobotEnv
from rl.robots.base import Backend
from rl.robots.cameras import CameraRig
from rl.robots.fake import FakeBackend
from rl.robots.mujoco import MujocoBackend
from rl.robots.real.backend import StationBackend
from rl.robots.station import load_station
from tests.contracts.backends import TASK, BackendContract, InsertionContract
from tests.examples.test_arm import calibrate


def used(backend: Backend) -> Iterator[Backend]:
    """Yield a backend that has been reset; closing it twice is allowed."""
    backend.reset(TASK.home, np.random.default_rng(0))
    yield backend
    backend.close()
    backend.close()


class TestFake(InsertionContract):
    @pytest.fixture(scope="class")
    def backend(self) -> Iterator[Backend]:
        yield from used(FakeBackend(TASK))


class TestMujoco(InsertionContract):
    @pytest.fixture(scope="class")
    def backend(self) -> Iterator[Backend]:
        yield from used(MujocoBackend(TASK))


class TestSomebodyElsesArm(BackendContract):
    moves = False

    @pytest.fixture(scope="class")
    def backend(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
        file = write_station(tmp_path_factory.mktemp("station"))
        calibrate(file, "side", "wrist_1", "wrist_2")
        station = load_station(file)
        yield from used(StationBackend(TASK, station, cameras=CameraRig(station.cameras, TASK)))

    def environment(self, backend: Backend) -> ManipulationEnv:
        assert isinstance(backend, StationBackend)
        return RobotEnv(TASK, backend, image_size=32)

    def rest(self, backend: Backend) -> None:
        assert isinstance(backend, StationBackend)
        backend.pause()
