"""Several robots, one Chroma server."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.transforms import pose
from rl.types import Box
from tests.clocks import until
from tests.ports import free_port
from tests.tools.memory.test_episodic import EAST, NORTH, recall, record
from tools.errors import MemoryUnavailable
from tools.memory import EpisodicMemory
from tools.memory import server as memory_server
from tools.memory.index import Entry

DOWN = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--host", "127.0.0.1", "--port", str(port)]
    folder = tmp_path_factory.mktemp("server")
    said = folder / "said.txt"
    with (
        said.open("wb") as output,
        subprocess.Popen([*command, "--path", str(folder)], cwd=folder, stdout=output, stderr=output) as process,
    ):
        try:
            until(lambda: answers(port) or process.poll() is not None, timeout_s=300.0)
            assert process.poll() is None, said.read_text()
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def answers(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/api/v2/heartbeat", timeout=5.0
        ) as answer,
    ):
        return answer.status == 200
    return False


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no fault."""
    monkeypatch.setattr(memory_server, "TIMEOUT_S", 30.0)


@pytest.fixture
def robots(server: tuple[str, subprocess.Popen[bytes]], tmp_path: Path) -> Iterator[list[EpisodicMemory]]:
    """Two robots; each test has a calibration of its own, so that it begins with nothing to recall."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(EpisodicMemory(tmp_path / name, 8, "usb_insertion", server=server[0]))
            for name in ("left", "right")
        ]


@contextmanager
def hanging(process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(memory_server, "TIMEOUT_S", 0.3)
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)
    monkeypatch.setattr(memory_server, "TIMEOUT_S", 30.0)


def test_what_one_robot_found_out_helps_the_other(robots: list[EpisodicMemory]) -> None:
    left, right = robots
    box = Box(lower=np.zeros(3), upper=np.ones(3))
    found = left.remember(record(box=box, calibration_hash="shared"))
    assert recall(right, calibration_hash="shared") is None  # its episode has not ended yet
    left.mark(found, success=True, T_base_tcp_final=pose(np.array([0.49, 0.02, 0.2]), DOWN))
    assert recall(right, calibration_hash="shared") == found
    np.testing.assert_allclose(right.get(found).targets["port"].aim, [0.49, 0.02, 0.05])
    assert right.get(found).box is not None
    right.mark(found, success=False)
    assert recall(left, calibration_hash="shared") is None
    assert (right.get(found).uses, right.get(found).failures) == (1, 1)


def test_what_was_taken_over_is_in_ones_own_log(robots: list[EpisodicMemory], tmp_path: Path) -> None:
    left, right = robots
    found = left.remember(record(calibration_hash="own"))
    left.mark(found, success=True)
    assert recall(right, calibration_hash="own") == found
    right.close()
    with EpisodicMemory(tmp_path / "right", 8, "usb_insertion") as alone:
        assert recall(alone, calibration_hash="own") == found


def test_two_robots_never_give_the_same_id(robots: list[EpisodicMemory]) -> None:
    assert len({memory.remember(record()) for memory in robots for _ in range(3)}) == 6


def test_forgotten_record_is_gone_for_everybody(robots: list[EpisodicMemory]) -> None:
    left, right = robots
    found = left.remember(record(calibration_hash="gone"))
    left.mark(found, success=True)
    left.forget(found)
    assert recall(right, calibration_hash="gone") is None


def test_server_that_hangs_costs_what_others_know_and_nothing_else(
    robots: list[EpisodicMemory], server: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = robots
    before = left.remember(record(EAST, calibration_hash="away"))
    left.mark(before, success=True)
    with hanging(server[1], monkeypatch):
        during = left.remember(record(NORTH, calibration_hash="away"))
        left.mark(during, success=True)
        assert recall(left, NORTH, calibration_hash="away") == during
        assert recall(left, EAST, calibration_hash="away") == before
    assert recall(left, EAST, calibration_hash="away") == before  # whatever gets through takes along what was not sent
    # The server carries out what it was sent while it hung in any order; what is newest then goes again.
    deadline = time.monotonic() + 120.0
    while recall(right, NORTH, calibration_hash="away") != during:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_late_request_does_not_bring_back_what_is_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that hung is carried out after the newer one that got through; then the newer one goes again."""
    monkeypatch.setattr(memory_server, "TIMEOUT_S", 0.2)
    index, server = memory_server.ServerIndex("http://127.0.0.1:9", "late"), FirstUpsertHangs()
    index._collection = server
    record_id = "usb_insertion-1"
    old, new = (Entry(record_id, EAST, {"success": success}, lambda: "") for success in (False, True))
    assert not index.upsert(old)
    monkeypatch.setattr(memory_server, "TIMEOUT_S", 60.0)
    assert index.upsert(new) and server.stored == {record_id: True}
    server.may_go_on.set()
    assert server.first_done.wait(60.0)
    deadline = time.monotonic() + 60.0
    while server.stored != {record_id: True}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


class FirstUpsertHangs:
    """A collection whose first request is carried out when it may go on."""

    def __init__(self) -> None:
        self.stored: dict[str, bool] = {}
        self.may_go_on, self.first_done = threading.Event(), threading.Event()
        self._requests = 0

    def upsert(self, *, ids: list[str], metadatas: list[dict[str, bool]], **_: object) -> None:
        self._requests += 1
        is_first = self._requests == 1
        if is_first:
            self.may_go_on.wait(60.0)
        self.stored.update({id: metadata["success"] for id, metadata in zip(ids, metadatas, strict=True)})
        if is_first:
            self.first_done.set()


def test_lost_server_is_filled_again_from_the_log(server: tuple[str, subprocess.Popen[bytes]], tmp_path: Path) -> None:
    with EpisodicMemory(tmp_path / "left", 8, "usb_insertion") as alone:  # as if the server had lost it
        found = alone.remember(record(calibration_hash="lost"))
        alone.mark(found, success=True)
    with (
        EpisodicMemory(tmp_path / "left", 8, "usb_insertion", server=server[0]),
        EpisodicMemory(tmp_path / "right", 8, "usb_insertion", server=server[0]) as right,
    ):
        assert recall(right, calibration_hash="lost") == found


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks://127.0.0.1:9/", "http://127.0.0.1:9"])
def test_server_on_this_machine_is_reached_whatever_the_proxy_is(
    proxy: str, server: tuple[str, subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(variable, proxy)
    with EpisodicMemory(tmp_path, 8, "usb_insertion", server=server[0]) as memory:
        found = memory.remember(record(calibration_hash=proxy))
        memory.mark(found, success=True)
        assert recall(memory, calibration_hash=proxy) == found
    assert os.environ["ALL_PROXY"] == proxy


def test_proxy_that_cannot_be_used_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:9/")
    with pytest.raises(ConfigError, match="ALL_PROXY names a socks:// proxy"):
        EpisodicMemory(tmp_path, 8, "usb_insertion", server="http://memory.invalid:8001")
    EpisodicMemory(tmp_path, 8, "usb_insertion").close()  # the folder was given up


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("http://127.0.0.1:9", MemoryUnavailable, "No Chroma server answers at http://127.0.0.1:9 .*chroma run"),
        ("127.0.0.1:8001", ConfigError, "is not a URL"),
        ("http://[memory:8001", ConfigError, "is no URL"),
    ],
)
def test_server_that_is_not_there_is_one_sentence(url: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words) as raised:
        EpisodicMemory(tmp_path, 8, "usb_insertion", server=url)
    assert "\n" not in str(raised.value)
    EpisodicMemory(tmp_path, 8, "usb_insertion").close()  # the folder was given up
