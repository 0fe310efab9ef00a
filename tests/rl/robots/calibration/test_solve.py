import dataclasses

import numpy as np
import pytest

from rl.robots.calibration.board import Sighting
from rl.robots.calibration.solve import Problem, Solution, calibrate, fit
from rl.robots.calibration.views import MIN_VIEWS, CalibrationError, View, coverage, locate_board, rotation_ranges_deg
from rl.robots.station import Mount
from rl.transforms import matrix_to_rotvec, pose, rotvec_to_matrix
from rl.types import FloatArray
from tests.rl.robots.calibration.synthetic import (
    BOARD,
    DISTORTION,
    HEIGHT,
    WIDTH,
    K,
    board_in_camera,
    make_views,
    poses_of_the_hand,
    project,
    truth,
)

MOUNTS: tuple[Mount, Mount] = ("hand", "world")
EXACT = {"noise_px": 0.0, "arm_noise": (0.0, 0.0)}


def solve(views: list[View], mount: Mount) -> Solution:
    return calibrate(BOARD, views, K=K, distortion=DISTORTION, width=WIDTH, height=HEIGHT, mount=mount)


def error(solution: Solution, mount: Mount) -> tuple[float, float]:
    """Distance from the truth in mm and degrees."""
    T, T_true = solution.T_mount_cam, truth(mount)
    angle = np.linalg.norm(matrix_to_rotvec(T[:3, :3].T @ T_true[:3, :3]))
    return 1e3 * float(np.linalg.norm(T[:3, 3] - T_true[:3, 3])), float(np.rad2deg(angle))


@pytest.mark.parametrize("mount", MOUNTS)
def test_exact_views_give_the_exact_pose(mount: Mount, rng: np.random.Generator) -> None:
    solution = solve(make_views(mount, 20, rng, **EXACT), mount)  # type: ignore[arg-type]
    assert error(solution, mount) == pytest.approx((0.0, 0.0), abs=1e-3)
    assert solution.residual_mm < 1e-3 and solution.residual_deg < 1e-3 and solution.reprojection_px < 1e-3


@pytest.mark.parametrize("mount", MOUNTS)
def test_noise_of_image_and_arm_leaves_half_a_millimetre(mount: Mount, rng: np.random.Generator) -> None:
    solution = solve(make_views(mount, 25, rng), mount)
    mm, deg = error(solution, mount)
    assert mm < 0.5 and deg < 0.1
    assert 0.1 < solution.residual_mm < 1.0 and 0.02 < solution.residual_deg < 0.3


def test_weights_make_up_for_an_arm_that_does_not_know_where_it_is() -> None:
    weighed, plain = [], []
    for seed in range(4):
        views = make_views("hand", 20, np.random.default_rng(seed), arm_noise=(5e-4, 1e-3))
        problem = Problem(board=BOARD, views=tuple(views), K=K, distortion=DISTORTION, mount="hand")
        plain.append(np.linalg.norm(fit(problem)[0][:3, 3] - truth("hand")[:3, 3]))
        weighed.append(error(solve(views, "hand"), "hand")[0] / 1e3)
    assert np.mean(weighed) < 0.5 * np.mean(plain)


def test_a_wrong_crossing_in_every_view_does_not_bend_the_result(rng: np.random.Generator) -> None:
    views = make_views("world", 20, rng, noise_px=0.05, arm_noise=(0.0, 0.0))
    for view in views:
        view.sighting.corners[int(rng.integers(view.sighting.count))] += [15.0, -10.0]
    mm, deg = error(solve(views, "world"), "world")
    assert mm < 0.5 and deg < 0.1


def test_residual_is_measured_on_views_that_were_not_fitted(rng: np.random.Generator) -> None:
    views = make_views("hand", 20, rng, **EXACT)  # type: ignore[arg-type]
    bad = views[7]
    shifted = bad.T_base_tcp.copy()
    shifted[0, 3] += 0.010
    views[7] = dataclasses.replace(bad, T_base_tcp=shifted)
    # A board 10 mm off in one of 20 views: 10 / sqrt(20) = 2.2 mm if that view is held out, less if it is fitted too.
    assert solve(views, "hand").residual_mm == pytest.approx(10 / np.sqrt(20), rel=0.25)


@pytest.mark.parametrize("mount", MOUNTS)
def test_wrong_mount_is_noticed(mount: Mount, rng: np.random.Generator) -> None:
    other: Mount = "world" if mount == "hand" else "hand"
    with pytest.raises(CalibrationError, match="do not fit together"):
        solve(make_views(mount, 20, rng), other)


def test_too_few_views_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(CalibrationError, match=f"Only 14 views.*needs {MIN_VIEWS}"):
        solve(make_views("hand", 14, rng), "hand")


def test_views_with_few_crossings_do_not_count(rng: np.random.Generator) -> None:
    views = make_views("hand", 16, rng)
    for k in (2, 9):
        sighting = views[k].sighting
        views[k] = dataclasses.replace(views[k], sighting=Sighting(ids=sighting.ids[:7], corners=sighting.corners[:7]))
    with pytest.raises(CalibrationError, match="Only 14 views"):
        solve(views, "hand")


def views_from(mount: Mount, turns: FloatArray) -> list[View]:
    """Exact views of a hand that turns about the middle of the board by rotation vectors (N, 3)."""
    (T0,), T_other_board = poses_of_the_hand(mount, 1, np.random.default_rng(4))
    pivot = (T_other_board if mount == "hand" else T0 @ T_other_board) @ pose(BOARD.centre)
    views = []
    for turn in turns:
        about = pose(pivot[:3, 3], rotvec_to_matrix(turn)) @ pose(-pivot[:3, 3])
        corners = project(board_in_camera(mount, about @ T0, T_other_board))
        views.append(View(T_base_tcp=about @ T0, sighting=Sighting(ids=np.arange(35), corners=corners)))
    return views


@pytest.mark.parametrize("mount", MOUNTS)
def test_turns_about_one_axis_only_are_refused(mount: Mount) -> None:
    turns = np.outer(np.linspace(-0.4, 0.4, 20), [0.0, 0.6, 0.8])
    with pytest.raises(CalibrationError, match="by 46 degrees about one axis and by only 0 about a second"):
        solve(views_from(mount, turns), mount)


def test_turns_that_are_too_small_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(CalibrationError, match="at least 30 degrees about two axes"):
        solve(views_from("hand", rng.uniform(-0.15, 0.15, (20, 3))), "hand")


def test_board_that_stays_in_one_place_of_the_image_is_refused(rng: np.random.Generator) -> None:
    views = make_views("world", 20, rng)
    middle = [WIDTH / 2, HEIGHT / 2]
    still = [
        dataclasses.replace(
            view,
            sighting=Sighting(
                ids=view.sighting.ids,
                corners=(view.sighting.corners - view.sighting.corners.mean(axis=0)) * 0.8 + middle,
            ),
        )
        for view in views
    ]
    with pytest.raises(CalibrationError, match="All views together cover only"):
        solve(still, "world")


def test_tiny_board_is_refused(rng: np.random.Generator) -> None:
    views = make_views("world", 20, rng)
    far = [
        dataclasses.replace(
            view, sighting=Sighting(ids=view.sighting.ids, corners=view.sighting.corners * 0.3 + [200.0, 150.0])
        )
        for view in views
    ]
    with pytest.raises(CalibrationError, match="bring it nearer"):
        solve(far, "world")


def test_rotation_ranges_of_two_axes() -> None:
    turns = [*np.outer([-0.3, 0.3], [1.0, 0.0, 0.0]), *np.outer([-0.2, 0.2], [0.0, 0.0, 1.0])]
    ranges = rotation_ranges_deg([pose(np.zeros(3), rotvec_to_matrix(turn)) for turn in turns])
    assert ranges[0] == pytest.approx(np.rad2deg(0.6), abs=0.5)
    assert ranges[1] == pytest.approx(np.rad2deg(0.4), abs=0.5)
    assert ranges[2] < 2.0


def test_coverage_of_no_views_asks_for_views() -> None:
    assert "Only 0 views" in str(coverage([], width=WIDTH, height=HEIGHT).missing())


def test_one_row_of_crossings_does_not_say_where_the_board_is() -> None:
    sighting = Sighting(ids=np.arange(7), corners=np.stack([np.arange(7.0) * 30, np.full(7, 99.0)], axis=1))
    with pytest.raises(CalibrationError, match="sees 7 crossings"):
        locate_board(BOARD, sighting, K, DISTORTION)
