"""A model that finds keypoints which a person has marked in a few images: for any task, offline, without training.

It is sent depth and the camera beside the image, and compares what lies around each mark, see `matching`. How sure it
is of a point is how much of that is alike.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Interval
from pydantic import PrivateAttr

from agps_agent.keypoints.store import MarkedKeypoints, default_folder, load_keypoints
from agps_agent.models.offline.chat import Declined, OfflineVLM, Question, hidden, requested
from agps_agent.models.offline.matching import Match, Template, View, find_places, make_template
from agps_agent.models.offline.planning import described_in
from agps_agent.models.profiles import load_profile
from prompts.loader import KeypointDistance, TaskPrompt
from rl.bounds import Share, check_bounds
from rl.errors import ConfigError

NAME = "reference"
LOOKED_AT = 3
"""Reference images in which it is measured what else looks like a keypoint."""
SAME_M = 0.015
"""What is this near to a mark is what was marked, [m]."""
BETWEEN = 0.22
"""Where the limit lies between what looks most like a keypoint elsewhere, 0, and the keypoint itself, 1: light and
colours change, and with them how much it is alike."""
APART = 0.08
"""The limit lies at least so much above what looks most like a keypoint elsewhere: in other light it may do so more."""
LIMITS = (0.5, 0.9)
"""Least and largest limit."""
SLACK_M = 0.006
"""Two places may be this much nearer or further apart than two keypoints: some lie behind the surface that is seen."""


@dataclass(frozen=True, kw_only=True)
class _Keypoint:
    """What is known of one keypoint."""

    templates: tuple[Template, ...]
    least_alike: float
    """A place that is less alike is not it."""


Keypoints = Mapping[str, _Keypoint]


@dataclass(frozen=True, kw_only=True)
class Alike:
    """How much is alike in the references of a keypoint, from 0 to 1."""

    itself: float
    """Where it was marked."""
    elsewhere: float | None
    """At the likest place besides. None: each place that was looked at was at a mark."""


@dataclass(frozen=True, kw_only=True)
class ReferenceConfig:
    """Settings of the reference model."""

    folder: str | None = None
    """Folder that `agps keypoints mark` wrote. None: keypoints/TASK."""
    turn_deg: Annotated[float, Interval(ge=0, le=180)] = 25.0
    """How far things may be turned about the vertical, against how they were marked, [deg]."""
    least_alike: Share | None = None
    """A place that is less alike than this, from 0 to 1, is not the keypoint. None: for each keypoint what tells it
    from everything else in its references."""

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        check_bounds(self)


class ReferenceVLM(OfflineVLM):
    """Points to where it looks as it did around the marks of a person.

    Raises:
        ConfigError: When it is made, if a task that it is made for has no marks, or they are damaged.
    """

    name_of_model: ClassVar[str] = NAME
    profile_family: ClassVar[str] = NAME
    config_class: ClassVar[type[ReferenceConfig]] = ReferenceConfig
    config: ReferenceConfig = ReferenceConfig()
    _known: dict[Path, Keypoints] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Read the marks of the tasks that it is made for."""
        super().model_post_init(context)
        for task in self.tasks:
            self._of(task)

    def perceive(self, question: Question) -> dict[str, Any]:
        """Return where the requested keypoints are, `PerceiveAnswer` as JSON.

        Raises:
            Declined: If one of them was never marked.
        """
        labels, task = requested(question), described_in(question.text, self.tasks)
        if task is None:
            raise Declined("I know no such task.")
        try:
            known = self._of(task)
        except ConfigError as error:
            raise Declined(str(error)) from error
        if question.frame is None or not np.any(question.frame.depth_m > 0):
            return {"keypoints": [hidden(label) for label in labels]}
        view = View.of(question.frame)
        places = {label: self._places(known[label], view) for label in labels if label in known}
        chosen = choose(places, task.distances)
        height, width = question.frame.rgb.shape[:2]
        write = partial(load_profile(NAME).from_pixel, width=width, height=height)
        return {"keypoints": [_said(label, chosen.get(label), write) for label in labels]}

    def _places(self, keypoint: _Keypoint, view: View) -> list[Match]:
        found = find_places(keypoint.templates, view, turn_rad=math.radians(self.config.turn_deg))
        return [place for place in found if place.score >= keypoint.least_alike]

    def _of(self, task: TaskPrompt) -> Keypoints:
        """Return what there is around the marks of a task; read once.

        Raises:
            ConfigError: If it has none, or one that is needed is missing.
        """
        folder = default_folder(task.task) if self.config.folder is None else Path(self.config.folder)
        if folder not in self._known:
            self._known[folder] = _learnt(_checked(load_keypoints(folder), task, folder), self.config)
        return self._known[folder]


def choose(places: Mapping[str, Sequence[Match]], distances: Sequence[KeypointDistance]) -> dict[str, Match]:
    """Return the place of each keypoint: the likeliest ones that are as far apart as they must be.

    Of two that cannot be together the less likely one is left out.

    Args:
        places: Per label the places that may be it, the likeliest first.
        distances: How far apart two keypoints can be.
    """
    labels = [label for label in places if places[label]]
    options: list[Sequence[Match | None]] = [[*places[label][:3], None] for label in labels]
    best: tuple[float, dict[str, Match]] = (-1.0, {})
    for chosen in itertools.product(*options):
        taken = {label: match for label, match in zip(labels, chosen, strict=True) if match is not None}
        total = sum(match.score for match in taken.values())
        if total > best[0] and all(_can_be(taken, distance) for distance in distances):
            best = total, taken
    return best[1]


def _can_be(taken: Mapping[str, Match], distance: KeypointDistance) -> bool:
    if not all(label in taken for label in distance.between):
        return True
    first, second = (taken[label].p_base for label in distance.between)
    return distance.min_m - SLACK_M <= float(np.linalg.norm(first - second)) <= distance.max_m + SLACK_M


def _said(label: str, match: Match | None, write: Any) -> dict[str, Any]:
    if match is None:
        return hidden(label)
    return {"label": label, "point_2d": list(write(match.uv)), "visible": True, "confidence": round(match.score, 3)}


def _checked(marked: MarkedKeypoints, task: TaskPrompt, folder: Path) -> MarkedKeypoints:
    """Return marks that are of a task, each keypoint that it needs among them."""
    if marked.task != task.task:
        raise ConfigError(f"The marks in {folder} are of {marked.task}, not of {task.task}; name another folder.")
    missing = marked.missing(list(task.keypoints))
    if len(missing) == len(task.keypoints) or not task.optional.issuperset(missing):
        needed = ", ".join(f"`{label}`" for label in missing)
        hint = f"mark it with `agps keypoints mark {task.task}`, or use --vlm URL"
        raise ConfigError(f"I know no keypoint {needed}; {hint}.")
    return marked


def _learnt(marked: MarkedKeypoints, config: ReferenceConfig) -> Keypoints:
    """Return what there is around each mark, and how much must be alike."""
    views = [View.of(image.frame) for image in marked.images]
    seen: dict[str, dict[int, Template]] = {}
    for number, image in enumerate(marked.images):
        for label, uv in image.marks.items():
            template = make_template(label, image.frame, uv)
            if template is not None:
                seen.setdefault(label, {})[number] = template
    if config.least_alike is not None:
        least = dict.fromkeys(seen, config.least_alike)
    else:
        least = limits({label: _alike(label, seen, views, config) for label in seen})
    return {label: _Keypoint(templates=tuple(own.values()), least_alike=least[label]) for label, own in seen.items()}


def _alike(
    label: str, seen: Mapping[str, Mapping[int, Template]], views: Sequence[View], config: ReferenceConfig
) -> Alike:
    """Return how much is alike at a keypoint and elsewhere, in its references.

    What looks like it on the thing itself, at another mark, does not count: there the likelier one is taken.

    Args:
        label: The keypoint.
        seen: What there is around each mark, by label and number of the image.
        views: The images.
        config: Settings.
    """
    own = seen[label]
    itself, elsewhere = [], []
    for number in list(own)[:LOOKED_AT]:
        others = [template for other, template in own.items() if other != number] or list(own.values())
        marks = [templates[number].p_base for templates in seen.values() if number in templates]
        for place in find_places(others, views[number], turn_rad=math.radians(config.turn_deg)):
            if np.linalg.norm(place.p_base - own[number].p_base) < SAME_M:
                itself.append(place.score)
            elif min(np.linalg.norm(place.p_base - mark) for mark in marks) > SAME_M:
                elsewhere.append(place.score)
    return Alike(itself=max(itself, default=1.0), elsewhere=max(elsewhere, default=None))


def limits(alike: Mapping[str, Alike]) -> dict[str, float]:
    """Return how much of a place must be alike for it to be a keypoint, by label.

    That nothing looked like a keypoint elsewhere says nothing about a scene from which it was taken away: shadow and
    light draw such things where it lay. As much must then be alike as for the keypoint with the likest place elsewhere.

    Args:
        alike: How much is alike at each keypoint and elsewhere.
    """
    likest = max((each.elsewhere for each in alike.values() if each.elsewhere is not None), default=0.0)
    least, largest = LIMITS
    found = {}
    for label, each in alike.items():
        other = likest if each.elsewhere is None else each.elsewhere
        found[label] = float(np.clip(other + max(APART, BETWEEN * (each.itself - other)), least, largest))
    return found
