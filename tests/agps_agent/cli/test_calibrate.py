import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agps_agent.cli.main import main
from rl.robots.cameras.calibration import CameraCalibration

STATION = """
[arm]
ip = "127.0.0.1"
[workspace]
lower = [0.4, -0.1, 0.07]
upper = [0.6, 0.1, 0.24]
[[cameras]]
name = "wrist_1"
device = "218622270001"
mount = "hand"
"""


@pytest.fixture
def station(tmp_path: Path) -> Path:
    file = tmp_path / "station.toml"
    file.write_text(STATION)
    return file


def test_board_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "charuco.pdf"
    assert main(["calibrate", "board", "--out", str(file), "--square-mm", "20", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": str(file), "board": "charuco 8x6 20.00 mm", "width_mm": 160.0, "height_mm": 120.0}
    assert file.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--auto", "--check"], "one of --guided, --auto and --check"),
        (["--auto", "--no-confirm", "--views", "14"], "--views is 14; ask for 15 to 200"),
        (["--auto", "--no-confirm", "--speed-m-s", "2"], "at most 0.25"),
        (["--check", "--no-confirm", "--hover-mm", "-5"], "ask for 0 to 300"),
        (["--guided"], "there is no terminal"),
        (["--auto"], "there is no terminal"),
        (["--auto", "--no-confirm", "--square-mm", "0.025"], "not between 5 and 200 mm"),
        (["--auto", "--no-confirm", "--out", "."], "is a folder"),
        (["--check", "--no-confirm"], "has no calibration"),
    ],
)
def test_impossible_request_is_refused_in_one_line(
    station: Path,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(["calibrate", "wrist_1", "--station", str(station), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_unknown_camera_is_refused(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "wrist_7", "--station", str(station), "--auto", "--no-confirm"]) == 2
    assert "no camera 'wrist_7'; it has wrist_1" in capsys.readouterr().err


def test_damaged_calibration_is_refused_before_anything_is_opened(
    station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = station.with_name("wrist_1.json")
    CameraCalibration(
        camera="wrist_1",
        serial="1",
        mount="hand",
        width=640,
        height=480,
        T_mount_cam=tuple(tuple(row) for row in (2.0 * np.eye(4)).tolist()),
        residual_mm=0.1,
        residual_deg=0.1,
        poses=15,
        date=datetime.now(UTC).isoformat(),
        board="charuco 8x6 25.00 mm",
    ).save(file)
    arguments = ["--check", "--no-confirm", "--out", str(file)]
    assert main(["calibrate", "wrist_1", "--station", str(station), *arguments]) == 2
    assert "not a rigid pose" in capsys.readouterr().err
