"""Boxes that confine exploration, built from keypoints (AGPS, arXiv:2602.11978, App. C: exploration_bbox_tool)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from rl.types import Box, FloatArray
from tools.errors import ToolRetry

BoxMode = Literal["two_keypoint_union", "direct_bbox3d"]

MIN_SIDE_M = 0.010
"""A box is never thinner than this, [m]: the policy must be able to move in it."""
MAX_MARGIN_M = 0.20
"""Largest margin of a side, [m]: beyond it a box prunes nothing."""


def exploration_bbox(
    mode: BoxMode,
    keypoints: Sequence[npt.ArrayLike] | FloatArray,
    margins: npt.ArrayLike,
    workspace: Box,
    *,
    offset: npt.ArrayLike = (0.0, 0.0, 0.0),
    min_side_m: float = MIN_SIDE_M,
) -> Box:
    """Return the box around two points, widened by margins, moved by an offset, cut by the workspace.

    `two_keypoint_union`: the smallest box that holds both points. `direct_bbox3d`: the points are its lower and upper
    corner. The result is inside the workspace, never empty and never thinner than `min_side_m`.

    Args:
        mode: How the two points span the box.
        keypoints: Two points in the base frame. Shape (2, 3), [m].
        margins: How far each side is moved outwards, per axis below and above. Shape (3, 2), or (3,) for both sides
            alike, or a number for all, [m]; none negative.
        workspace: Where the TCP may be commanded to, [m].
        offset: From the point that the keypoints are meant for (the tip of the tool) to the TCP. Shape (3,), [m].
        min_side_m: Smallest side, [m].

    Raises:
        ToolRetry: If a value is not finite or out of range, the corners are swapped, or the box misses the workspace.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    sides = _margins(margins)
    shift = np.asarray(offset, dtype=np.float64)
    if points.shape != (2, 3):
        raise ToolRetry(f"{mode} needs two points of three coordinates, got shape {points.shape}; give exactly two.")
    if not (np.all(np.isfinite(points)) and np.all(np.isfinite(shift))):
        raise ToolRetry(f"Points {points.tolist()} are not all finite; give numbers in metres.")
    if mode == "two_keypoint_union":
        lower, upper = points.min(axis=0), points.max(axis=0)
    elif mode == "direct_bbox3d":
        lower, upper = points
        if np.any(lower > upper):
            raise ToolRetry(
                f"lower {_xyz(lower)} exceeds upper {_xyz(upper)}; give the smaller value of each in lower."
            )
    else:
        raise ToolRetry(f"There is no mode {mode!r}; choose two_keypoint_union or direct_bbox3d.")
    return _fit(lower - sides[:, 0] + shift, upper + sides[:, 1] + shift, workspace, min_side_m)


def _margins(margins: npt.ArrayLike) -> FloatArray:
    """Return margins as shape (3, 2): per axis below and above, [m]."""
    given = np.asarray(margins, dtype=np.float64)
    if given.shape not in ((), (3,), (3, 2)):
        raise ToolRetry(f"Margins have shape {given.shape}; give one per side, shape (3, 2), in metres.")
    sides = np.broadcast_to(given[:, np.newaxis] if given.shape == (3,) else given, (3, 2))
    if not np.all((sides >= 0) & (sides <= MAX_MARGIN_M)):
        raise ToolRetry(f"Margins {sides.tolist()} m must each lie between 0 and {MAX_MARGIN_M:.2f} m.")
    return sides


def _fit(lower: FloatArray, upper: FloatArray, workspace: Box, min_side_m: float) -> Box:
    """Return the box cut by the workspace, then widened inside it to the smallest side."""
    for axis, name in enumerate("xyz"):
        if upper[axis] < workspace.lower[axis] or lower[axis] > workspace.upper[axis]:
            raise ToolRetry(
                f"The box's {name} range {lower[axis]:.3f} to {upper[axis]:.3f} m misses the workspace's "
                f"{workspace.lower[axis]:.3f} to {workspace.upper[axis]:.3f} m; check the keypoints.",
                reason="box_misses_workspace",
            )
    cut_lower, cut_upper = np.maximum(lower, workspace.lower), np.minimum(upper, workspace.upper)
    side = np.minimum(np.maximum(cut_upper - cut_lower, min_side_m), workspace.upper - workspace.lower)
    # Grow about the centre, then shift back inside.
    centre = np.clip((cut_lower + cut_upper) / 2, workspace.lower + side / 2, workspace.upper - side / 2)
    thin = cut_upper - cut_lower < side
    return Box(lower=np.where(thin, centre - side / 2, cut_lower), upper=np.where(thin, centre + side / 2, cut_upper))


def _xyz(point: FloatArray) -> str:
    return f"({point[0]:.3f}, {point[1]:.3f}, {point[2]:.3f}) m"
