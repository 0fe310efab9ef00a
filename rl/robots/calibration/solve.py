"""Where a camera sits on its mount: closed form, then joint refinement of the reprojection error.

For a camera on the hand the board stands still, and for each view

    T_base_tcp @ T_tcp_cam @ T_cam_board = T_base_board;

for a camera beside the arm the hand holds the board, and

    T_base_cam @ T_cam_board = T_base_tcp @ T_tcp_board.

Both have two unknowns that are the same in all views: the camera on its mount, and the board on the other frame. The
closed form (Park and Martin 1994 and others, in OpenCV) is only the start: with a board at 0.7 m its error is several
millimetres, that of the refinement a few tenths. What remains comes from the arm's poses, not from the image: an error
of the pose moves all crossings of a view together, so they are weighed with that covariance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

from rl.robots.calibration.board import MIN_CORNERS, CharucoBoard, Sighting
from rl.robots.calibration.views import MIN_VIEWS, CalibrationError, View, check_views, locate_board
from rl.robots.station import Mount
from rl.transforms import apply_delta, invert, matrix_to_rotvec, pose
from rl.types import FloatArray

Poses = tuple[FloatArray, FloatArray]
"""T_mount_cam and T_other_board, (4, 4) each, [m]."""

HUBER_PX = 1.0
"""Reprojection errors beyond this count linearly in the first refinement: one wrong crossing does not bend it, [px]."""
OUTLIER_PX = 3.0
"""A crossing that is this far from where the rest of its view would have it was misread, [px]."""
LEAST_NOISE_PX = 0.03
"""No crossing is known better, [px]."""
ARM_NOISE_M, ARM_NOISE_RAD = 2e-4, 5e-4
"""Standard deviations of the arm's pose per axis that the weights start from, [m] and [rad]..."""
ARM_NOISE_FACTORS = 2.0 ** np.arange(-5, 4)
"""...and the factors on them of which the likeliest is taken. An arm with noise of 0.5 mm and 1 mrad gives a hand
camera to 0.6 mm with these weights, and to 1.9 mm without."""
HUBER_SIGMA = 3.0
"""Weighed errors beyond this count linearly, [standard deviations]."""
FOLDS = 5
"""Parts of the views of which each is left out once."""
MAX_REPROJECTION_PX = 3.0
"""A typical error beyond this is no noise: wrong intrinsics, another board, or an arm that moved, [px]."""
MAX_RESIDUAL_MM = 20.0
"""Held-out error beyond which nothing is worth keeping, [mm]."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A calibration and how well it predicts views that it was not fitted on."""

    T_mount_cam: FloatArray
    """T_tcp_cam for a camera on the hand, T_base_cam for one beside the arm. Shape (4, 4), [m]."""
    T_other_board: FloatArray
    """T_base_board for a camera on the hand, T_tcp_board for one beside the arm. Shape (4, 4), [m]."""
    residual_mm: float
    """Root mean square position error on held-out views as in `held_out_residual`, [mm]."""
    residual_deg: float
    """Root mean square rotation error on held-out views, [deg]."""
    reprojection_px: float
    """Root mean square distance of seen from predicted crossings in all views, [px]."""
    views: int
    """Views that were used."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One camera's views with everything that stays fixed."""

    board: CharucoBoard
    views: tuple[View, ...]
    K: FloatArray
    """Factory intrinsics. Shape (3, 3), [px]."""
    distortion: FloatArray
    """OpenCV coefficients. Shape (5,)."""
    mount: Mount

    def T_mount_other(self, view: View) -> FloatArray:
        """Return the pose of the frame that the board is fixed to in the one that the camera is fixed to. (4, 4)."""
        return invert(view.T_base_tcp) if self.mount == "hand" else view.T_base_tcp

    def part(self, views: Sequence[View]) -> "Problem":
        """Return the same problem with other views."""
        return Problem(board=self.board, views=tuple(views), K=self.K, distortion=self.distortion, mount=self.mount)

    def pixel_errors(self, T_mount_cam: FloatArray, T_other_board: FloatArray) -> FloatArray:
        """Return predicted minus seen crossings of all views. Shape (N, 2), [px]."""
        T_cam_mount = invert(T_mount_cam)
        points = []
        for view in self.views:
            T = T_cam_mount @ self.T_mount_other(view) @ T_other_board
            points.append(self.board.points[view.sighting.ids] @ T[:3, :3].T + T[:3, 3])
        seen = np.concatenate([view.sighting.corners for view in self.views])
        in_camera = np.concatenate(points)
        # Behind the camera the projection turns over and could look perfect.
        in_camera[:, 2] = np.maximum(in_camera[:, 2], 1e-3)
        predicted, _ = cv2.projectPoints(in_camera, np.zeros(3), np.zeros(3), self.K, self.distortion)
        return np.asarray(predicted.reshape(-1, 2) - seen)


def calibrate(
    board: CharucoBoard,
    views: Sequence[View],
    *,
    K: FloatArray,
    distortion: FloatArray,
    width: int,
    height: int,
    mount: Mount,
) -> Solution:
    """Return where the camera sits, fitted on all usable views, with the residual on held-out ones.

    Args:
        board: The board with its measured squares.
        views: Sightings with poses of the arm at rest.
        K: Factory intrinsics of the calibrated profile. Shape (3, 3), [px].
        distortion: OpenCV coefficients of the same. Shape (5,).
        width: Of the image, [px].
        height: Of the image, [px].
        mount: `hand`: the board stands still. `world`: the hand holds it.

    Raises:
        CalibrationError: If the views do not determine it, or do not fit one rigid camera and board.
    """
    good = check_views(views, width=width, height=height)
    problem = Problem(board=board, views=tuple(good), K=K, distortion=distortion, mount=mount)
    start = fit(problem)
    errors = np.linalg.norm(problem.pixel_errors(*start), axis=1)
    if np.median(errors) > MAX_REPROJECTION_PX:
        still = (
            "stood still and the arm was at rest" if mount == "hand" else "was held firmly and the camera stood still"
        )
        raise CalibrationError(
            f"The views do not fit together: a typical crossing is {np.median(errors):.1f} px from where it should be, "
            f"with a limit of {MAX_REPROJECTION_PX:.0f}; check that the board {still}, its squares and the mount."
        )
    problem = _without_outliers(problem, start)
    start = refine(problem, start, _weights(problem, start))
    T_mount_cam, T_other_board = refine(problem, start, _weights(problem, start))
    residual_mm, residual_deg = held_out_residual(problem, (T_mount_cam, T_other_board))
    if residual_mm > MAX_RESIDUAL_MM:
        raise CalibrationError(
            f"Held-out views are off by {residual_mm:.1f} mm, with a limit of {MAX_RESIDUAL_MM:.0f}; take more views, "
            "nearer and from more directions."
        )
    return Solution(
        T_mount_cam=T_mount_cam,
        T_other_board=T_other_board,
        residual_mm=residual_mm,
        residual_deg=residual_deg,
        reprojection_px=float(np.sqrt(np.mean(np.sum(problem.pixel_errors(T_mount_cam, T_other_board) ** 2, axis=1)))),
        views=len(problem.views),
    )


def fit(problem: Problem) -> Poses:
    """Return T_mount_cam and T_other_board, (4, 4) each, [m]: the best closed form, refined without weights.

    minimise sum_i rho(e_i) over both poses, e_i the coordinates of predicted minus seen crossings, rho Huber's loss;
    intrinsics and poses of the arm are fixed.
    """
    return refine(problem, min(_closed_forms(problem), key=lambda poses: _typical_error(problem, poses)))


def refine(problem: Problem, start: Poses, weights: Sequence[FloatArray] | None = None) -> Poses:
    """Return both poses refined from a start.

    Args:
        problem: Views.
        start: T_mount_cam and T_other_board, (4, 4) each, [m].
        weights: Per view, what turns its n pixel errors into independent ones of size 1, (2n, 2n), [1/px]; None: the
            errors count as they are.
    """
    ends = np.cumsum([2 * view.sighting.count for view in problem.views])[:-1]

    def moved(x: FloatArray) -> Poses:
        return apply_delta(start[0], x[:6]), apply_delta(start[1], x[6:])

    def errors(x: FloatArray) -> FloatArray:
        pixels = problem.pixel_errors(*moved(x)).ravel()
        if weights is None:
            return pixels
        return np.concatenate([W @ part for W, part in zip(weights, np.split(pixels, ends), strict=True)])

    result = least_squares(
        errors,
        np.zeros(12),
        loss="huber",
        f_scale=HUBER_PX if weights is None else HUBER_SIGMA,
        x_scale=np.tile([0.01] * 3 + [0.02] * 3, 2),
        xtol=1e-10,
        ftol=1e-10,
        max_nfev=60,
    )
    return moved(result.x)


def _weights(problem: Problem, poses: Poses) -> list[FloatArray]:
    """Return per view the inverse Cholesky factor of the covariance of its pixel errors, s^2 I + f^2 M M^T.

    s is the noise of a crossing, M how the arm's noise moves the crossings, f the factor on that noise. Of the errors e
    of a view, the part outside the range of M = Q R gives s; the part inside, Q^T e ~ N(0, s^2 I + f^2 R R^T), gives f.
    """
    moves = [_moves(problem, view, poses) for view in problem.views]
    errors = [problem.part([view]).pixel_errors(*poses).ravel() for view in problem.views]
    bases = [np.linalg.qr(M) for M in moves]
    inside = [basis.Q.T @ e for basis, e in zip(bases, errors, strict=True)]
    outside = sum(float(e @ e - a @ a) for e, a in zip(errors, inside, strict=True))
    freedom = sum(len(e) - len(a) for e, a in zip(errors, inside, strict=True))
    noise2 = max(outside / freedom, LEAST_NOISE_PX**2)

    def unlikely(factor: float) -> float:
        total = 0.0
        for basis, a in zip(bases, inside, strict=True):
            covariance = noise2 * np.eye(6) + factor**2 * basis.R @ basis.R.T
            total += float(a @ np.linalg.solve(covariance, a)) + float(np.linalg.slogdet(covariance)[1])
        return total

    factor = min((float(f) for f in ARM_NOISE_FACTORS), key=unlikely)
    return [np.linalg.inv(np.linalg.cholesky(noise2 * np.eye(len(M)) + factor**2 * M @ M.T)) for M in moves]


def _moves(problem: Problem, view: View, poses: Poses) -> FloatArray:
    """Return how one standard deviation of each axis of the arm's pose moves the crossings. Shape (2n, 6), [px]."""
    here = problem.part([view]).pixel_errors(*poses).ravel()
    columns = []
    for step in np.diag(np.repeat([ARM_NOISE_M, ARM_NOISE_RAD], 3)):
        turned = View(T_base_tcp=apply_delta(view.T_base_tcp, step), sighting=view.sighting)
        columns.append(problem.part([turned]).pixel_errors(*poses).ravel() - here)
    return np.stack(columns, axis=1)


def _without_outliers(problem: Problem, poses: Poses) -> Problem:
    """Return the problem without crossings that do not go with the rest of their view."""
    views = []
    for view in problem.views:
        errors = problem.part([view]).pixel_errors(*poses)
        good = np.linalg.norm(errors - np.median(errors, axis=0), axis=1) < OUTLIER_PX
        sighting = Sighting(ids=view.sighting.ids[good], corners=view.sighting.corners[good])
        if sighting.count >= MIN_CORNERS:
            views.append(View(T_base_tcp=view.T_base_tcp, sighting=sighting))
    if len(views) < MIN_VIEWS:
        raise CalibrationError(
            f"Only {len(views)} of {len(problem.views)} views fit the others, and {MIN_VIEWS} are needed; check that "
            "nothing moves but the arm, and take more."
        )
    return problem.part(views)


def held_out_residual(problem: Problem, start: Poses) -> tuple[float, float]:
    """Return the error of position, [mm], and rotation, [deg], on views that were not fitted: root mean squares.

    The views are dealt into `FOLDS` parts; for each, both poses are fitted on the other parts. Then for each view k of
    the part left out

        T_cam_board,k = pose of the board from that one image,
        E_k = (T_cam_mount @ T_mount_other,k @ T_other_board)^-1 @ T_cam_board,k,

    which is the identity if calibration, arm and image agree. Position error: distance between the two places of the
    board's centre; rotation error: angle of E_k. Both contain the noise of a single image, which grows with distance:
    they say how well one look at the board agrees with the calibration, and are an upper bound of its own error.

    Args:
        problem: All views.
        start: Fit on all views, where the fits on parts start.
    """
    centre = np.append(problem.board.centre, 1.0)
    squared_mm, squared_deg = [], []
    for part in range(FOLDS):
        rest = problem.part([view for k, view in enumerate(problem.views) if k % FOLDS != part])
        T_mount_cam, T_other_board = refine(rest, start, _weights(rest, start))
        for view in problem.views[part::FOLDS]:
            expected = invert(T_mount_cam) @ problem.T_mount_other(view) @ T_other_board
            seen = locate_board(problem.board, view.sighting, problem.K, problem.distortion, T_cam_board_guess=expected)
            squared_mm.append(float(np.sum((1e3 * (seen - expected) @ centre) ** 2)))
            squared_deg.append(float(np.sum(np.rad2deg(matrix_to_rotvec(expected[:3, :3].T @ seen[:3, :3])) ** 2)))
    return float(np.sqrt(np.mean(squared_mm))), float(np.sqrt(np.mean(squared_deg)))


def _typical_error(problem: Problem, poses: Poses) -> float:
    return float(np.median(np.abs(problem.pixel_errors(*poses))))


def _closed_forms(problem: Problem) -> list[Poses]:
    """Return what OpenCV's closed forms say: T_mount_cam and the board as the median view then sees it."""
    located = [locate_board(problem.board, view.sighting, problem.K, problem.distortion) for view in problem.views]
    # calibrateHandEye wants T_base_gripper and gives T_gripper_cam; beside the arm, base and TCP change places.
    others = [invert(problem.T_mount_other(view)) for view in problem.views]
    R_other_mount, t_other_mount = [T[:3, :3] for T in others], [T[:3, 3] for T in others]
    R_cam_board, t_cam_board = [T[:3, :3] for T in located], [T[:3, 3] for T in located]
    candidates: list[Poses] = []
    for method in (cv2.CALIB_HAND_EYE_PARK, cv2.CALIB_HAND_EYE_HORAUD, cv2.CALIB_HAND_EYE_DANIILIDIS):
        # By keyword: by position it would land in an output argument, and another method would run.
        R, t = cv2.calibrateHandEye(R_other_mount, t_other_mount, R_cam_board, t_cam_board, method=method)
        if not (np.all(np.isfinite(R)) and np.all(np.isfinite(t))):
            continue
        T_mount_cam = pose(np.asarray(t, np.float64).reshape(3), np.asarray(R, np.float64))
        boards = [T_other @ T_mount_cam @ T for T_other, T in zip(others, located, strict=True)]
        middle = np.median([T[:3, 3] for T in boards], axis=0)
        nearest = min(boards, key=lambda T: float(np.linalg.norm(T[:3, 3] - middle)))
        candidates.append((T_mount_cam, nearest))
    if not candidates:
        raise CalibrationError("No closed form has a solution for these views; turn the hand about more axes.")
    return candidates
