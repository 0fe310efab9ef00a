"""Emulated stations for the tests in this folder."""

from collections.abc import Iterator

import pytest

from rl.robots.emulator.server import Emulator
from rl.tasks import get_task


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """One emulated USB station for all tests that leave it as they found it: no faults, the arm in the workspace."""
    pytest.importorskip("franky_sim", reason="needs the extra emulator")
    with Emulator(get_task("usb_insertion")) as station:
        yield station


@pytest.fixture
def fresh_emulator() -> Iterator[Emulator]:
    """An emulated USB station of one's own, to break."""
    pytest.importorskip("franky_sim", reason="needs the extra emulator")
    with Emulator(get_task("usb_insertion")) as station:
        yield station
