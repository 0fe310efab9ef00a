from collections.abc import Iterator

import numpy as np
import pytest

from rl.errors import HardwareFault
from rl.robots.base import CameraFrame
from rl.robots.calibration.capture import Capture, Key, Progress, capture_auto, capture_guided
from rl.robots.calibration.solve import calibrate
from rl.robots.calibration.views import CalibrationError, View
from rl.robots.station import Mount
from rl.transforms import invert, matrix_to_rotvec, pose
from rl.types import Box, FloatArray
from tests.clocks import MovedClock
from tests.rl.robots.calibration.synthetic import (
    BOARD,
    HEIGHT,
    T_BASE_CAM,
    T_TCP_CAM,
    WIDTH,
    DrawnCell,
    K,
    poses_of_the_hand,
    truth,
)


def make_cell(mount: Mount) -> DrawnCell:
    """A cell whose camera sees the board in the middle."""
    _, T_other_board = poses_of_the_hand(mount, 1, np.random.default_rng(0))
    distance = 0.32 if mount == "hand" else 0.6
    T_cam_board = pose(np.array([0.0, 0.0, distance])) @ pose(-BOARD.centre)
    if mount == "hand":
        T_base_tcp = T_other_board @ invert(T_cam_board) @ invert(T_TCP_CAM)
    else:
        T_base_tcp = T_BASE_CAM @ T_cam_board @ invert(T_other_board)
    return DrawnCell(mount, T_base_tcp, T_other_board)


def around(T: FloatArray, half_m: float = 0.12) -> Box:
    return Box(lower=T[:3, 3] - half_m, upper=T[:3, 3] + half_m)


def capture(cell: DrawnCell, reports: list[Progress] | None = None) -> Capture:
    told = [] if reports is None else reports
    return Capture(board=BOARD, camera=cell, arm=cell, report=told.append, still_s=0.0)


def auto(cell: DrawnCell, workspace: Box) -> list[View]:
    rng = np.random.default_rng(0)
    return capture_auto(capture(cell), cell, mount=cell.mount, workspace=workspace, count=18, speed_m_s=0.1, rng=rng)


@pytest.mark.parametrize("mount", ["hand", "world"])
def test_planned_poses_give_an_exact_calibration_and_stay_in_the_workspace(mount: Mount) -> None:
    cell = make_cell(mount)
    T_start, workspace = cell.T_base_tcp, around(cell.T_base_tcp)
    views = auto(cell, workspace)
    solution = calibrate(BOARD, views, K=K, distortion=np.zeros(5), width=WIDTH, height=HEIGHT, mount=mount)
    T_true = truth(mount)
    assert 1e3 * np.linalg.norm(solution.T_mount_cam[:3, 3] - T_true[:3, 3]) < 0.2
    turned = matrix_to_rotvec(solution.T_mount_cam[:3, :3].T @ T_true[:3, :3])
    assert np.rad2deg(np.linalg.norm(turned)) < 0.03
    assert all(workspace.contains(np.round(T[:3, 3], 9)) for T in cell.visited)
    np.testing.assert_allclose(cell.T_base_tcp, T_start, atol=1e-9)  # back at the start


def test_board_out_of_sight_is_refused_before_the_arm_moves() -> None:
    cell = make_cell("hand")
    cell.T_other_board = pose(np.array([5.0, 0.0, 0.0])) @ cell.T_other_board
    with pytest.raises(CalibrationError, match="sees 0 crossings"):
        auto(cell, around(cell.T_base_tcp))
    assert cell.visited == []


def test_workspace_without_room_is_refused_and_the_arm_goes_back() -> None:
    cell = make_cell("hand")
    T_start = cell.T_base_tcp
    with pytest.raises(CalibrationError, match="start with the whole board in the middle"):
        auto(cell, around(T_start, half_m=0.002))
    assert len(cell.visited) == 7  # six small turns, and back
    np.testing.assert_allclose(cell.T_base_tcp, T_start, atol=1e-9)


def press(keys: list[Key | None]) -> Iterator[Key | None]:
    yield from keys


class GuidedCell(DrawnCell):
    """Each look at the arm finds it somewhere else: a person guides it."""

    def measure(self) -> "GuidedCell":
        self.looks = getattr(self, "looks", 0) + 1
        if self.looks % 3 == 1:  # three looks a view: before, while it settles, after
            self.T_base_tcp = next(self.way)
        return self

    way: Iterator[FloatArray]


def test_guided_views_are_taken_by_a_key_and_end_when_there_are_enough() -> None:
    poses, T_other_board = poses_of_the_hand("hand", 60, np.random.default_rng(2))
    cell = GuidedCell("hand", poses[0], T_other_board)
    cell.way = iter(poses)
    reports: list[Progress] = []
    keys = press([None, "take", "finish", *["take"] * 17, None, "finish"])
    views = capture_guided(capture(cell, reports), lambda: next(keys))
    assert len(views) == 18
    assert [report.taken for report in reports].count(True) == 18
    early, late = (report for report in reports if report.asked_to_finish)
    assert "Only 1 views" in str(early.coverage.missing()) and late.coverage.missing() is None
    assert cell.visited == []  # the arm was only read


def test_guided_capture_stops_by_a_key() -> None:
    keys = press(["take", "stop"])
    with pytest.raises(CalibrationError, match="nothing was written"):
        capture_guided(capture(make_cell("world")), lambda: next(keys))


class ShakingCell(DrawnCell):
    """An arm that never rests."""

    def measure(self) -> "ShakingCell":
        self.T_base_tcp = self.T_base_tcp + pose(np.array([1e-3, 0.0, 0.0])) - np.eye(4)
        return self


def test_arm_that_does_not_rest_gives_no_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl.robots.calibration.capture.SETTLE_TIMEOUT_S", 0.1)
    still = make_cell("world")
    cell = ShakingCell("world", still.T_base_tcp, still.T_other_board)
    with pytest.raises(HardwareFault, match="still moves"):
        capture(cell).view()


class CreepingCell(DrawnCell):
    """An arm that sags by 1 mm a second: at rest for a moment, and not for as long as two images take."""

    def __init__(self, clock: MovedClock) -> None:
        still = make_cell("hand")
        super().__init__(still.mount, still.T_base_tcp, still.T_other_board)
        self.clock, self.first_s = clock, clock.now()
        self.T_start = self.T_base_tcp

    def measure(self) -> DrawnCell:
        self.T_base_tcp = self.T_start @ pose(np.array([0.0, 0.0, 1e-3 * (self.clock.now() - self.first_s)]))
        return self

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> CameraFrame:
        self.clock.move(0.5)
        blank = np.zeros((HEIGHT, WIDTH), np.float32)
        return CameraFrame(rgb=np.zeros((HEIGHT, WIDTH, 3), np.uint8), depth_m=blank, time_s=self.clock.now(), number=0)


def test_arm_that_creeps_is_told_and_not_waited_for_without_end() -> None:
    clock = MovedClock()
    cell = CreepingCell(clock)
    creeping = Capture(board=BOARD, camera=cell, arm=cell, report=print, still_s=0.0, clock=clock)
    with pytest.raises(HardwareFault, match="still creeps after 8 s; let go of it, or check its load"):
        creeping.view()
    assert clock.now() - cell.first_s < 10.0
