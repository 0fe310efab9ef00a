"""The forms in which model families write points and boxes, read as the entries of our `PerceiveAnswer`.

Coordinates are not touched: unit and order are the profile's business.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_LABELS = ("label", "name", "ref", "alt", "object")
_POINTS = ("point_2d", "point", "keypoint", "coordinates")
_BOXES = ("bbox_2d", "box_2d", "bbox", "box")
_LISTS = ("keypoints", "points", "objects", "detections")

_POINT_TAG = re.compile(r"<points?\b([^<>]*)>([^<]*)</points?>")
_ATTRIBUTE = re.compile(r"""([a-z]+\d*)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_REF_BOX = re.compile(r"<ref>([^<]*)</ref>\s*<box>\s*(\[[^<]*\])\s*</box>")


def as_keypoints(value: Any) -> Any:
    """Return a reply's JSON value with the keys of a `PerceiveAnswer`; unchanged where it is of no known form.

    Read are a list of entries, or an object with one, or a single entry; points under the families' keys; boxes, as
    their centre; an entry with a point and without `visible` is visible. Other fields of an entry are dropped.
    """
    if isinstance(value, Mapping):
        entries = next((value[key] for key in _LISTS if isinstance(value.get(key), list)), None)
        value = [value] if entries is None else entries
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        return value
    return {"keypoints": [_entry(entry) for entry in value]}


def tags_as_keypoints(text: str) -> Any | None:
    """Return what a reply in tags says with the keys of a `PerceiveAnswer`; None if it holds no such tag.

    Molmo writes `<point x="61.5" y="40.2" alt="label">label</point>`, InternVL
    `<ref>label</ref><box>[[x1, y1, x2, y2]]</box>`.
    """
    entries = [*_point_tags(text), *_boxes(text)]
    return {"keypoints": entries} if entries else None


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    label, point = _first(entry, _LABELS), _first(entry, _POINTS)
    if point is None and (box := _first(entry, _BOXES)) is not None:
        point = _centre(box)
    found: dict[str, Any] = {} if label is None else {"label": label}
    if point is not None or "point_2d" in entry or "point" in entry:
        found["point_2d"] = point
    if "visible" in entry:
        found["visible"] = entry["visible"]
    elif point is not None:
        found["visible"] = True
    if "confidence" in entry:
        found["confidence"] = entry["confidence"]
    return found


def _first(entry: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)


def _centre(box: Any) -> Any:
    """Return the middle of [a1, b1, a2, b2], or the value itself if it is no box: validation says so."""
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)):
        return box
    return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]


def _point_tags(text: str) -> Iterator[dict[str, Any]]:
    for match in _POINT_TAG.finditer(text):
        attributes = {name: double or single for name, double, single in _ATTRIBUTE.findall(match[1])}
        label = (attributes.get("alt") or match[2]).strip()
        x, y = (attributes.get(axis) or attributes.get(f"{axis}1") for axis in "xy")
        if (x is None or y is None) and set(attributes) - {"alt"}:  # of a form that is not read: no absence
            yield {"label": label, "point_2d": match[1].strip(), "visible": True}
            continue
        if x is None or y is None:
            yield {"label": label, "point_2d": None, "visible": False}
            continue
        try:
            yield {"label": label, "point_2d": [float(x), float(y)], "visible": True}
        except ValueError:
            yield {"label": label, "point_2d": [x, y], "visible": True}


def _boxes(text: str) -> Iterator[dict[str, Any]]:
    for match in _REF_BOX.finditer(text):
        try:
            boxes = json.loads(match[2])
        except ValueError:
            continue
        box = boxes[0] if boxes and isinstance(boxes[0], list) else boxes
        yield {"label": match[1].strip(), "point_2d": _centre(box), "visible": True}
