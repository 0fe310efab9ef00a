"""Keypoints of a pair that a model gave each other's place: an error of another kind than some pixels."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rl.types import FloatArray, RGBDFrame
from tools.perception import project


def pairs_of(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Return the keypoints that differ in nothing but `left` and `right` in their labels."""
    known = set(labels)
    couples = ((label, re.sub(r"(?<![a-z])left(?![a-z])", "right", label)) for label in sorted(known))
    return [(left, right) for left, right in couples if left != right and right in known]


def swapped(
    frame: RGBDFrame,
    found: Mapping[str, tuple[float, float]],
    truth: Mapping[str, FloatArray],
    pairs: Sequence[tuple[str, str]],
) -> set[str]:
    """Return the keypoints of pairs whose places the model exchanged: each is nearer to where the other one is.

    Args:
        frame: What the model was shown.
        found: Where it pointed, (u, v), [px], by label.
        truth: Where the keypoints are that can be seen, (3,), [m], by label.
        pairs: Keypoints that belong together.
    """
    exchanged: set[str] = set()
    for pair in pairs:
        if not all(label in found and label in truth for label in pair):
            continue
        pixels = {label: project(frame, truth[label])[0] for label in pair}
        if all(_px(found[a], pixels[b]) < _px(found[a], pixels[a]) for a, b in (pair, pair[::-1])):
            exchanged |= set(pair)
    return exchanged


def _px(one: Sequence[float], other: Sequence[float] | FloatArray) -> float:
    return float(np.linalg.norm(np.subtract(one, other)))
