"""An arm that is not ours, from its station file to an episode, a checkup and a rehearsal on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from agps_agent.cli.main import main
from agps_agent.doctor.checkup import attempt
from agps_agent.doctor.station import StationCheckup
from examples.extend_arm import run_episode, write_station
from rl.errors import ConfigError
from rl.robots.cameras.calibration import CameraCalibration
from rl.robots.station import load_station, open_arm


@pytest.fixture
def station(tmp_path: Path) -> Path:
    return write_station(tmp_path)


def test_episode_goes_where_the_actions_say_and_stays_in_the_workspace(station: Path) -> None:
    places = np.array(run_episode(station, steps=20))
    np.testing.assert_allclose(np.diff(places, axis=0), [[0.002, 0.0, 0.0]] * 19, atol=1e-9)


def test_doctor_asks_it_what_can_be_asked_of_any_arm(station: Path) -> None:
    with StationCheckup(station, ip=None, task="usb_insertion", hold_s=0.2) as checkup:
        found = {name: attempt(check) for name, check in checkup.checks().items()}
    assert found["station"].finding.startswith(f"{station}: arm at 192.0.2.7, 3 cameras")
    assert "the TCP is at (0.500, 0.000, 0.175) m" in found["arm"].finding
    assert found["commands"].finding.startswith("held its pose for 0.2 s")
    assert found["gripper"].finding == "none, and the task needs none"


def test_command_line_rehearses_with_it(
    station: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(station.parent)
    calibrate(station, "side")
    argv = ["train", "usb_insertion", "--robot", "station", "--station", str(station), "--method", "serl"]
    assert main([*argv, "--dry-run", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["steps"] == summary["robot"]["commands_drawn"] == 100
    assert summary["folder"].startswith("runs/usb_insertion/station-serl-")


def calibrate(station: Path, *cameras: str) -> None:
    """Say where cameras of the example's station are: 0.6 m above the base, or before the hand, looking down."""
    looking_down = np.diag([1.0, -1.0, -1.0, 1.0])
    looking_down[:3, 3] = [0.5, 0.0, 0.6]
    text = station.read_text()
    for name in cameras:
        mount = "world" if name == "side" else "hand"
        CameraCalibration(
            camera=name,
            serial=name,
            mount=mount,
            width=640,
            height=480,
            T_mount_cam=tuple(map(tuple, looking_down.tolist())),
            residual_mm=0.0,
            residual_deg=0.0,
            poses=0,
            date="2026-01-01T00:00:00+00:00",
            board="none: drawn",
        ).save(station.parent / f"{name}.json")
        text = text.replace(f'device = "{name}"', f'device = "{name}"\ncalibration = "{name}.json"')
    station.write_text(text)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('ip = "192.0.2.7"', 'ip = "192.0.2.7"\nspeed = 3', "arm has no 'speed'; it has ip"),
        ('ip = "192.0.2.7"', "", "arm lacks 'ip'; add it"),
        ("PointArm", "PointConfig", "is no arm: derive a class from rl.robots.base.Arm"),
        ("PointArm", "Absent", "has no attribute 'Absent'"),
        ("ip = ", "kind = 7\nip = ", "Cannot overwrite a value"),
    ],
)
def test_station_that_does_not_fit_its_arm_is_refused_in_one_sentence(
    station: Path, old: str, new: str, words: str
) -> None:
    station.write_text(station.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as refused:
        load_station(station)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_file_of_an_arm_is_found_beside_the_station_file(
    station: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(Path("examples/extend_arm.py").read_text())
    station.write_text(station.read_text().replace(str(Path("examples/extend_arm.py").resolve()), "./mine.py"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert type(open_arm(load_station(station))).__name__ == "PointArm"


def test_another_arm_than_the_one_that_is_asked_for_is_refused(
    station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "usb_insertion", "--robot", "franka", "--station", str(station)]) == 2
    assert "say --robot station, or correct kind under [arm]" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["ask"], ["demos", "record"], ["reward", "collect"], ["train"]])
def test_robot_that_there_is_not_is_refused_by_every_command(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "usb_insertion", "--robot", "ur5"]) == 2
    err = capsys.readouterr().err
    assert "There is no robot 'ur5'; use sim, station" in err and "franka or package.module:Name" in err
    assert err.count("\n") == 1
