"""Emulated stations for the tests in this folder, and the clock that they share with the driver."""

from collections.abc import Iterator
from typing import Any

import pytest

from rl.robots.clock import SLOWEST, Clock
from rl.robots.emulator.server import Emulator
from rl.tasks import get_task

ROOM = 2.0
"""How much slower than a computer needs that starts to test: the tests come in pairs, and load comes and goes."""
PACES = pytest.StashKey[list[str]]()
"""What was measured, in words: one per process of the test run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slowdown", type=float, help="Seconds that a second of the emulated stations takes; measured if not given."
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PACES] = []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[PACES].extend(node.workeroutput.get("paces", []) if hasattr(node, "workeroutput") else [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for pace in config.stash[PACES]:
        terminalreporter.write_line(f"clock of the emulated stations: {pace}")


@pytest.fixture(scope="session")
def clock(request: pytest.FixtureRequest) -> Clock:
    """The clock of every emulated station of this run, measured once; limits, waits and faults are of its seconds."""
    pytest.importorskip("franky_sim", reason="needs the extra emulator")
    asked = request.config.getoption("--slowdown", default=None)
    with Emulator(get_task("usb_insertion"), slowdown=asked) as station:
        said, measured = station.pace, station.clock
    if asked is None:
        measured = Clock(min(ROOM * measured.slowdown, SLOWEST))
        said = f"1 s of a station takes {measured.slowdown:g} s here; alone, {said}"
    request.config.stash[PACES].append(said)
    if hasattr(request.config, "workeroutput"):
        request.config.workeroutput["paces"] = [said]
    return measured


@pytest.fixture(scope="session")
def emulator(clock: Clock) -> Iterator[Emulator]:
    """One emulated USB station for all tests that leave it as they found it: no faults, the arm in the workspace."""
    with Emulator(get_task("usb_insertion"), slowdown=clock.slowdown) as station:
        yield station


@pytest.fixture
def fresh_emulator(clock: Clock) -> Iterator[Emulator]:
    """An emulated USB station of one's own, to break."""
    with Emulator(get_task("usb_insertion"), slowdown=clock.slowdown) as station:
        yield station
