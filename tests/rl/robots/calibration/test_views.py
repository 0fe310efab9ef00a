"""Whether views determine a calibration: turns, coverage and board poses that are worked by hand."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from rl.errors import AgpsError, ConfigError
from rl.robots.calibration.board import MIN_CORNERS, CharucoBoard, Sighting
from rl.robots.calibration.views import (
    MIN_VIEWS,
    CalibrationError,
    Coverage,
    View,
    check_views,
    coverage,
    locate_board,
    rotation_ranges_deg,
    usable,
)
from rl.robots.cameras.calibration import CameraCalibration
from rl.transforms import pose, pose_difference, rotvec_to_matrix
from rl.types import FloatArray
from tests.rl.robots.calibration.synthetic import BOARD, DISTORTION, HEIGHT, WIDTH, K

IDS = np.arange(len(BOARD.points))


def turned(*rotvec_deg: float) -> FloatArray:
    return pose(np.zeros(3), rotvec_to_matrix(np.deg2rad(rotvec_deg)))


def test_turns_about_two_axes_are_told_apart() -> None:
    poses = [turned(0, 0, 0), turned(40, 0, 0), turned(0, 20, 0)]
    first, second, _ = rotation_ranges_deg(poses)
    assert 40.0 <= first <= 46.0 and 15.0 <= second <= 21.0


def test_turn_about_one_axis_leaves_the_others_at_nothing() -> None:
    axis = np.array([0.6, 0.0, 0.8])
    ranges = rotation_ranges_deg([turned(*(angle * axis)) for angle in (-30.0, 0.0, 10.0, 25.0)])
    np.testing.assert_allclose(ranges, (55.0, 0.0, 0.0), atol=1e-5)


def test_ranges_do_not_depend_on_order_or_frame(rng: np.random.Generator) -> None:
    poses = [turned(*rng.uniform(-30, 30, 3)) for _ in range(8)]
    elsewhere = turned(10, 20, 30)
    ranges = rotation_ranges_deg(poses)
    np.testing.assert_allclose(rotation_ranges_deg(poses[::-1]), ranges, atol=1e-9)
    np.testing.assert_allclose(rotation_ranges_deg([elsewhere @ T for T in poses]), ranges, atol=1e-9)
    assert list(ranges) == sorted(ranges, reverse=True)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_poses_turn_by_nothing(count: int) -> None:
    assert rotation_ranges_deg([turned(1, 2, 3)] * count) == (0.0, 0.0, 0.0)


def rectangle(left: float, top: float, width: float, height: float, count: int = 12) -> Sighting:
    """Crossings on the corners of a rectangle and in its middle."""
    corners = np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]])
    middle = np.tile(corners.mean(axis=0), (max(0, count - 4), 1))
    return Sighting(ids=IDS[:count], corners=np.concatenate([corners[:count], middle]))


def view(sighting: Sighting) -> View:
    return View(T_base_tcp=np.eye(4), sighting=sighting)


def test_covered_part_of_the_image_counts_once() -> None:
    """Two boards of a quarter of the image, one upon the other, cover a quarter; side by side they cover half."""
    quarter = rectangle(0, 0, WIDTH / 2, HEIGHT / 2)
    beside = rectangle(WIDTH / 2, 0, WIDTH / 2 - 1, HEIGHT / 2)
    one = coverage([view(quarter)] * 2, width=WIDTH, height=HEIGHT)
    two = coverage([view(quarter), view(beside)], width=WIDTH, height=HEIGHT)
    assert one.image == pytest.approx(0.25, abs=0.02) and two.image == pytest.approx(0.5, abs=0.03)
    assert one.size == pytest.approx(0.25) and one.views == 2


def test_view_with_too_few_crossings_does_not_count() -> None:
    views = [view(rectangle(0, 0, 100, 100, count)) for count in (MIN_CORNERS - 1, MIN_CORNERS, MIN_CORNERS + 1)]
    assert usable(views) == views[1:]
    assert coverage(views, width=WIDTH, height=HEIGHT).views == 2


def test_no_views_cover_nothing() -> None:
    assert coverage([], width=WIDTH, height=HEIGHT) == Coverage(
        views=0, rotation_deg=(0.0, 0.0, 0.0), image=0.0, size=0.0
    )


ENOUGH = Coverage(views=MIN_VIEWS, rotation_deg=(40.0, 30.0, 0.0), image=0.15, size=0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"views": 14}, "Only 14 views show the board with at least 8 crossings; a calibration needs 15"),
        ({"rotation_deg": (70.0, 12.0, 3.0)}, "turn by 70 degrees about one axis and by only 12 about a second"),
        ({"size": 0.004}, "covers only 0.4 % of the image in a typical view, and 1 % is needed; bring it nearer"),
        ({"image": 0.12}, "cover only 12 % of the image, and 15 % is needed; show the board to the edges"),
    ],
)
def test_what_is_missing_is_told_with_its_limit(changes: dict, words: str) -> None:
    assert ENOUGH.missing() is None
    assert words in str(dataclasses.replace(ENOUGH, **changes).missing())


def test_views_that_are_not_enough_are_refused() -> None:
    with pytest.raises(CalibrationError, match="Only 3 views"):
        check_views([view(rectangle(0, 0, 100, 100))] * 3, width=WIDTH, height=HEIGHT)


def seen(T_cam_board: FloatArray, ids: FloatArray = IDS) -> Sighting:
    points = BOARD.points[ids] @ T_cam_board[:3, :3].T + T_cam_board[:3, 3]
    pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, DISTORTION)
    return Sighting(ids=ids, corners=pixels.reshape(-1, 2))


def test_board_is_where_its_crossings_say(rng: np.random.Generator) -> None:
    for _ in range(20):
        T = pose(rng.uniform((-0.05, -0.05, 0.3), (0.05, 0.05, 0.6)), rotvec_to_matrix(rng.uniform(-0.5, 0.5, 3)))
        T = T @ pose(-BOARD.centre)
        for guess in (None, T @ turned(3, 0, 2)):
            found = locate_board(BOARD, seen(T), K, DISTORTION, T_cam_board_guess=guess)
            np.testing.assert_allclose(pose_difference(found, T), 0.0, atol=1e-4)


def test_part_of_the_board_says_where_it_is() -> None:
    T = pose(np.array([0.0, 0.0, 0.4]), rotvec_to_matrix(np.array([0.3, -0.2, 0.1]))) @ pose(-BOARD.centre)
    found = locate_board(BOARD, seen(T, IDS[10:24]), K, DISTORTION)
    np.testing.assert_allclose(pose_difference(found, T), 0.0, atol=1e-3)


@pytest.mark.parametrize("ids", [IDS[:0], IDS[: MIN_CORNERS - 1], IDS[:0]])
def test_too_few_crossings_say_nothing(ids: FloatArray) -> None:
    T = pose(np.array([0.0, 0.0, 0.4])) @ pose(-BOARD.centre)
    with pytest.raises(CalibrationError, match=f"sees {len(ids)} crossings of the charuco 8x6 25.00 mm, and 8 off one"):
        locate_board(BOARD, dataclasses.replace(seen(T), ids=ids, corners=seen(T).corners[: len(ids)]), K, DISTORTION)


def test_crossings_on_one_line_say_nothing() -> None:
    board = CharucoBoard(columns=12, rows=4, square_m=0.02)
    row = np.arange(11)
    with pytest.raises(CalibrationError, match="off one line are needed"):
        locate_board(board, Sighting(ids=row, corners=10.0 * board.points[row, :2]), K, DISTORTION)


KNOWN = CameraCalibration(
    camera="side",
    serial="1",
    mount="world",
    width=WIDTH,
    height=HEIGHT,
    T_mount_cam=tuple(tuple(row) for row in turned(10, 20, 30).tolist()),
    residual_mm=0.4,
    residual_deg=0.1,
    poses=20,
    date="2026-01-01T00:00:00+00:00",
    board=str(BOARD),
)


def test_calibration_survives_the_way_to_the_disk_and_back(tmp_path: Path) -> None:
    KNOWN.save(tmp_path / "new" / "side.json")
    assert CameraCalibration.load(tmp_path / "new" / "side.json") == KNOWN
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["side.json"]
    np.testing.assert_array_equal(KNOWN.T, turned(10, 20, 30))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"camera": "side"}', "\x00"])
def test_damaged_calibration_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "side.json").write_text(content)
    with pytest.raises(ConfigError, match="side.json is no camera calibration or damaged; run `agps calibrate` again"):
        CameraCalibration.load(tmp_path / "side.json")


@pytest.mark.parametrize(
    "T",
    [
        np.eye(3),
        np.diag([1.0, 1.0, -1.0, 1.0]),  # a mirror
        np.diag([2.0, 0.5, 1.0, 1.0]),
        np.diag([1.0, 1.0, 1.0, 2.0]),
        np.full((4, 4), np.nan),
    ],
)
def test_matrix_that_is_no_pose_is_refused(T: FloatArray, tmp_path: Path) -> None:
    dataclasses.replace(KNOWN, T_mount_cam=tuple(tuple(row) for row in T.tolist())).save(tmp_path / "side.json")
    with pytest.raises(ConfigError, match="is not a rigid pose|damaged"):
        CameraCalibration.load(tmp_path / "side.json")


def test_calibration_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AgpsError, match="Cannot write .*; make room, or name another file"):
        KNOWN.save(tmp_path / "file" / "side.json")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
