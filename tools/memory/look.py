"""A cheap look: whether a place still shows what it did when a record was made. Grey values and depth, no model.

What was kept of a place is drawn into the present image, from the surface that each of its pixels showed: for a camera
that stands still at the same pixels, for one on the hand where they are now. Then it is shifted about: it must fit best
where it is drawn. What stands before it is left out, and counts as hidden when it is too much.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from rl.types import ByteArray, FloatArray, RGBDFrame

SIDE_M = 0.030
"""Side of what is kept around a point, [m]: wide enough for the edges of a small part, and little of what is behind."""
SMALLEST_PX, LARGEST_PX = 16, 48
"""Side of a patch, [px]."""
MOVED_M = 0.002
"""A place that has moved by more is another one, [m]; by less, waypoints towards it still succeed."""
WINDOW_M = 0.006
"""How far around itself a place is looked for, [m]. After a longer way it is not found, which is as good an answer."""
ALIKE = 0.6
"""Least normalised correlation of a place with itself, whatever light and shadows fall on it."""
DISTINCT = 0.97
"""Largest one with its neighbourhood: a plain surface, or a single edge, looks the same from a little beside."""
NOISE_GREY = 2.0
"""Grey values differ by this much anyway, of 255: what differs by no more is like nothing."""
BESIDE_M = 0.012
"""What is this much nearer to the camera stands before a place; where it sees this much further, something is gone."""
MEASURED = 0.1
"""Least share of a patch with depth: a thin part before a far wall has no more."""
SEEN = 0.5
"""Least share of a patch before which nothing may stand."""
SEEN_AT_BOTH = 0.25
"""Least share of a patch that is seen at two places for them to be compared."""
GONE = 0.2
"""Largest share of a patch that may be gone."""

Verdict = Literal["unmoved", "moved", "hidden"]
_Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """What a camera showed around a point, and from where."""

    camera: str
    corner: tuple[int, int]
    """Pixel (u, v) of the top left one, [px]."""
    grey: ByteArray
    """Shape (n, n), uint8."""
    depth_m: _Float32
    """Distance along the optical axis, 0 where there was no data. Shape (n, n), [m]."""
    K: FloatArray
    """Pinhole intrinsics. Shape (3, 3), [px]."""
    T_base_cam: FloatArray
    """Pose of the camera then. Shape (4, 4), [m]."""

    @property
    def points(self) -> FloatArray:
        """Surface that each pixel showed, base frame; without data, as far as the others. Shape (n n, 3), [m]."""
        n = len(self.grey)
        v, u = np.indices((n, n)).reshape(2, -1) + np.array(self.corner[::-1])[:, np.newaxis]
        depth = np.where(self.depth_m > 0, self.depth_m, np.median(self.depth_m[self.depth_m > 0])).ravel()
        rays = np.linalg.inv(self.K) @ np.stack([u, v, np.ones(n * n)])
        points: FloatArray = (rays * depth).T @ self.T_base_cam[:3, :3].T + self.T_base_cam[:3, 3]
        return points


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at a place came to."""

    verdict: Verdict
    why: str = ""
    """In a few words, for people; empty where nothing has moved."""


def cut_patch(frame: RGBDFrame, xyz: FloatArray) -> Patch | None:
    """Return what a camera shows around a point; None where that would tell nobody whether it moves.

    Args:
        frame: Image, depth and calibration.
        xyz: The point, base frame. Shape (3,), [m].
    """
    p_cam = frame.T_base_cam[:3, :3].T @ (xyz - frame.T_base_cam[:3, 3])
    if p_cam[2] <= 0.0:
        return None
    height, width = frame.depth_m.shape
    u, v = (frame.K @ p_cam)[:2] / p_cam[2]
    side = int(np.clip(round(SIDE_M * frame.K[0, 0] / p_cam[2]), SMALLEST_PX, min(LARGEST_PX, height, width)))
    if not (0 <= u < width and 0 <= v < height):
        return None
    left, top = (int(np.clip(round(c - side / 2), 0, n - side)) for c, n in ((u, width), (v, height)))
    area = np.s_[top : top + side, left : left + side]
    patch = Patch(
        camera=frame.name,
        corner=(left, top),
        grey=_grey(frame.rgb[area]),
        depth_m=np.where(np.isfinite(frame.depth_m[area]), frame.depth_m[area], 0).astype(np.float32),
        K=np.array(frame.K, dtype=np.float64),
        T_base_cam=np.array(frame.T_base_cam, dtype=np.float64),
    )
    return patch if _shows(patch, float(p_cam[2])) and _is_distinct(patch, frame) else None


def look_at(patch: Patch, frame: RGBDFrame) -> Look:
    """Return whether the place of a patch is where it was, as a camera shows it now."""
    drawn = _draw(patch, frame)
    if drawn is None or float(drawn.seen[drawn.unshifted].mean()) < SEEN:
        return Look(verdict="hidden", why="is hidden or out of sight")
    if drawn.gone > GONE:
        return Look(verdict="moved", why="is gone")
    scores, is_near = drawn.scores(patch), drawn.distances_m <= max(MOVED_M, drawn.pixel_m)
    best, here = int(np.argmax(scores)), int(np.argmax(np.where(is_near, scores, -np.inf)))
    if scores[best] < ALIKE:
        return Look(verdict="moved", why=f"does not look as it did ({scores[here]:.2f} alike, {ALIKE:g} at least)")
    if not is_near[best] and not (scores[here] >= ALIKE and drawn.is_as_alike(patch, here, scores > scores[here])):
        return Look(verdict="moved", why=f"has moved by about {1000 * drawn.distances_m[best]:.0f} mm")
    return Look(verdict="unmoved")


def look_around(patches: Mapping[str, Patch | None], frames: Mapping[str, RGBDFrame]) -> Look:
    """Return whether all places are where they were; if not, what is wrong with the first that is not.

    Args:
        patches: What was kept of each place, by its name; None where nothing was.
        frames: What the cameras show now, by name.
    """
    for name, patch in patches.items():
        if patch is None:
            return Look(verdict="hidden", why=f"nothing was kept of how {name} looks")
        if patch.camera not in frames:
            return Look(verdict="hidden", why=f"there is no camera {patch.camera} to look at {name}")
        look = look_at(patch, frames[patch.camera])
        if look.verdict != "unmoved":
            return Look(verdict=look.verdict, why=f"{name} {look.why}")
    return Look(verdict="unmoved")


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The present image where a patch is drawn into it, per shift of it (s) and pixel of the patch (n n)."""

    grey: _Float32
    """Shape (s, n n)."""
    seen: npt.NDArray[np.bool_]
    """Inside of the image, and nothing stands before it. Shape (s, n n)."""
    distances_m: FloatArray
    """Length of each shift. Shape (s,), [m]."""
    pixel_m: float
    """Size of a pixel there, [m]."""
    gone: float
    """Share of what can be seen where the camera now sees further than it did."""

    @property
    def unshifted(self) -> int:
        """Number of the shift that is none."""
        return len(self.distances_m) // 2

    def scores(self, patch: Patch) -> FloatArray:
        """Return how alike patch and image are, per shift: normalised correlation of what is seen. Shape (s,)."""
        scores = correlation(patch.grey.ravel().astype(np.float32), self.grey, self.seen)
        return np.where(self.seen.mean(axis=1) >= SEEN, scores, -1.0)

    def is_as_alike(self, patch: Patch, here: int, others: npt.NDArray[np.bool_]) -> bool:
        """Return whether a patch is as alike at one shift as at each of some others, by what is seen at both.

        Where the arm hides more of it, the little that is left is easily alike. Where too little is seen at both, it
        is not.
        """
        seen = self.seen[others] & self.seen[here]
        then, still = patch.grey.ravel().astype(np.float32), np.broadcast_to(self.grey[here], seen.shape)
        as_alike = correlation(then, still, seen) >= correlation(then, self.grey[others], seen)
        return bool(np.all(as_alike & (seen.mean(axis=1) >= SEEN_AT_BOTH)))


def _draw(patch: Patch, frame: RGBDFrame) -> Drawn | None:
    """Return a patch drawn into an image; None where the camera does not look at it, or from much nearer."""
    p_cam = (patch.points - frame.T_base_cam[:3, 3]) @ frame.T_base_cam[:3, :3]
    z = p_cam[:, 2].astype(np.float32)
    if z.min() <= 0.0:
        return None
    uv = np.rint((p_cam @ frame.K.T)[:, :2] / p_cam[:, 2:]).astype(np.int64)
    if np.ptp(uv, axis=0).max() > 4 * LARGEST_PX:
        return None
    pixel_m = float(np.median(z)) / float(frame.K[0, 0])
    radius = round(WINDOW_M / pixel_m)
    shifts = _shifts(radius)
    area = (uv.min(axis=0) - radius, uv.max(axis=0) + radius + 1)
    to_index = np.array([1, (area[1] - area[0])[0]])
    index = (uv - area[0]) @ to_index + (shifts @ to_index)[:, np.newaxis]  # (s, n n)
    depth = _cropped(frame.depth_m, *area, outside=np.nan).ravel()[index]
    depth = np.where(np.isinf(depth), np.float32(0), depth)
    seen = ~np.isnan(depth) & ((depth <= 0) | (depth > z - BESIDE_M))
    here = len(shifts) // 2
    known = seen[here] & (depth[here] > 0) & (patch.depth_m.ravel() > 0)
    return Drawn(
        grey=_cropped(_grey(frame.rgb), *area, outside=0.0).ravel()[index],
        seen=seen,
        distances_m=np.linalg.norm(shifts, axis=1) * pixel_m,
        pixel_m=pixel_m,
        gone=float(np.mean(depth[here][known] > z[known] + BESIDE_M)) if known.any() else 0.0,
    )


def correlation(then: _Float32, now: _Float32, seen: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the normalised correlation of grey values over what is seen: 1 if only brightness and contrast differ.

    sum (a - mean a)(b - mean b) / sqrt(sum ((a - mean a)^2 + s^2) sum ((b - mean b)^2 + s^2)), with s the noise: plain
    surfaces are like nothing.

    Args:
        then: Grey values of a patch. Shape (m,).
        now: Those of each place that it is compared with. Shape (s, m).
        seen: Which of them count. Shape (s, m).

    Returns:
        From -1 to 1. Shape (s,).
    """
    a, weight = then - then.mean(), seen.astype(np.float32)
    b = (now - now.mean()) * weight
    count, sum_a, sum_b = np.maximum(weight.sum(axis=1), 1.0), weight @ a, b.sum(axis=1)
    covariance = b @ a - sum_a * sum_b / count
    noise = count * NOISE_GREY**2
    variances = (weight @ a**2 - sum_a**2 / count + noise) * (np.einsum("ij,ij->i", b, b) - sum_b**2 / count + noise)
    scores: FloatArray = (covariance / np.sqrt(variances)).astype(np.float64)
    return scores


def _shows(patch: Patch, depth_m: float) -> bool:
    """Return whether the middle of a patch shows its point, at this depth, and not what stands before it."""
    if np.mean(patch.depth_m > 0) < MEASURED:
        return False
    n = len(patch.grey)
    middle = patch.depth_m[n // 2 - 2 : n // 2 + 2, n // 2 - 2 : n // 2 + 2]
    # A dark opening may have no depth although its rim has.
    return not np.any(middle > 0) or float(np.median(middle[middle > 0])) > depth_m - BESIDE_M


def _is_distinct(patch: Patch, frame: RGBDFrame) -> bool:
    """Return whether a patch would look different from a little beside."""
    drawn = _draw(patch, frame)
    if drawn is None:
        return False
    scores, is_near = drawn.scores(patch), drawn.distances_m <= max(MOVED_M, drawn.pixel_m)
    return float(scores[is_near].max()) >= ALIKE and float(scores[~is_near].max()) < DISTINCT


@cache
def _shifts(radius: int) -> npt.NDArray[np.int64]:
    """Return every shift by whole pixels, (u, v), none in the middle. Shape (s, 2), [px]."""
    steps = np.arange(-radius, radius + 1)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def _grey(rgb: ByteArray) -> ByteArray:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY))


def _cropped(
    image: npt.NDArray[np.uint8] | _Float32,
    lower: npt.NDArray[np.int64],
    upper: npt.NDArray[np.int64],
    *,
    outside: float,
) -> _Float32:
    """Return the part of an image from one pixel (u, v) to before another, with a value where it reaches beyond."""
    part = np.full((upper - lower)[::-1], outside, np.float32)
    first, last = np.maximum(lower, 0), np.minimum(upper, image.shape[::-1])
    if np.all(first < last):
        part[first[1] - lower[1] : last[1] - lower[1], first[0] - lower[0] : last[0] - lower[0]] = image[
            first[1] : last[1], first[0] : last[0]
        ]
    return part
