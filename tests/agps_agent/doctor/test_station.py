"""The checks of a station whose client library is a stand-in: what it says is what an FR3 and its hand say."""

import importlib.metadata
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from agps_agent.doctor import software
from agps_agent.doctor.checkup import Finding, attempt
from agps_agent.doctor.station import StationCheckup
from rl.errors import AgpsError

TABLE = """
[arm]
ip = "127.0.0.2"
realtime = "ignore"
[workspace]
lower = [0.30, -0.20, 0.00]
upper = [0.70, 0.20, 0.40]
"""
ERRORS = (
    "NetworkException", "ControlException", "CommandException", "ProtocolException", "InvalidOperationException",
    "InvalidMotionTypeException", "RealtimeException", "GripperException", "IncompatibleVersionException",
)  # fmt: skip


@dataclass
class Box:
    """What a control box and its hand say."""

    mode: str = "Idle"
    errors: tuple[str, ...] = ()
    force_N: tuple[float, float, float] = (0.0, 0.0, 1.0)
    width_m: float = 0.04
    max_width_m: float = 0.08
    refuses: str = ""
    """What the box says instead of answering."""
    hand_refuses: str = ""
    versions: dict[str, str] = field(default_factory=lambda: {"franky-control": "2.1.0"})

    def module(self) -> ModuleType:
        """The client library in front of this box."""
        franky = ModuleType("franky")
        for name in ERRORS:
            setattr(franky, name, type(name, (Exception,), {}))
        franky.CartesianImpedanceTrackingMotion = object
        franky.RealtimeConfig = SimpleNamespace(Enforce=1, Ignore=0)
        franky.Robot, franky.Gripper = self._robot, self._gripper
        self.library = franky
        return franky

    def _robot(self, ip: str, **_: Any) -> Any:
        if self.refuses:
            raise self.library.NetworkException(self.refuses)
        errors = SimpleNamespace(**{name: name in self.errors for name in ("joint_reflex", "power_limit_violation")})
        state = SimpleNamespace(
            O_T_EE=SimpleNamespace(translation=(0.5, 0.0, 0.25)),
            robot_mode=SimpleNamespace(name=self.mode),
            current_errors=errors,
            O_F_ext_hat_K=(*self.force_N, 0.0, 0.0, 0.0),
        )
        return SimpleNamespace(state=state, set_collision_behavior=lambda *_: None)

    def _gripper(self, ip: str) -> Any:
        if self.hand_refuses:
            raise self.library.NetworkException(self.hand_refuses)
        return SimpleNamespace(state=SimpleNamespace(width=self.width_m, max_width=self.max_width_m))


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A box that is fit; there is no camera client."""
    box = Box()

    def version(name: str) -> str:
        if name not in box.versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return box.versions[name]

    monkeypatch.setitem(sys.modules, "franky", box.module())
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)  # type: ignore[arg-type]
    monkeypatch.setattr(importlib.metadata, "version", version)
    yield box


def check(folder: Path, *wanted: str, more: str = "", hold_s: float = 0.0) -> dict[str, Finding]:
    """The findings of the checks that are wanted, made in their order; all, if none is named."""
    (folder / "station.toml").write_text(TABLE + more)
    with StationCheckup(folder / "station.toml", ip=None, task="usb_insertion", hold_s=hold_s) as checkup:
        checks = checkup.checks()
        return {name: attempt(checks[name]) for name in wanted or checks}


def test_fit_arm_and_hand_are_told_in_numbers(box: Box, tmp_path: Path) -> None:
    found = check(tmp_path, "station", "arm client", "real time", "bounds", "arm", "arm mode", "gripper")
    assert [name for name, finding in found.items() if not finding.ok] == []
    assert found["station"].finding == f"{tmp_path}/station.toml: arm at 127.0.0.2, 0 cameras"
    assert found["arm"].finding == "FCI answers at 127.0.0.2; the TCP is at (0.500, 0.000, 0.250) m"
    assert found["gripper"].finding == "homed, open 40 of 80 mm"


@pytest.mark.parametrize(
    ("mode", "act"),
    [
        ("Reflex", "free it, and clear the error in Desk"),
        ("UserStopped", "release the stop button"),
        ("Guiding", "let go of the guiding button"),
        ("AutomaticErrorRecovery", "wait until it has recovered"),
        ("Move", "end the other program that moves it"),
        ("Other", "unlock the brakes and activate FCI in Desk"),
        ("OfALaterVersion", "clear the error in Desk"),
    ],
)
def test_mode_of_the_arm_says_what_to_do(mode: str, act: str, box: Box, tmp_path: Path) -> None:
    box.mode = mode
    found = check(tmp_path, "arm", "arm mode")["arm mode"]
    assert found.ok is False and f"in mode {mode.lower()};" in found.finding and act in found.finding


def test_errors_of_the_arm_are_named(box: Box, tmp_path: Path) -> None:
    box.mode, box.errors = "Reflex", ("joint_reflex", "power_limit_violation")
    found = check(tmp_path, "arm", "arm mode")["arm mode"]
    assert "in mode reflex with joint_reflex, power_limit_violation;" in found.finding


def test_idle_arm_with_an_error_is_not_fit(box: Box, tmp_path: Path) -> None:
    box.errors = ("joint_reflex",)
    assert "mode idle with joint_reflex" in check(tmp_path, "arm", "arm mode")["arm mode"].finding


@pytest.mark.parametrize(
    ("force_N", "ok", "words"),
    [
        ((3.0, 0.0, 4.0), True, "5.0 N, the limit is 5.0 N"),
        ((3.0, 4.0, 12.0), False, "feels 13.0 N at rest, (3.0, 4.0, 12.0), the limit is 5.0 N"),
    ],
)
def test_force_at_rest_is_its_length(
    force_N: tuple[float, float, float], ok: bool, words: str, box: Box, tmp_path: Path
) -> None:
    box.force_N = force_N
    found = check(tmp_path, "arm", "force at rest")["force at rest"]
    assert found.ok is ok and words in found.finding


@pytest.mark.parametrize(
    ("max_width_m", "words"),
    [
        (0.0, "has not been homed since it was switched on; home it in Desk"),
        (0.070, "opens 70 mm, the station says 80; home it in Desk with nothing between its fingers"),
    ],
)
def test_hand_that_is_not_homed_is_told(max_width_m: float, words: str, box: Box, tmp_path: Path) -> None:
    box.max_width_m = max_width_m
    found = check(tmp_path, "arm", "gripper")["gripper"]
    assert found.ok is False and words in found.finding


def test_hand_may_lack_five_millimetres(box: Box, tmp_path: Path) -> None:
    box.max_width_m = 0.0755
    assert check(tmp_path, "arm", "gripper")["gripper"].ok


def test_hand_that_does_not_answer_is_told_without_the_librarys_name(box: Box, tmp_path: Path) -> None:
    box.hand_refuses = "libfranka: no hand.\nat gripper.cpp:12"
    found = check(tmp_path, "arm", "gripper")["gripper"]
    assert "The gripper does not answer (no hand); mount the Franka Hand" in found.finding


def test_hand_that_is_not_used_is_not_asked(box: Box, tmp_path: Path) -> None:
    box.hand_refuses = "no hand"
    found = check(tmp_path, "arm", "gripper", more="[gripper]\nenabled = false\n")["gripper"]
    assert found == Finding(True, "not used as the station says")


def test_arm_that_does_not_answer_leaves_the_rest_unchecked(box: Box, tmp_path: Path) -> None:
    box.refuses = "libfranka: Connection refused."
    found = check(tmp_path, "arm", "arm mode", "force at rest", "gripper")
    assert found["arm"].ok is False and "activate FCI in Desk" in found["arm"].finding
    assert {found[name].finding for name in ("arm mode", "force at rest", "gripper")} == {
        "not checked: no connection to the arm"
    }


def test_arm_is_put_under_control_only_when_it_is_fit(box: Box, tmp_path: Path) -> None:
    box.mode = "Guiding"
    found = check(tmp_path, "arm", "arm mode", "commands", hold_s=3.0)["commands"]
    assert found.ok is None and "only when all checks above are good" in found.finding
    assert check(tmp_path, "commands")["commands"] == Finding(None, "not checked: --hold-s is 0")


@pytest.mark.parametrize(
    ("version", "ok"), [("1.9.9", False), ("2.0.0", True), ("2.7.1.post1", True), ("3.0.0", False)]
)
def test_arm_client_has_to_be_of_the_second_version(version: str, ok: bool, box: Box, tmp_path: Path) -> None:
    box.versions["franky-control"] = version
    found = check(tmp_path, "arm client", "arm")
    assert (
        found["arm client"].ok is ok and f"franky-control {'' if ok else 'is '}{version}" in found["arm client"].finding
    )
    assert found["arm"].ok is (True if ok else None)


def test_other_package_of_that_name_is_told(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "franky", ModuleType("franky"))
    assert "not franky-control but another one" in check(tmp_path, "arm client")["arm client"].finding


CAMERA = """
[[cameras]]
name = "wrist_1"
device = "218622270001"
mount = "hand"
"""


def test_camera_without_its_client_is_told_once(box: Box, tmp_path: Path) -> None:
    found = check(tmp_path, more=CAMERA)
    assert found["camera client"].ok is False
    assert {found[name].ok for name in ("camera wrist_1", "usb wrist_1", "frames wrist_1")} == {None}
    assert found["task cameras"].finding.endswith("add a [[cameras]] table.")
    assert "real time" in found and list(found)[0] == "station"


def test_fields_of_the_task_that_differ_are_counted(box: Box, tmp_path: Path) -> None:
    found = check(tmp_path, "station", more="[task]\nhorizon = 80\n")["station"]
    assert found.finding.endswith("0 cameras, 1 fields of usb_insertion changed")


def test_unknown_field_of_the_task_is_the_one_finding(box: Box, tmp_path: Path) -> None:
    (found,) = check(tmp_path, more="[task]\nhook_height = 0.3\n").values()
    assert found.ok is False and "hook_height" in found.finding


def rs_versions(realsense: str, opencv: str) -> dict[str, str]:
    return {"pyrealsense2": realsense, "opencv-python-headless": opencv}


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        (rs_versions("2.54.2.5684", "4.10.0.84"), "knows the L515"),
        (rs_versions("2.55.1", "4.9.0"), "does not see an L515"),
        ({"pyrealsense2": "2.56.5", "opencv-python": "4.11.0"}, "opencv 4.11.0"),
    ],
)
def test_camera_client_says_which_cameras_it_knows(
    versions: dict[str, str], words: str, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", ModuleType("pyrealsense2"))
    sys.modules["pyrealsense2"].pipeline = object  # type: ignore[attr-defined]
    box.versions |= versions
    assert words in software.camera_client()


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        (rs_versions("2.53.1", "4.10.0"), "2.53.1; 2.54.2 is the oldest that works"),
        (rs_versions("2.55.1", "5.0.0"), "OpenCV is 5.0.0, which lacks hand-eye calibration"),
        ({"pyrealsense2": "2.55.1"}, "opencv-python-headless is not installed under that name"),
    ],
)
def test_camera_client_that_does_not_work_is_refused(
    versions: dict[str, str], words: str, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", ModuleType("pyrealsense2"))
    sys.modules["pyrealsense2"].pipeline = object  # type: ignore[attr-defined]
    box.versions |= versions
    with pytest.raises(AgpsError, match=words):
        software.camera_client()


def test_kernel_is_not_asked_for_an_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "has_realtime_kernel", lambda: False)
    assert "for emulators, not for an arm" in software.realtime("ignore")
    with pytest.raises(AgpsError, match="has no PREEMPT_RT and the arm would stop for lost packets"):
        software.realtime("enforce")
