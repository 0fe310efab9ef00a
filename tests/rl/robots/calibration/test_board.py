from pathlib import Path

import cv2
import numpy as np
import pytest

from rl.errors import AgpsError, ConfigError
from rl.robots.calibration.board import MARKER_RATIO, CharucoBoard
from rl.robots.calibration.printing import write_pdf
from rl.transforms import pose, rotvec_to_matrix
from tests.rl.robots.calibration.synthetic import BOARD, K, draw


def test_board_is_the_one_that_opencv_draws() -> None:
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    theirs = cv2.aruco.CharucoBoard((8, 6), 0.025, MARKER_RATIO * 0.025, dictionary)
    np.testing.assert_array_equal(BOARD.image(80), theirs.generateImage((640, 480), marginSize=0))
    np.testing.assert_allclose(BOARD.points, theirs.getChessboardCorners(), atol=1e-9)


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.5, 0.0, 0.3), (-0.3, 0.6, 2.0)])
def test_crossings_are_found_to_a_tenth_of_a_pixel(turn: tuple[float, float, float]) -> None:
    T_cam_board = pose(np.array([0.0, 0.0, 0.42]), rotvec_to_matrix(np.array(turn))) @ pose(-BOARD.centre)
    in_camera = BOARD.points @ T_cam_board[:3, :3].T + T_cam_board[:3, 3]
    expected = (in_camera @ K.T)[:, :2] / in_camera[:, 2:]
    sighting = BOARD.detect(draw(T_cam_board))
    assert sighting.count == 35
    np.testing.assert_allclose(sighting.corners, expected[sighting.ids], atol=0.2)
    assert np.abs(np.mean(sighting.corners - expected[sighting.ids], axis=0)).max() < 0.03  # no half-pixel shift


def test_image_without_a_board_shows_no_crossings() -> None:
    assert BOARD.detect(np.full((480, 640, 3), 90, np.uint8)).count == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"square_m": 2.5}, "2500 mm is not between 5 and 200 mm"),
        ({"columns": 2}, "at least 3x3"),
        ({"columns": 12, "rows": 10}, "needs 60 markers and DICT_4X4_50 has 50"),
    ],
)
def test_impossible_board_is_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CharucoBoard(**values)  # type: ignore[arg-type]


def test_page_is_a4_and_says_what_to_measure(tmp_path: Path) -> None:
    file = tmp_path / "new" / "charuco.pdf"
    write_pdf(BOARD, file)
    content = file.read_bytes()
    assert content.startswith(b"%PDF")
    box = content.split(b"/MediaBox [")[1].split(b"]")[0].split()
    np.testing.assert_allclose([float(v) * 25.4 / 72 for v in box], [0, 0, 297, 210], atol=0.01)
    assert [path.name for path in file.parent.iterdir()] == ["charuco.pdf"]


def test_board_larger_than_the_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="squares of at most 26.3 mm"):
        write_pdf(CharucoBoard(square_m=0.03), tmp_path / "charuco.pdf")
    assert list(tmp_path.iterdir()) == []


def test_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "charuco.pdf").mkdir()
    with pytest.raises(AgpsError, match="Cannot write"):
        write_pdf(BOARD, tmp_path / "charuco.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["charuco.pdf"]


def test_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AgpsError, match="Cannot write .*charuco.pdf: .*; make room, or name another file"):
        write_pdf(BOARD, tmp_path / "file" / "charuco.pdf")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
