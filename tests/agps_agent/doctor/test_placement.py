"""Station and task against each other, on tables and calibrations that are worked by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.doctor.placement import MAX_RESIDUAL_DEG, bounds, calibration, task_cameras
from rl.errors import AgpsError
from rl.robots.base import CameraInfo
from rl.robots.cameras.calibration import CameraCalibration
from rl.robots.franka.config import ArmConfig
from rl.robots.station import CameraConfig, StationConfig
from rl.tasks import get_task
from rl.types import Box

TASK = get_task("usb_insertion")


def station(lower: Any = TASK.workspace.lower, upper: Any = TASK.workspace.upper, *names: str) -> StationConfig:
    cameras = tuple(CameraConfig(name=name, device="1", mount="hand") for name in names)
    box = Box(lower=np.array(lower), upper=np.array(upper))
    return StationConfig(arm=ArmConfig(ip="127.0.0.2"), workspace=box, cameras=cameras)


def test_room_of_the_task_is_what_both_workspaces_share() -> None:
    """20 mm are taken from below and nothing from above."""
    size_mm = 1e3 * (TASK.workspace.upper - TASK.workspace.lower)
    told = bounds(station(TASK.workspace.lower, TASK.workspace.upper + 0.5), TASK)
    assert f"has {size_mm[0]:.0f}, {size_mm[1]:.0f}, {size_mm[2]:.0f} mm in x, y, z" in told


@pytest.mark.parametrize(("axis", "name"), [(0, "x"), (1, "y"), (2, "z")])
def test_home_outside_is_told_with_axis_and_distance(axis: int, name: str) -> None:
    """The workspace ends 30 mm below the home pose along one axis."""
    upper = TASK.workspace.upper + 0.3
    upper[axis] = TASK.home[axis, 3] - 0.030
    with pytest.raises(AgpsError, match=rf"home pose .* is 30 mm outside the station's workspace along {name}; widen"):
        bounds(station(TASK.workspace.lower - 0.3, upper), TASK)


def test_worst_axis_is_the_one_that_is_told() -> None:
    lower = TASK.workspace.lower - 0.3
    lower[0], lower[1] = TASK.home[0, 3] + 0.010, TASK.home[1, 3] + 0.025
    with pytest.raises(AgpsError, match="25 mm outside the station's workspace along y"):
        bounds(station(lower, TASK.workspace.upper + 0.3), TASK)


def test_workspaces_that_only_touch_do_not_overlap() -> None:
    lower = TASK.workspace.lower.copy()
    lower[2] = TASK.workspace.upper[2]
    with pytest.raises(AgpsError, match="do not overlap"):
        bounds(station(lower, TASK.workspace.upper + 0.2), TASK)


def test_cameras_that_are_there_are_told_once_each() -> None:
    names = [camera.name for camera in (*TASK.policy_cameras, *TASK.agent_cameras)]
    told = task_cameras(station(*(TASK.workspace.lower, TASK.workspace.upper), *names, "spare"), TASK)
    assert told == f"usb_insertion uses {', '.join(dict.fromkeys(names))}"


def test_only_the_cameras_that_lack_are_asked_for() -> None:
    with pytest.raises(AgpsError, match=r"uses side, which the station lacks; add a \[\[cameras\]\] table"):
        task_cameras(station(TASK.workspace.lower, TASK.workspace.upper, "wrist_1", "wrist_2"), TASK)


GOOD = CameraCalibration(
    camera="side",
    serial="218622270001",
    mount="world",
    width=640,
    height=480,
    T_mount_cam=tuple(tuple(row) for row in np.eye(4).tolist()),
    residual_mm=0.61,
    residual_deg=0.052,
    poses=20,
    date=datetime.now(UTC).isoformat(timespec="seconds"),
    board="charuco 8x6 25.00 mm",
)
INFO = CameraInfo(
    name="side",
    serial="218622270001",
    model="RealSense D435",
    width=640,
    height=480,
    depth_unit_m=0.001,
    K=np.eye(3),
    distortion=np.zeros(5),
)


def camera(tmp_path: Path, known: CameraCalibration | None) -> CameraConfig:
    file = tmp_path / "side.json"
    if known is not None:
        known.save(file)
    return CameraConfig(name="side", device="218622270001", mount="world", calibration=None if known is None else file)


def test_good_calibration_is_told_with_its_errors_and_its_day(tmp_path: Path) -> None:
    told = calibration(camera(tmp_path, GOOD), INFO, needed=True)
    assert told == (f"0.61 mm, 0.052 deg on held-out views, of {GOOD.date[:10]}; serial and profile match")


def test_camera_that_does_not_answer_is_judged_by_its_file_alone(tmp_path: Path) -> None:
    assert "serial and profile not compared" in calibration(camera(tmp_path, GOOD), None, needed=True)


def test_camera_of_the_policy_needs_no_calibration_and_that_of_the_agent_does(tmp_path: Path) -> None:
    config = camera(tmp_path, None)
    assert calibration(config, INFO, needed=False) == "none: it serves the policy only"
    with pytest.raises(AgpsError, match="looks through side, which has no calibration; run `agps calibrate side`"):
        calibration(config, INFO, needed=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"serial": "5"}, "serial 5, and this one has 218622270001"),
        ({"width": 848}, "848x480 images, and the camera sends 640x480"),
        ({"mount": "hand"}, "for the mount 'hand', and the station says 'world'"),
        ({"residual_mm": 3.1}, "off by 3.1 mm on held-out views, more than 3"),
        ({"residual_deg": 1.2}, "off by 1.20 deg, more than 1; run `agps calibrate side`"),
        ({"date": "yesterday"}, "no readable date"),
        ({"date": (datetime.now(UTC) - timedelta(days=91)).isoformat()}, "91 days old, more than 90"),
    ],
)
def test_each_fault_of_a_calibration_is_told_with_its_limit(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(AgpsError) as refused:
        calibration(camera(tmp_path, replace(GOOD, **changes)), INFO, needed=True)
    assert words in str(refused.value) and str(refused.value).startswith("side.json: ")


def test_all_faults_of_a_calibration_are_told_at_once(tmp_path: Path) -> None:
    wrong = replace(GOOD, serial="5", residual_mm=9.0, residual_deg=2.0)
    with pytest.raises(AgpsError) as refused:
        calibration(camera(tmp_path, wrong), INFO, needed=False)
    assert all(words in str(refused.value) for words in ("serial 5", "9.0 mm", "2.00 deg"))


@pytest.mark.parametrize("residual_deg", [0.0, MAX_RESIDUAL_DEG])
def test_error_at_the_limit_is_good(residual_deg: float, tmp_path: Path) -> None:
    assert calibration(camera(tmp_path, replace(GOOD, residual_deg=residual_deg)), INFO, needed=True)


def test_missing_and_damaged_files_are_told(tmp_path: Path) -> None:
    config = camera(tmp_path, GOOD)
    (tmp_path / "side.json").write_text("{")
    with pytest.raises(AgpsError, match="damaged"):
        calibration(config, INFO, needed=True)
    (tmp_path / "side.json").unlink()
    with pytest.raises(AgpsError, match="There is no calibration"):
        calibration(config, INFO, needed=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"T_mount_cam": ((1.0, 0.0, 0.0, 712.0), *GOOD.T_mount_cam[1:])}, "not a rigid pose in m within 10 m"),
        ({"T_mount_cam": ((1.0, 0.0, 0.0, float("nan")), *GOOD.T_mount_cam[1:])}, "not a rigid pose|damaged"),
        ({"T_mount_cam": ((1.0, 1e-4, 0.0, 0.0), *GOOD.T_mount_cam[1:])}, "not a rigid pose"),
        ({"T_mount_cam": ((1.0, 0.0), *GOOD.T_mount_cam[1:])}, "damaged; run `agps calibrate` again"),
        ({"residual_mm": float("nan")}, "residual that is no error|damaged"),
    ],
)
def test_calibration_that_places_a_camera_nowhere_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(AgpsError, match=words):
        calibration(camera(tmp_path, replace(GOOD, **changes)), INFO, needed=True)
