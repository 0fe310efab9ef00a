"""Targets: how the model names a place, by the labels of keypoints, and where that place is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from rl.types import FloatArray
from tools.errors import ToolRetry
from tools.labels import find_label
from tools.perception import Point

Keypoints = Mapping[str, Point]
"""Found keypoints by label."""
Target = str | tuple[str, str]
"""A label, or two for a point on the line through both."""

_REQUIRED: Any = ...


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
