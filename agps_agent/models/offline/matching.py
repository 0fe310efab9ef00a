"""Finds a marked place again in another image, by the colours and the shape around it. Knows pixels, depth and cameras.

What lies within a few centimetres of a mark is kept as points in space with their colours, and as directions in which
there was nothing near. In a new image this is drawn at every place and turn that may be it, in its true size, since
depth says how far away the place is; where colours and depth agree best it is looked at more finely.

Light and paint may differ: each patch of one colour may be brighter, darker or a little off in hue as a whole, but must
be of one colour again. What stands before the place is left out, and too much of it hides the place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from rl.types import FloatArray, RGBDFrame

_Float32 = npt.NDArray[np.float32]

RADIUS_M = 0.030
"""How far around a mark is looked, [m]: a small part whole, and some of what it stands on."""
SHAPE_TOLERANCE_M = 0.006
"""Depth within this of what is expected is the same surface, [m]."""
BEFORE_M = 0.012
"""What is this much nearer stands before the place, [m]; where nothing was near, it must be this much further away."""
LEAST_SEEN = 0.45
"""Share of the surroundings before which nothing may stand."""
DARK = 0.06
"""Added to colours from 0 to 1 before their logarithm: in the dark a ratio says nothing."""
PAINT = 0.9
"""Difference of the logarithm of a patch's colour that light and paint hardly explain; two thirds of it, easily."""
UNEVEN = 0.30
"""Mean difference of the logarithm of colours within patches, after each was made as bright as before, that counts as
unlike."""
DIFFERENT = 0.7
"""Patches whose logarithms of colour differ by more must differ again..."""
KEPT_CONTRAST = 0.5
"""...by this share of it at least: light and paint change the colour of each patch."""
SAME_PATCH = 0.35
"""Colours whose logarithms differ by less belong to one patch."""
PATCHES = 6
"""Most patches of one colour that are told apart around a mark."""
SMALLEST_PATCH = 0.03
"""Share of the surroundings below which a patch says nothing."""
LEAST_OF_PATCH = 0.35
"""Share of a patch that must be there again."""
STRIDE_PX = 3
"""Distance of the places that are tried at first, [px]."""
OTHER_COLOUR = 0.8
"""Difference of the logarithm of a colour that no light and no paint explain."""
ROUGH, FINE = 14, 320
"""Points of the surroundings that are compared at first, and at last."""
KEPT_ROUGH, KEPT = 120, 5
"""Places that are looked at again after the first pass, and at last."""
PLACE_PX = 12.0
"""What is nearer to each other is one place, [px]."""
TURN_STEP_RAD = 0.2
"""Step of the turns about the vertical that are tried at first, [rad]."""
VIEWS = 2
"""References that are tried: those that were seen most as the camera looks now."""


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """An image with depth, prepared for comparing."""

    frame: RGBDFrame
    log_rgb: _Float32
    """Logarithm of the colours. Shape (H, W, 3)."""
    near_m: _Float32
    """Nearest depth within two pixels, 0 where there is none. Shape (H, W), [m]."""

    @classmethod
    def of(cls, frame: RGBDFrame) -> "View":
        """Return a frame as it is compared."""
        soft = cv2.GaussianBlur(frame.rgb, (3, 3), 0.0).astype(np.float32) / 255.0
        valid = np.where(np.isfinite(frame.depth_m) & (frame.depth_m > 0), frame.depth_m, np.float32(1e3))
        near = cv2.erode(valid.astype(np.float32), np.ones((5, 5), np.uint8))
        return cls(
            frame=frame,
            log_rgb=np.log(soft + DARK).astype(np.float32),
            near_m=np.where(near < 1e3, near, 0.0).astype(np.float32),
        )

    @cached_property
    def colour_range(self) -> tuple[_Float32, _Float32]:
        """Smallest and largest logarithm of each channel within two pixels. Shape (H, W, 3) each."""
        kernel = np.ones((5, 5), np.uint8)
        return cv2.erode(self.log_rgb, kernel), cv2.dilate(self.log_rgb, kernel)  # type: ignore[return-value]

    def point(self, uv: npt.ArrayLike, depth_m: float) -> FloatArray:
        """Return where a pixel at a depth is, in the camera's frame. Shape (3,), [m]."""
        u, v = np.asarray(uv, dtype=np.float64)
        ray: FloatArray = np.linalg.inv(self.frame.K) @ [u, v, 1.0]
        return ray * depth_m


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """What there is around a mark in one reference image."""

    label: str
    p_base: FloatArray
    """Where the mark is. Shape (3,), [m]."""
    looks_along: FloatArray
    """Direction of the camera's axis, base frame. Shape (3,)."""
    offsets: FloatArray
    """Points around the mark, nearest first, base frame without its origin. Shape (n, 3), [m]."""
    is_near: npt.NDArray[np.bool_]
    """Whether a point is on a surface; else nothing was near in its direction. Shape (n,)."""
    log_rgb: _Float32
    """Shape (n, 3)."""
    patch: npt.NDArray[np.intp]
    """Number of the patch of one colour that a point belongs to, -1 for none. Shape (n,)."""

    @cached_property
    def patch_colours(self) -> _Float32:
        """Mean logarithm of each patch's colour, 0 where there is no such patch. Shape (PATCHES, 3)."""
        belongs = (self.patch[:, np.newaxis] == np.arange(PATCHES)).astype(np.float32)
        return np.asarray(belongs.T @ self.log_rgb / np.maximum(1.0, belongs.sum(axis=0))[:, np.newaxis])

    @cached_property
    def rough(self) -> npt.NDArray[np.intp]:
        """The points that are compared at first, spread evenly."""
        return np.unique(np.linspace(0, len(self.offsets) - 1, ROUGH).astype(np.intp))


@dataclass(frozen=True, kw_only=True)
class Match:
    """A place that looks as a mark did."""

    uv: tuple[float, float]
    """[px]."""
    p_base: FloatArray
    """Shape (3,), [m]."""
    score: float
    """How much is alike: 1 everything, 0 nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Start:
    """From where to search finely."""

    score: float
    place: FloatArray
    """Pixel and depth. Shape (3,), [px], [m]."""
    turn: float
    """About the vertical, against the reference, [rad]."""
    template: Template


def make_template(label: str, frame: RGBDFrame, uv: tuple[float, float]) -> Template | None:
    """Return what there is around a mark; None where there is no depth."""
    view = View.of(frame)
    height, width = frame.depth_m.shape
    column, row = (int(np.clip(round(c), 0, n - 1)) for c, n in zip(uv, (width, height), strict=True))
    depth = float(view.near_m[row, column])
    if depth <= 0.0:
        return None
    middle = view.point(uv, depth)
    pixels, directions = _around(view, middle)
    own = frame.depth_m[pixels[:, 1], pixels[:, 0]].astype(np.float64)
    distance = directions * own[:, np.newaxis] - middle  # from the mark to the surface in each pixel
    near = np.linalg.norm(distance, axis=1) <= RADIUS_M * np.sqrt(2)
    behind = own > depth + BEFORE_M
    keep = (own > 0) & (near | behind)
    at_mark = directions * depth - middle  # in that direction, as far away as the mark
    offsets = np.where(near[:, np.newaxis], distance, at_mark)[keep] @ frame.T_base_cam[:3, :3].T
    log_rgb = view.log_rgb[pixels[keep, 1], pixels[keep, 0]]
    order = np.argsort(np.linalg.norm(offsets, axis=1), kind="stable")
    near = near[keep][order]
    if not near.any():
        return None
    return Template(
        label=label,
        p_base=frame.T_base_cam[:3, :3] @ middle + frame.T_base_cam[:3, 3],
        looks_along=frame.T_base_cam[:3, 2],
        offsets=offsets[order],
        is_near=near,
        log_rgb=log_rgb[order],
        patch=_patches(log_rgb[order], near),
    )


def _around(view: View, middle: FloatArray) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return pixels (n, 2) around a point of the camera's frame, dense near it, and their directions (n, 3)."""
    K = view.frame.K
    reach = RADIUS_M * K[0, 0] / middle[2]
    count = FINE // 2
    golden = np.pi * (3 - np.sqrt(5))
    number = np.arange(count) + 0.5
    rings = np.concatenate([reach * np.sqrt(number / count), 0.4 * reach * np.sqrt(number / count)])
    angles = np.tile(golden * np.arange(count), 2)
    centre = (K @ middle)[:2] / middle[2]
    pixels = np.round(centre + np.column_stack([rings * np.cos(angles), rings * np.sin(angles)])).astype(np.intp)
    height, width = view.frame.depth_m.shape
    inside = (pixels >= 0).all(axis=1) & (pixels < [width, height]).all(axis=1)
    pixels = np.unique(pixels[inside], axis=0)
    directions = np.column_stack([pixels, np.ones(len(pixels))]) @ np.linalg.inv(K).T
    return pixels, directions


def _patches(log_rgb: _Float32, is_near: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return which patch of one colour each point belongs to; what is far away belongs to none."""
    patch = np.full(len(log_rgb), -1, dtype=np.intp)
    centres: list[_Float32] = []
    for number in np.flatnonzero(is_near):
        distances = [float(np.abs(log_rgb[number] - centre).max()) for centre in centres]
        if not centres or (min(distances) > SAME_PATCH and len(centres) < PATCHES):
            centres.append(log_rgb[number])
            patch[number] = len(centres) - 1
        else:
            patch[number] = int(np.argmin(distances))
    return patch


def find_places(templates: Sequence[Template], view: View, *, turn_rad: float) -> list[Match]:
    """Return places that look most like a mark, the best first; they lie apart from each other.

    Args:
        templates: What was around it in the references.
        view: Where to look.
        turn_rad: Largest turn about the vertical, against the references, [rad].
    """
    looks_along = view.frame.T_base_cam[:3, 2]
    chosen = sorted(templates, key=lambda template: -float(template.looks_along @ looks_along))[:VIEWS]
    steps = int(np.ceil(turn_rad / TURN_STEP_RAD))
    turns = np.linspace(-turn_rad, turn_rad, 2 * steps + 1)
    starts = [start for template in chosen for start in _roughly(template, view, turns)]
    starts.sort(key=lambda start: -start.score)
    return _distinct([_finely(start, view) for start in _spread(starts)])


def _roughly(template: Template, view: View, turns: FloatArray) -> Iterator[_Start]:
    """Yield the likeliest places at each turn, for one reference."""
    places = _of_colour(template, view)
    quarter = np.arange(0, len(template.offsets), 4)
    for turn in map(float, turns):
        few = places[np.argsort(-_rough_scores(template, places, turn, view))[:KEPT_ROUGH]]
        scores = _scores(template, quarter, few, turn, view)
        for i in np.argsort(-scores)[: 4 * KEPT]:
            yield _Start(score=float(scores[i]), place=few[i].astype(np.float64), turn=turn, template=template)


def _of_colour(template: Template, view: View) -> _Float32:
    """Return places (n, 3) on a grid near which there is something of the colour that a mark is on, [px], [m]."""
    height, width = view.near_m.shape
    v, u = np.mgrid[1:height:STRIDE_PX, 1:width:STRIDE_PX].reshape(2, -1)
    colour = template.log_rgb[int(np.flatnonzero(template.is_near)[0])]
    low, high = (bound[v, u] for bound in view.colour_range)
    depth = view.near_m[v, u]
    fits = (depth > 0) & (_largest(low - colour) < OTHER_COLOUR) & (_largest(colour - high) < OTHER_COLOUR)
    return np.column_stack([u, v, depth]).astype(np.float32)[fits]


def _rough_scores(template: Template, places: _Float32, turn: float, view: View) -> npt.NDArray[np.float64]:
    """Return how much of a few points is alike at places (m, 3): a quick first sieve. Shape (m,)."""
    chosen = template.rough
    column, row, expected, inside = _drawn(template, chosen, places, turn, view)
    off = view.frame.depth_m[row, column] - expected
    near = template.is_near[chosen]
    fits = inside & np.where(near, np.abs(off) < SHAPE_TOLERANCE_M, off > BEFORE_M)
    unlike = _largest(np.abs(view.log_rgb[row, column] - template.log_rgb[chosen]))
    alike = np.where(near, np.maximum(0.0, 1.0 - unlike / (2 * OTHER_COLOUR)), 1.0)
    return np.asarray((fits * alike).mean(axis=1), dtype=np.float64)


def _spread(starts: Sequence[_Start]) -> Iterator[_Start]:
    """Yield the best starts of the places that lie apart, two of each: it may be turned in more than one way."""
    places: list[list[FloatArray]] = []
    for start in starts:
        near = next((group for group in places if _apart_px(group[0], start.place) < PLACE_PX), None)
        if near is None and len(places) < KEPT:
            places.append([start.place])
            yield start
        elif near is not None and len(near) < 2:
            near.append(start.place)
            yield start


def _finely(start: _Start, view: View) -> Match:
    """Return a place after a local search over its pixel, its depth and its turn, in steps that become smaller."""
    best = replace(start, score=-1.0)
    for step_px, step_rad in ((2.0, 0.1), (1.0, 0.05), (0.5, 0.025)):
        for _ in range(4):
            better = _beside(best, step_px, step_rad, view)
            if better is best:
                break
            depth_m = _depth_offset(better.template, better.place, better.turn, view)
            best = replace(better, place=better.place + [0.0, 0.0, depth_m])
    T = view.frame.T_base_cam
    p_base = T[:3, :3] @ view.point(best.place[:2], best.place[2]) + T[:3, 3]
    return Match(uv=(float(best.place[0]), float(best.place[1])), p_base=p_base, score=best.score)


def _beside(best: _Start, step_px: float, step_rad: float, view: View) -> _Start:
    """Return the best of what is one step away in any direction; the same again where nothing is better."""
    every, limit = np.arange(len(best.template.offsets)), np.array(view.near_m.shape[::-1]) - 1.0
    shifts = np.array([(du, dv, 0.0) for du in (-1, 0, 1) for dv in (-1, 0, 1)]) * step_px
    tried = best.place + shifts
    tried = tried[((tried[:, :2] >= 0) & (tried[:, :2] <= limit)).all(axis=1)]
    found = best
    for turn in (best.turn - step_rad, best.turn, best.turn + step_rad):
        scores = _scores(best.template, every, tried.astype(np.float32), turn, view)
        first = int(np.argmax(scores))
        if scores[first] > found.score + 1e-6:
            found = replace(best, score=float(scores[first]), place=tried[first], turn=turn)
    return found


def _distinct(matches: Sequence[Match]) -> list[Match]:
    """Return the matches, the best first, without those beside a better one."""
    kept: list[Match] = []
    for match in sorted(matches, key=lambda match: -match.score):
        if all(_apart_px(np.array(match.uv), np.array(other.uv)) > PLACE_PX / 2 for other in kept):
            kept.append(match)
    return kept


def _apart_px(first: FloatArray, second: FloatArray) -> float:
    """Return the distance of two places in the image, [px]."""
    return float(np.hypot(*(first - second)[:2]))


def _drawn(
    template: Template, chosen: npt.NDArray[np.intp], places: _Float32, turn: float, view: View
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], _Float32, npt.NDArray[np.bool_]]:
    """Return columns and rows (m, n) at which points of a template lie, their depth, and whether that is in the image.

    Args:
        template: What is drawn.
        chosen: Numbers of its points (n,).
        places: Pixel and depth of where it is drawn. Shape (m, 3), [px], [m].
        turn: About the vertical, [rad].
        view: Where.
    """
    K, R = view.frame.K, view.frame.T_base_cam[:3, :3]
    c, s = np.cos(turn), np.sin(turn)
    o = (template.offsets[chosen] @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) @ R).astype(np.float32)
    fx, fy, cx, cy = (np.float32(value) for value in (K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
    u, v, z = (places[:, i, np.newaxis] for i in range(3))
    depth = z + o[:, 2]
    safe = np.maximum(depth, np.float32(1e-3))
    column = np.rint(cx + ((u - cx) * z + fx * o[:, 0]) / safe).astype(np.intp)
    row = np.rint(cy + ((v - cy) * z + fy * o[:, 1]) / safe).astype(np.intp)
    height, width = view.near_m.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (depth > 0.01)
    return np.clip(column, 0, width - 1), np.clip(row, 0, height - 1), depth, inside


def _scores(
    template: Template, chosen: npt.NDArray[np.intp], places: _Float32, turn: float, view: View
) -> npt.NDArray[np.float64]:
    """Return how much of a template is alike at places (m, 3). Shape (m,), 0 to 1."""
    column, row, expected, inside = _drawn(template, chosen, places, turn, view)
    depth = view.frame.depth_m[row, column]
    inside &= depth > 0
    near = template.is_near[chosen]
    off = depth - expected
    before = off < np.where(near, -BEFORE_M, -SHAPE_TOLERANCE_M)
    seen = inside & ~before
    fits = seen & np.where(near, np.abs(off) < SHAPE_TOLERANCE_M, off > BEFORE_M)
    share_seen = seen.mean(axis=1)
    shape = fits.sum(axis=1) / np.maximum(1, seen.sum(axis=1))
    colour = _colour_scores(template, chosen, view.log_rgb[row, column], fits & near)
    return np.where(share_seen >= LEAST_SEEN, shape * colour, 0.0)


def _colour_scores(
    template: Template, chosen: npt.NDArray[np.intp], log_rgb: _Float32, counts: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return how much colours (m, n, 3) are those of a template, each patch as a whole brighter or darker. Shape (m,).

    Args:
        template: What they are compared with.
        chosen: Numbers of its points (n,).
        log_rgb: Colours there.
        counts: Which of them are of the surfaces that are compared. Shape (m, n).
    """
    difference = log_rgb - template.log_rgb[chosen]
    belongs = template.patch[chosen, np.newaxis] == np.arange(PATCHES)  # (n, patches)
    weights = counts.astype(np.float32)
    count = weights @ belongs.astype(np.float32)  # (m, patches)
    sums = np.einsum("mnc,np->mpc", difference * weights[..., np.newaxis], belongs.astype(np.float32), optimize=True)
    mean = sums / np.maximum(1.0, count)[..., np.newaxis]
    apart = _largest(np.abs(difference - mean[:, template.patch[chosen]]))
    uneven = ((np.minimum(1.0, apart) * weights) @ belongs.astype(np.float32)) / np.maximum(1.0, count)
    alike = np.exp(-((uneven / UNEVEN) ** 2) - (_largest(np.abs(mean)) / PAINT) ** 4)
    size = (belongs & template.is_near[chosen, np.newaxis]).sum(axis=0)
    alike = np.where(count >= LEAST_OF_PATCH * size, alike, 0.0)
    # By the root of their size: a large plain surface around a small coloured mark must not say it all.
    share = np.sqrt(np.where(size >= SMALLEST_PATCH * size.sum(), size, 0.0))
    there = (count >= LEAST_OF_PATCH * size) & (share > 0.0)
    contrast = _contrast(template.patch_colours, mean, share * there)
    return np.asarray(contrast * (alike @ share) / max(1.0, float(share.sum())), dtype=np.float64)


def _contrast(colours: _Float32, change: _Float32, weights: FloatArray) -> npt.NDArray[np.float64]:
    """Return how much of the differences between patches is left: on a plain surface nothing. Shape (m,), 0 to 1.

    Args:
        colours: Mean logarithm of each patch's colour in the reference. Shape (p, 3).
        change: By how much it differs here. Shape (m, p, 3).
        weights: How much each patch counts here, 0 where it is not there. Shape (m, p).
    """
    first, second = np.triu_indices(len(colours), 1)
    was = colours[first] - colours[second]  # (pairs, 3)
    size = np.einsum("pc,pc->p", was, was)
    tells = size > DIFFERENT**2
    if not tells.any():
        return np.ones(len(change))
    first, second, was, size = first[tells], second[tells], was[tells], size[tells]
    kept = 1.0 + np.einsum("mpc,pc->mp", change[:, first] - change[:, second], was) / size
    pairs = weights[:, first] * weights[:, second]
    total = pairs.sum(axis=1)
    share = (np.clip(kept / KEPT_CONTRAST, 0.0, 1.0) * pairs).sum(axis=1) / np.maximum(1e-9, total)
    return np.where(total > 0.0, share, 0.0)


def _largest(channels: _Float32) -> _Float32:
    """Return the largest of three channels; `max` over a short last axis takes ten times as long."""
    return np.asarray(np.maximum(np.maximum(channels[..., 0], channels[..., 1]), channels[..., 2]))


def _depth_offset(template: Template, place: FloatArray, turn: float, view: View) -> float:
    """Return by how much the surfaces around a place (3,) are further away than expected, [m]."""
    near = np.flatnonzero(template.is_near)
    column, row, expected, inside = _drawn(template, near, place[np.newaxis].astype(np.float32), turn, view)
    off = (view.frame.depth_m[row, column] - expected)[inside]
    off = off[np.abs(off) < SHAPE_TOLERANCE_M]
    return float(np.median(off)) if len(off) > 5 else 0.0
