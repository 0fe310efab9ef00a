"""Plan templates: the tool calls that bring a task on from each of its stages, by what is seen and where things are.

They stand under `plan` in a task's prompt file. A model that reads decides by itself; the offline model follows them.

    plan:
      guide:
      - when: {hidden: [lid]}                       # the first stage whose conditions hold is planned
        calls: [make_room]
        reason: The lid is not seen; out of the way first.
      - calls:
        - translate: {target: hole, height_m: 0.006}
        - search: {target: hole, depth_m: 0.013}
        reason: Above the hole, down to contact, and in.

A stage whose calls name a keypoint that is not seen is passed over. Lists in lists are joined, so that YAML anchors can
name what several stages share.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

TOOL = "tool"
"""Label of the tip of the tool, or of what is held, among the keypoints of a condition."""
MAKE_ROOM, BACK_OUT = "make_room", "back_out"
"""Calls that become a small move when it is known where the tool is."""

Point = str
"""A keypoint's label; `<name>` where `<name>_left` and `<name>_right` are asked for; or `tool`."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Between(_Part):
    """A range, its ends left out; an end that is not given does not limit."""

    more_than: float = Field(default=float("-inf"), allow_inf_nan=True)
    less_than: float = Field(default=float("inf"), allow_inf_nan=True)

    def __contains__(self, value: float) -> bool:
        return self.more_than < value < self.less_than


class Distance(Between):
    """How far two points are from each other, [m]; level: as seen from above."""

    between: tuple[Point, Point]
    level: bool = False


class Height(Between):
    """How far one point is above another, [m]."""

    of: Point = TOOL
    over: Point


class Along(_Part):
    """Where the tool is beside a line from one point to another."""

    line: tuple[Point, Point]
    share: Between = Between()
    """How far along: 0 at the first point, 1 at the second."""
    beside_m: Between = Between()
    """Level distance to the line, [m]."""
    above_m: Between = Between()
    """Height above the line, [m]."""


class When(_Part):
    """Conditions of a stage; all of them must hold."""

    gripper: Literal["open", "closed"] | None = None
    seen: tuple[Point, ...] = ()
    hidden: tuple[Point, ...] = ()
    distances: tuple[Distance, ...] = ()
    heights: tuple[Height, ...] = ()
    along: Along | None = None


class TurnOf(_Part):
    """A turn about the vertical: of a line, from its direction in the nominal scene."""

    turn_of: tuple[Point, Point]
    from_deg: float
    """Direction of the line where the task is not turned, about the vertical from the base's x axis, [deg]."""
    most_rad: float = 0.3


class PlannedCall(_Part):
    """A call of a tool, or one of `make_room` and `back_out`."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)

    @field_validator("arguments")
    @classmethod
    def _read_turns(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            name: TurnOf.model_validate(value) if isinstance(value, dict) and "turn_of" in value else value
            for name, value in arguments.items()
        }

    @property
    def points(self) -> tuple[Point, ...]:
        """Labels that the call refers to."""
        named = (self.arguments.get(key) for key in ("target", "keypoints", "line"))
        turned = (value.turn_of for value in self.arguments.values() if isinstance(value, TurnOf))
        lists = ((value,) if isinstance(value, str) else value for value in (*named, *turned) if value)
        return tuple(label for labels in lists for label in labels)


def _joined(calls: Any) -> Any:
    """Return a list of calls as it stands in YAML with lists in it joined, and each call as a mapping of its fields."""
    return list(_flat(calls)) if isinstance(calls, list) else calls


def _flat(calls: list[Any]) -> Iterator[Any]:
    for call in calls:
        if isinstance(call, list):
            yield from _flat(call)
        elif isinstance(call, str):
            yield {"name": call}
        elif isinstance(call, dict) and len(call) == 1 and "name" not in call:
            ((name, arguments),) = call.items()
            yield {"name": name, "arguments": arguments or {}}
        else:
            yield call


class Stage(_Part):
    """What to do at one stage of a task."""

    calls: Annotated[tuple[PlannedCall, ...], BeforeValidator(_joined), Field(min_length=1)]
    reason: str
    when: When = When()


class Plans(_Part):
    """The stages of a task by mode, the first that fits counts."""

    prune: tuple[Stage, ...] = ()
    guide: tuple[Stage, ...] = ()
