"""What a calibration is made of: board sightings with the arm's pose, and whether there are enough of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from rl.errors import AgpsError
from rl.robots.calibration.board import MIN_CORNERS, CharucoBoard, Sighting
from rl.types import FloatArray

MIN_VIEWS = 15
"""Fewer poses leave the rotation of a far camera uncertain by several times 0.1 degree."""
MIN_ROTATION_DEG = 30.0
"""Range of rotation that is needed about two axes; about one alone, the translation along it is not determined."""
MIN_COVERAGE = 0.15
"""Part of the image that the boards of all views together must cover: elsewhere the lens is extrapolated."""
MIN_SIZE = 0.01
"""Part of the image that the board must cover in a typical view: of a smaller one the distance is a guess."""
_GRID = (64, 48)
"""Resolution at which coverage is counted, columns and rows."""


class CalibrationError(AgpsError):
    """The views cannot give a calibration: what is missing, and what to do."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One image of the board and where the arm was when it was taken."""

    T_base_tcp: FloatArray
    """Measured pose. Shape (4, 4), [m]."""
    sighting: Sighting


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much a set of views says."""

    views: int
    """With at least the fewest crossings that count."""
    rotation_deg: tuple[float, float, float]
    """Range of the TCP's rotation about its three principal axes, largest first, [deg]."""
    image: float
    """Part of the image that was covered by the board in any view, 0 to 1."""
    size: float
    """Part of the image that the board covers in the median view, 0 to 1."""

    def missing(self) -> str | None:
        """Return what keeps these views from giving a calibration, in one sentence; None if nothing does."""
        if self.views < MIN_VIEWS:
            return (
                f"Only {self.views} views show the board with at least {MIN_CORNERS} crossings; a calibration needs "
                f"{MIN_VIEWS}: take more, nearer to the board or in better light."
            )
        first, second, _ = self.rotation_deg
        if second < MIN_ROTATION_DEG:
            return (
                f"The views turn by {first:.0f} degrees about one axis and by only {second:.0f} about a second; turn "
                f"the hand by at least {MIN_ROTATION_DEG:.0f} degrees about two axes."
            )
        if self.size < MIN_SIZE:
            return (
                f"The board covers only {100 * self.size:.1f} % of the image in a typical view, and "
                f"{100 * MIN_SIZE:.0f} % is needed; bring it nearer to the camera, or print a larger one."
            )
        if self.image < MIN_COVERAGE:
            return (
                f"All views together cover only {100 * self.image:.0f} % of the image, and {100 * MIN_COVERAGE:.0f} % "
                "is needed; show the board to the edges of the image too."
            )
        return None


def coverage(views: Sequence[View], *, width: int, height: int) -> Coverage:
    """Return how much a set of views says about a camera of that many pixels."""
    good = usable(views)
    covered = np.zeros((_GRID[1], _GRID[0]), np.uint8)
    sizes = []
    for view in good:
        hull = cv2.convexHull(view.sighting.corners.astype(np.float32)).reshape(-1, 2)
        sizes.append(cv2.contourArea(hull) / (width * height))
        cells = np.floor(hull * [_GRID[0] / width, _GRID[1] / height]).astype(np.int32)
        cv2.fillConvexPoly(covered, cells, 1)
    return Coverage(
        views=len(good),
        rotation_deg=rotation_ranges_deg([view.T_base_tcp for view in good]),
        image=float(covered.mean()),
        size=float(np.median(sizes)) if sizes else 0.0,
    )


def usable(views: Sequence[View]) -> list[View]:
    """Return the views that show enough of the board."""
    return [view for view in views if view.sighting.count >= MIN_CORNERS]


def rotation_ranges_deg(poses: Sequence[FloatArray]) -> tuple[float, float, float]:
    """Return the largest rotation between any two poses about each principal axis, largest first, [deg].

    The axes are those of the rotation vectors of R_i^T R_j over all pairs; a set that turns about one axis only has one
    range that is not zero.
    """
    if len(poses) < 2:
        return (0.0, 0.0, 0.0)
    rotations = np.array([T[:3, :3] for T in poses])
    first, second = np.triu_indices(len(poses), k=1)
    between = Rotation.from_matrix(rotations[first].transpose(0, 2, 1) @ rotations[second]).as_rotvec()
    axes = np.linalg.svd(between, full_matrices=False)[2]
    ranges = np.sort(np.rad2deg(np.abs(between @ axes.T).max(axis=0)))[::-1]
    padded = [*ranges.tolist(), 0.0, 0.0]
    return padded[0], padded[1], padded[2]


def check_views(views: Sequence[View], *, width: int, height: int) -> list[View]:
    """Return the usable views of a set that determines a calibration.

    Raises:
        CalibrationError: If the set does not.
    """
    missing = coverage(views, width=width, height=height).missing()
    if missing is not None:
        raise CalibrationError(missing)
    return usable(views)


def locate_board(
    board: CharucoBoard,
    sighting: Sighting,
    K: FloatArray,
    distortion: FloatArray,
    *,
    T_cam_board_guess: FloatArray | None = None,
) -> FloatArray:
    """Return T_cam_board (4, 4), [m], from one image, by perspective-n-point and refinement.

    Args:
        board: The board.
        sighting: Its crossings.
        K: Intrinsics. Shape (3, 3), [px].
        distortion: OpenCV coefficients. Shape (5,).
        T_cam_board_guess: Where to start from; a small flat board alone fits two poses nearly equally well.

    Raises:
        CalibrationError: If there are too few crossings, or all on one line.
    """
    points = board.points[sighting.ids]
    spread = np.linalg.matrix_rank(points[:, :2] - points[:, :2].mean(axis=0), tol=1e-6) if sighting.count else 0
    if sighting.count < MIN_CORNERS or spread < 2:
        raise CalibrationError(
            f"The camera sees {sighting.count} crossings of the {board}, and {MIN_CORNERS} off one line are needed; "
            "show more of the board, nearer, in even light."
        )
    if T_cam_board_guess is None:
        _, rotvecs, translations, _ = cv2.solvePnPGeneric(
            points, sighting.corners, K, distortion, flags=cv2.SOLVEPNP_IPPE
        )
        rotvec, translation = rotvecs[0], translations[0]  # sorted by reprojection error
    else:
        rotvec = Rotation.from_matrix(T_cam_board_guess[:3, :3]).as_rotvec()
        translation = T_cam_board_guess[:3, 3].copy()
    rotvec, translation = cv2.solvePnPRefineLM(points, sighting.corners, K, distortion, rotvec, translation)
    T_cam_board = np.eye(4)
    T_cam_board[:3, :3] = Rotation.from_rotvec(rotvec.reshape(3)).as_matrix()
    T_cam_board[:3, 3] = translation.reshape(3)
    return T_cam_board
