import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.robots.calibration.check import board_in_base, doubts, hover_path, misfits
from rl.robots.cameras.calibration import CameraCalibration
from rl.transforms import pose
from rl.types import Box
from tests.rl.robots.calibration.synthetic import (
    BOARD,
    HEIGHT,
    T_TCP_CAM,
    WIDTH,
    DrawnCell,
    board_in_camera,
    poses_of_the_hand,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GOOD = CameraCalibration(
    camera="wrist_1",
    serial="123",
    mount="hand",
    width=WIDTH,
    height=HEIGHT,
    T_mount_cam=tuple(tuple(row) for row in T_TCP_CAM.tolist()),
    residual_mm=0.3,
    residual_deg=0.05,
    poses=20,
    date=(NOW - timedelta(days=10)).isoformat(),
    board=str(BOARD),
)


def test_calibration_of_this_camera_is_trusted() -> None:
    assert misfits(GOOD, serial="123", width=WIDTH, height=HEIGHT, mount="hand") == []
    assert doubts(GOOD, now=NOW) == []


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"serial": "456"}, "serial 123, and this one has 456"),
        ({"width": 848}, "640x480 images, and the camera sends 848x480"),
        ({"mount": "world"}, "mount 'hand', and the station says 'world'"),
    ],
)
def test_calibration_of_another_camera_is_noticed(seen: dict[str, str], words: str) -> None:
    values = {"serial": "123", "width": WIDTH, "height": HEIGHT, "mount": "hand"} | seen
    (sentence,) = misfits(GOOD, **values)  # type: ignore[arg-type]
    assert words in sentence


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"date": (NOW - timedelta(days=100)).isoformat()}, "100 days old"),
        ({"date": "2026-02-01T00:00:00"}, "120 days old"),
        ({"date": "yesterday"}, "no readable date"),
        ({"residual_mm": 4.2}, "off by 4.2 mm"),
    ],
)
def test_old_or_bad_calibration_is_doubted(values: dict[str, str], words: str) -> None:
    (sentence,) = doubts(dataclasses.replace(GOOD, **values), now=NOW)  # type: ignore[arg-type]
    assert words in sentence


def test_board_is_where_it_lies_in_the_base_frame() -> None:
    (T_base_tcp,), T_base_board = poses_of_the_hand("hand", 1, np.random.default_rng(3))
    cell = DrawnCell("hand", T_base_tcp, T_base_board)
    assert board_in_camera("hand", T_base_tcp, T_base_board)[2, 3] > 0.2
    sighting = BOARD.detect(cell.latest().rgb)
    found = board_in_base(BOARD, sighting, cell.info, GOOD, T_base_tcp)
    np.testing.assert_allclose(found[:3, 3], T_base_board[:3, 3], atol=5e-4)


def test_way_above_a_point_goes_across_at_the_greater_height() -> None:
    T_base_tcp = pose(np.array([0.4, 0.1, 0.30]))
    box = Box(lower=np.array([0.3, -0.2, 0.02]), upper=np.array([0.6, 0.2, 0.4]))
    across, above = hover_path(np.array([0.5, 0.0, 0.01]), T_base_tcp=T_base_tcp, height_m=0.05, workspace=box)
    np.testing.assert_allclose(across[:3, 3], [0.5, 0.0, 0.30])
    np.testing.assert_allclose(above[:3, 3], [0.5, 0.0, 0.06])
    with pytest.raises(ConfigError, match="100 mm outside the workspace"):
        hover_path(np.array([0.7, 0.0, 0.01]), T_base_tcp=T_base_tcp, height_m=0.05, workspace=box)
