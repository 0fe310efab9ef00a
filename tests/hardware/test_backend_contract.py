"""The contract of backends (tests/contracts) on franky and the emulator."""

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("franky", reason="needs the extra robot")
pytest.importorskip("franky_sim", reason="needs the extra emulator")
pytest.importorskip("pyrealsense2", reason="needs the extra realsense")

from rl.robots.base import Backend  # noqa: E402
from rl.robots.cameras.rig import CameraRig  # noqa: E402
from rl.robots.emulator.server import Emulator  # noqa: E402
from rl.robots.real.backend import StationBackend  # noqa: E402
from rl.robots.station import load_station  # noqa: E402
from tests.contracts.backends import TASK, InsertionContract  # noqa: E402

pytestmark = pytest.mark.emulated


class TestFranka(InsertionContract):
    @pytest.fixture(scope="class")
    def backend(self, emulator: Emulator) -> Iterator[Backend]:
        station = load_station(emulator.station)
        made = StationBackend(TASK, station, cameras=CameraRig(station.cameras, TASK, clock=station.clock))
        made.reset(TASK.home, np.random.default_rng(0))
        yield made
        made.close()
        made.close()  # twice is allowed

    def rest(self, backend: Backend) -> None:
        assert isinstance(backend, StationBackend)
        backend.pause()
