"""`agps calibrate` as it is called, on rendered boards: franky drives the arm, librealsense delivers the images."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("franky", reason="needs the extra robot")
pytest.importorskip("franky_sim", reason="needs the extra emulator")
pytest.importorskip("pyrealsense2", reason="needs the extra realsense")

from rl.robots.cameras.calibration import CameraCalibration
from rl.robots.clock import Clock
from rl.robots.emulator.profiles import CameraProfile
from rl.robots.emulator.server import Emulator
from rl.transforms import matrix_to_rotvec
from tests.hardware.board_scene import BoardScene, camera_pose

pytestmark = pytest.mark.emulated

LENS = (0.08, -0.15, 0.001, -0.0005, 0.05)
CAMERAS = {
    "hand": CameraProfile(name="wrist_1", serial="218622270001", width=640, height=480, fps=15, distortion=LENS),
    "world": CameraProfile(
        name="side",
        serial="831612070002",
        model="RealSense D435",
        width=640,
        height=480,
        fps=15,
        depth_unit_m=0.001,
        distortion=LENS,
    ),
}
COMMAND = (sys.executable, "-m", "agps_agent.cli", "calibrate")


class Cell:
    """An emulated arm with one camera and a board."""

    def __init__(self, mount: Any, folder: Path, clock: Clock) -> None:
        self.scene = BoardScene(mount=mount)
        self.camera = CAMERAS[mount].name
        self.folder = folder
        station = folder / "station.toml"
        self.emulator = Emulator(self.scene, cameras=[CAMERAS[mount]], station=station, slowdown=clock.slowdown)

    def start(self, *options: str, **pipes: Any) -> "subprocess.Popen[str]":
        command = [*COMMAND, self.camera, "--station", str(self.emulator.station), *options]
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | pipes
        return subprocess.Popen(command, text=True, env=environment, **streams)

    def run(self, *options: str) -> tuple[int, str, str]:
        """Run to the end."""
        process = self.start(*options)
        out, err = process.communicate(timeout=1_000)
        return process.returncode, out, err


@pytest.fixture(scope="module", params=["hand", "world"])
def cell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[Cell]:
    made = Cell(request.param, tmp_path_factory.mktemp(request.param), clock)
    with made.emulator:
        yield made


def test_calibration_is_true_to_half_a_millimetre_and_a_tenth_of_a_degree(
    cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    file = cell.folder / "new" / "calibration.json"
    options = ("--auto", "--no-confirm", "--views", "15", "--speed-m-s", "0.25")
    code, out, err = cell.run(*options, "--out", str(file), "--json")
    assert code == 0, err
    told = json.loads(out)
    calibration = CameraCalibration.load(file)
    camera = next(camera for camera in cell.scene.agent_cameras if camera.name == cell.camera)
    T_true = camera_pose(camera)
    mm = 1e3 * float(np.linalg.norm(calibration.T[:3, 3] - T_true[:3, 3]))
    deg = float(np.rad2deg(np.linalg.norm(matrix_to_rotvec(calibration.T[:3, :3].T @ T_true[:3, :3]))))
    with capsys.disabled():
        print(
            f"\n{cell.scene.mount}: {told['views']} views, {mm:.3f} mm and {deg:.4f} degrees from the truth; held out "
            f"{told['residual_mm']:.2f} mm and {told['residual_deg']:.3f} degrees, {told['reprojection_px']:.2f} px"
        )
    assert mm < 0.5 and deg < 0.1
    assert told["residual_mm"] < 1.0 and told["residual_deg"] < 0.3
    assert calibration.serial == CAMERAS[cell.scene.mount].serial and calibration.mount == cell.scene.mount
    assert (calibration.width, calibration.height, calibration.poses) == (640, 480, told["views"])


def test_check_reports_the_board_and_goes_above_it(cell: Cell) -> None:
    if cell.scene.mount == "world":
        pytest.skip("the board is in the hand: there is no going above it")
    code, out, err = cell.run("--check", "--no-confirm", "--hover-mm", "200", "--json")  # with the true calibration
    assert code == 0, err
    told = json.loads(out)
    origin = np.array(told["T_base_board"])[:3, 3]
    np.testing.assert_allclose(origin, cell.scene.T_other_board[:3, 3], atol=1e-3)
    np.testing.assert_allclose(told["tcp"], cell.scene.T_other_board[:3, 3] + [0.0, 0.0, 0.2], atol=4e-3)


def test_guided_capture_reads_keys_and_says_what_is_missing(cell: Cell) -> None:
    if cell.scene.mount == "world":
        pytest.skip("once is enough")
    file = cell.folder / "guided.json"
    terminal, theirs = pty.openpty()
    process = cell.start("--guided", "--out", str(file), stdin=theirs, stderr=theirs)
    os.close(theirs)
    said = read_until(terminal, "more needed")
    os.write(terminal, b"s")
    said += read_until(terminal, "1 views")
    os.write(terminal, b"f")
    said += read_until(terminal, "Not yet. Only 1 views show the board")
    os.write(terminal, b" ")
    read_until(terminal, "stopped by a key; nothing was written")
    assert process.wait(timeout=300) == 1
    os.close(terminal)
    assert not file.exists()


def read_until(terminal: int, words: str, timeout_s: float = 600.0) -> str:
    """Return what appears on a terminal up to some words."""
    said, deadline = "", time.monotonic() + timeout_s
    while words not in said:
        assert time.monotonic() < deadline, said
        said += os.read(terminal, 4096).decode(errors="replace")
    return said


def test_camera_that_stalls_leaves_no_file_and_a_standing_arm(cell: Cell) -> None:
    if cell.scene.mount == "world":
        pytest.skip("once is enough")
    file = cell.folder / "stalled.json"
    process = cell.start("--auto", "--no-confirm", "--out", str(file))
    assert process.stderr is not None
    assert "1 views" in process.stderr.readline()
    cell.emulator.fault("camera_stall", cell.camera, 30)
    err = process.stderr.read()
    assert process.wait(timeout=300) == 1
    assert f"agps: Camera {cell.camera}" in err.splitlines()[-1]
    assert list(cell.folder.glob("**/*stalled*")) == []
