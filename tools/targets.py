"""Targets: how the model names a place, by the labels of keypoints, and where that place is."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from rl.types import FloatArray
from tools.errors import ToolRetry
from tools.labels import find_label
from tools.perception import Point

Keypoints = Mapping[str, Point]
"""Found keypoints by label, those half-way between a left and a right one among them."""
Target = str | tuple[str, str]
"""A label, or two for a point on the line through both."""

Line = tuple[str, str] | None
"""Two labels: the line through both; None where a call names none."""

SHORTEST_LINE_M = 0.005
"""Two points that are nearer to each other seen from above give no direction, [m]."""
STRAIGHT_RAD = 0.04
"""A line that has turned by less is taken not to have: pointing at things 2 cm apart errs by as much, [rad]."""

_REQUIRED: Any = ...


class NotedKeypoints(Mapping[str, Point]):
    """Keypoints that note which of them somebody asks for, and for what."""

    def __init__(self, keypoints: Keypoints) -> None:
        self._keypoints = keypoints
        self._asked: dict[str, bool] = {}
        """By label, whether somebody goes there."""

    @property
    def asked(self) -> tuple[str, ...]:
        """Labels that were asked for, in that order."""
        return tuple(self._asked)

    @property
    def aimed_at(self) -> tuple[str, ...]:
        """Those of them that somebody goes to: a line only gives a direction."""
        return tuple(label for label, aims in self._asked.items() if aims)

    def direction(self, label: str) -> Point:
        """Return a keypoint to whoever does not go there."""
        point = self._keypoints[label]
        self._asked.setdefault(label, False)
        return point

    def __getitem__(self, label: str) -> Point:
        point = self._keypoints[label]
        self._asked[label] = True
        return point

    def __iter__(self) -> Iterator[str]:
        return iter(self._keypoints)

    def __len__(self) -> int:
        return len(self._keypoints)


def target_field(what: str, *, default: Any = _REQUIRED) -> Any:
    """Return the field of a target; `what` says what it is for, as prompt text."""
    form = "A keypoint's label, e.g. `port`, or a list of two labels for the point half-way between."
    return Field(default, description=f"{what} {form}")


def fraction_field() -> Any:
    """Return the field that says where between two labels a target lies."""
    return Field(
        0.5,
        ge=-1.0,
        le=3.0,
        description="With two labels: how far from the first to the second; 1 is at the second, 1.3 beyond it.",
    )


def line_field() -> Any:
    """Return the field of a line that the tool is turned with."""
    return Field(
        None,
        description="Two labels, in place of yaw_rad: turn the tool as far as the line through both has turned, seen "
        "from above, from the nearer axis of the base frame. For a slot or a socket that does not stand straight.",
    )


def line_yaw(line: tuple[str, str], keypoints: Keypoints) -> float:
    """Return how far a line has turned about the vertical from the nearer of the axes x and y, [rad].

    At most 45 degrees to either side, and 0 where it is too little to be told (`STRAIGHT_RAD`).

    Raises:
        ToolRetry: If a label is not known, or both are at one place.
    """
    first, second = (_end_of_line(label, keypoints) for label in line)
    x, y = second[:2] - first[:2]
    if math.hypot(x, y) < SHORTEST_LINE_M:
        raise ToolRetry(
            f"along: {line[0]} and {line[1]} lie {1e3 * math.hypot(x, y):.0f} mm apart seen from above; name two that "
            f"are at least {1e3 * SHORTEST_LINE_M:.0f} mm apart, or give yaw_rad."
        )
    quarter = math.pi / 2
    angle = math.atan2(y, x)
    turned = angle - quarter * round(angle / quarter)
    return 0.0 if abs(turned) < STRAIGHT_RAD else turned


def _end_of_line(label: str, keypoints: Keypoints) -> FloatArray:
    known = find_label(label, keypoints)
    if known is None:
        return resolve_target(label, keypoints)  # refuses, or the middle of a pair
    point = keypoints.direction(known) if isinstance(keypoints, NotedKeypoints) else keypoints[known]
    return np.array(point.xyz, dtype=np.float64)


def resolve_target(target: Target, keypoints: Keypoints, *, fraction: float = 0.5) -> FloatArray:
    """Return the position that a target names. Shape (3,), [m].

    A label, two labels (the point that lies a fraction of the way from the first to the second), or `<name>` where
    `<name>_left` and `<name>_right` are known (half-way between).

    Raises:
        ToolRetry: If a label is not known.
    """
    if not isinstance(target, str):
        first, second = (resolve_target(label, keypoints) for label in target)
        between: FloatArray = first + fraction * (second - first)
        return between
    label = find_label(target, keypoints)
    if label is not None:
        return np.array(keypoints[label].xyz, dtype=np.float64)
    left, right = (find_label(f"{target}_{side}", keypoints) for side in ("left", "right"))
    if left is not None and right is not None:
        return resolve_target((left, right), keypoints)
    known = ", ".join(sorted(keypoints)) or "none was found"
    raise ToolRetry(f"There is no keypoint {target!r}; known ones: {known}.", reason="unknown_keypoint")


def halfway(keypoints: Keypoints) -> dict[str, Point]:
    """Return the points that a pair `<name>_left` and `<name>_right` gives by the label `<name>`."""
    points = {}
    for label, left in keypoints.items():
        name = label.removesuffix("_left")
        right = keypoints.get(f"{name}_right")
        if name != label and name not in keypoints and right is not None:
            spread_m = max(left.depth_spread_m, right.depth_spread_m)
            middle = replace(left, label=name, uv=(left.uv + right.uv) / 2, depth_spread_m=spread_m)
            points[name] = replace(middle, xyz=resolve_target(name, keypoints))
    return points
