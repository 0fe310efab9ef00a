"""`agps doctor` on an emulated station: each planted fault is one FAIL line of its own, with what to do."""

import dataclasses
import datetime
import json
import re
import shutil
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

franky = pytest.importorskip("franky")
pytest.importorskip("pyrealsense2")
pytestmark = pytest.mark.emulated

from agps_agent.cli.main import main  # noqa: E402
from agps_agent.doctor import software  # noqa: E402
from agps_agent.doctor.checkup import Finding, attempt  # noqa: E402
from agps_agent.doctor.station import StationCheckup  # noqa: E402
from rl.robots.cameras import open_camera, streaming  # noqa: E402
from rl.robots.cameras.calibration import CameraCalibration  # noqa: E402
from rl.robots.cameras.recording import Recording  # noqa: E402
from rl.robots.emulator.server import Emulator  # noqa: E402
from rl.robots.franka import connection  # noqa: E402
from rl.robots.station import load_station  # noqa: E402

NO_ARM = {"arm mode", "force at rest", "gripper"}
"""What cannot be checked without a connection."""


@dataclass
class Station:
    """A station file of one's own, to spoil."""

    path: Path
    emulator: Emulator
    patch: pytest.MonkeyPatch
    ip: str | None = None
    held: object = None
    """What must live as long as the test."""

    def rewrite(self, old: str, new: str) -> None:
        text = self.path.read_text()
        assert old in text
        self.path.write_text(text.replace(old, new, 1))

    def recalibrate(self, camera: str, **changes: object) -> None:
        file = self.path.parent / "calibration" / f"{camera}.json"
        dataclasses.replace(CameraCalibration.load(file), **changes).save(file)

    def check(self, *, hold_s: float = 0.0) -> dict[str, Finding]:
        with StationCheckup(self.path, ip=self.ip, task="usb_insertion", hold_s=hold_s) as checkup:
            return {name: attempt(check) for name, check in checkup.checks().items()}


@pytest.fixture
def station(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    shutil.copytree(emulator.station.parent, tmp_path / "station")
    yield Station(tmp_path / "station" / emulator.station.name, emulator, monkeypatch)
    emulator.fault("clear")


@dataclass(frozen=True)
class Planted:
    """A fault, and what the doctor has to say."""

    plant: Callable[[Station], object]
    check: str
    says: str
    advises: str
    unchecked: frozenset[str] = frozenset()


def no_server(station: Station) -> None:
    station.ip = "127.0.0.78"


def wrong_firmware(station: Station) -> None:
    """A control box that speaks version 6 and tells so, as an FR3 with system 5.2 does."""
    station.ip = "127.0.0.77"
    server = socket.create_server((station.ip, 1337))

    def serve() -> None:
        with server, server.accept()[0] as client:
            command, number, _ = struct.unpack("<III", client.recv(12, socket.MSG_WAITALL))
            client.sendall(struct.pack("<IIIHH4x", command, number, 20, 1, 6))
            client.recv(1)

    threading.Thread(target=serve, daemon=True).start()


def other_package(station: Station) -> None:
    station.patch.setitem(sys.modules, "franky", ModuleType("franky"))


def old_package(station: Station) -> None:
    old = ModuleType("franky")
    old.Robot = object
    station.patch.setitem(sys.modules, "franky", old)


def normal_kernel(station: Station) -> None:
    station.rewrite('realtime = "ignore"', 'realtime = "enforce"')
    station.patch.setattr(software, "has_realtime_kernel", lambda: False)


def low_limits(station: Station) -> None:
    station.rewrite('realtime = "ignore"', 'realtime = "enforce"')
    station.patch.setattr(software, "has_realtime_kernel", lambda: True)
    station.patch.setattr(software.resource, "getrlimit", lambda kind: (0, 0))


def busy_arm(station: Station) -> None:
    other = franky.Robot(station.emulator.ip, realtime_config=franky.RealtimeConfig.Ignore)
    station.patch.setattr(station, "held", other)


def missing_serial(station: Station) -> None:
    device = load_station(station.path).camera("wrist_2").device
    station.rewrite(f'"{device}"', '"218622270001"')


def impossible_profile(station: Station) -> None:
    text = station.path.read_text()
    head, tail = text.split('name = "side"')
    station.path.write_text(head + 'name = "side"' + tail.replace("width = 424", "width = 1280", 1))


def stalled_camera(station: Station) -> None:
    station.patch.setattr(streaming, "START_TIMEOUT_S", 5.0)
    station.emulator.fault("camera_stall", "wrist_1")


def empty_depth(station: Station) -> None:
    """The side camera is the recording of one that looks from too near."""
    config = load_station(station.path).camera("side")
    camera = open_camera(config)
    info, frame = camera.info, camera.latest(max_age_s=5.0)
    camera.close()
    file = station.path.parent / "near.db3"
    with Recording(file, info) as recording:
        for number in range(12):
            recording.write_raw(frame.rgb, np.zeros(frame.rgb.shape[:2], np.uint16), time_s=1.0 + number / info.fps)
    station.rewrite(config.device, file.name)


def old_calibration(station: Station) -> None:
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=200)
    station.recalibrate("side", date=then.isoformat())


def moved_workspace(station: Station) -> None:
    station.rewrite("lower = [0.39,", "lower = [0.52,")


FAULTS = {
    "no server": Planted(no_server, "arm", "at 127.0.0.78 was refused", "activate FCI in Desk", frozenset(NO_ARM)),
    "firmware": Planted(wrong_firmware, "arm", "another protocol", "by-robot-server-version", frozenset(NO_ARM)),
    "busy arm": Planted(busy_arm, "arm", "hung up", "another program uses the arm; close it", frozenset(NO_ARM)),
    "wrong franky": Planted(
        other_package, "arm client", "another one of the same import name", "pip uninstall", frozenset({"arm", *NO_ARM})
    ),
    "old franky": Planted(old_package, "arm client", "older than 2.0", "pip install -U", frozenset({"arm", *NO_ARM})),
    "kernel": Planted(normal_kernel, "real time", "no PREEMPT_RT", "boot one that has"),
    "limits": Planted(low_limits, "real time", "rtprio is 0", "limits.conf"),
    "bounds": Planted(moved_workspace, "bounds", "20 mm outside .* along x", r"widen \[workspace\]"),
    "reflex": Planted(
        lambda s: s.emulator.fault("reflex"), "arm mode", "mode reflex with cartesian_reflex", "free it, and clear"
    ),
    "bias": Planted(lambda s: s.emulator.fault("force", 8), "force at rest", "feels 8.0 N", "load_kg"),
    "gripper": Planted(
        lambda s: s.emulator.fault("gripper", "unhomed"), "gripper", "not been homed", "home it in Desk"
    ),
    "no camera": Planted(
        missing_serial,
        "camera wrist_2",
        "no RealSense with serial number '218622270001'",
        "L515 needs",
        frozenset({"usb wrist_2", "frames wrist_2"}),
    ),
    "profile": Planted(
        impossible_profile,
        "camera side",
        "no depth and colour with 1280x240",
        "it has: 424x240",
        frozenset({"usb side", "frames side"}),
    ),
    "stall": Planted(
        stalled_camera,
        "camera wrist_1",
        "sent no complete frame",
        "USB 3 port of its own",
        frozenset({"usb wrist_1", "frames wrist_1"}),
    ),
    "empty depth": Planted(empty_depth, "frames side", "empty but for 0 %", "clean the lens"),
    "calibration age": Planted(old_calibration, "calibration side", "is 200 days old", "agps calibrate"),
    "serial": Planted(
        lambda s: s.recalibrate("side", serial="9"),
        "calibration side",
        "with serial 9, and this one has",
        "agps calibrate",
    ),
    "residual": Planted(
        lambda s: s.recalibrate("wrist_1", residual_mm=7.0),
        "calibration wrist_1",
        "off by 7.0 mm",
        "agps calibrate",
    ),
    "no calibration": Planted(
        lambda s: (s.path.parent / "calibration" / "wrist_2.json").unlink(),
        "calibration wrist_2",
        "There is no calibration",
        "`agps calibrate` makes one",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_one_line_of_its_own(name: str, station: Station):
    fault = FAULTS[name]
    fault.plant(station)
    findings = station.check()

    assert [check for check, found in findings.items() if found.ok is False] == [fault.check]
    line = findings[fault.check].finding
    assert re.search(fault.says, line) and re.search(fault.advises, line), line
    assert [other for other, it in FAULTS.items() if it.check == fault.check and re.search(it.says, line)] == [name]
    unchecked = {check for check, found in findings.items() if found.ok is None}
    assert unchecked == fault.unchecked | {"commands"}


@pytest.fixture(autouse=True)
def arm_recovers(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if request.node.name.endswith("[reflex]"):
        emulator = request.getfixturevalue("emulator")
        franky.Robot(emulator.ip, realtime_config=franky.RealtimeConfig.Ignore).recover_from_errors()


def test_sound_station_passes_every_check_and_the_arm_has_not_moved(station: Station):
    def tcp() -> np.ndarray:
        robot = franky.Robot(station.emulator.ip, realtime_config=franky.RealtimeConfig.Ignore)
        return np.array(robot.state.O_T_EE.matrix)[:3, 3]

    before = tcp()
    findings = station.check(hold_s=1.0)
    assert {name: found.finding for name, found in findings.items() if found.ok is not True} == {}
    assert findings["commands"].finding.endswith("while the arm held its pose for 1 s")
    np.testing.assert_allclose(tcp(), before, atol=5e-4)


def test_command_line_prints_a_line_per_check_and_fails_with_one(station: Station, capsys: pytest.CaptureFixture[str]):
    arguments = ["doctor", "--station", str(station.path), "--hold-s", "0"]
    assert main([*arguments, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert all(set(result) == {"ok", "finding"} for result in results.values())
    assert results["commands"] == {"ok": None, "finding": "not checked: --hold-s is 0"}

    station.recalibrate("side", serial="9")
    assert main([*arguments, "--robot-ip", station.emulator.ip]) == 1
    said = capsys.readouterr()
    failed = [line for line in said.out.splitlines() if not line.startswith(("ok  ", "-   "))]
    assert len(failed) == 1 and failed[0].startswith("FAIL  calibration side")
    assert said.err.strip() == f"agps: 1 of {len(results)} checks failed: calibration side."


def test_station_that_cannot_be_read_is_the_one_failure(station: Station):
    station.path.write_text("[arm]\nip = 1")
    findings = station.check()
    assert [(name, found.ok) for name, found in findings.items()] == [("station", False)]


def test_doctor_gives_up_on_an_arm_that_never_answers(station: Station, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "CONNECT_S", 0.5)
    station.ip = "127.0.0.79"
    with socket.create_server((station.ip, 1337)):
        findings = station.check()
    assert findings["arm"].ok is False and "does not answer" in findings["arm"].finding
