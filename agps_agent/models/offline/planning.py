"""How the embedded model plans: it follows the template of the task, from the stage that the prompt's facts tell.

The facts are what any model is told: tools, measured positions, where the tool is and can go. The template is what it
has learnt of the task beforehand: `plan` in the task's prompt file (`prompts.plans`).
"""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompts.loader import TaskPrompt, load_task_prompt
from prompts.plans import BACK_OUT, MAKE_ROOM, TOOL, Along, PlannedCall, Stage, TurnOf, When
from rl.errors import ConfigError
from rl.tasks.registry import TASKS
from rl.types import FloatArray

log = logging.getLogger(__name__)

Call = dict[str, Any]
Plan = dict[str, Any]

_POSITION = r"x (-?[\d.]+), y (-?[\d.]+), z (-?[\d.]+) m"
_KEYPOINT = re.compile(rf"^- (\w+): {_POSITION}", re.MULTILINE)
_TOOL = re.compile(r"^- (\w+): ", re.MULTILINE)
_REACH = re.compile(
    r"^x (-?[\d.]+) to (-?[\d.]+), y (-?[\d.]+) to (-?[\d.]+), z (-?[\d.]+) to (-?[\d.]+) m$", re.MULTILINE
)
_SITUATION = re.compile(rf"Tool tip at {_POSITION}, gripper (open|closed)")

EDGE_M = 0.010
"""How near to the end of its reach a tool that may be tilted is sent."""
BOX = "exploration_bbox"


class NoPlan(Exception):
    """It knows no plan; the message says for what."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a plan question says."""

    text: str
    """All of it."""
    tools: tuple[str, ...]
    points: dict[str, FloatArray]
    """Keypoints by label, base frame, in the order given. Shape (3,), [m]."""
    tip: FloatArray | None
    """Tool tip. Shape (3,), [m]."""
    reach: FloatArray | None
    """Where the tool tip can go: smallest and largest x, y, z. Shape (2, 3), [m]."""
    is_open: bool

    def point(self, label: str) -> FloatArray | None:
        """Return where a keypoint or the tool is, None where it is not known. Shape (3,), [m]."""
        return self.tip if label == TOOL else self.points.get(label)


def read_facts(text: str) -> Facts:
    """Return what the last plan question in a chat says."""
    tools = tuple(match[1] for match in _TOOL.finditer(_after(text, "Tools:\n")))
    positions = {
        match[1]: np.array([float(value) for value in match.groups()[1:]])
        for match in _KEYPOINT.finditer(_after(text, "Their measured positions:"))
    }
    situation = _SITUATION.search(text.rpartition("Situation:")[2])
    tip = None if situation is None else np.array([float(value) for value in situation.groups()[:3]])
    bounds = next(reversed(list(_REACH.finditer(text))), None)
    reach = None if bounds is None else np.array([float(value) for value in bounds.groups()]).reshape(3, 2).T
    is_open = situation is not None and situation[4] == "open"
    return Facts(text=text, tools=tools, points=positions, tip=tip, reach=reach, is_open=is_open)


def plan(facts: Facts, more: Sequence[TaskPrompt] = ()) -> Plan:
    """Return tool calls, `PlanAnswer` as JSON: those of the first stage of the task's template that fits.

    Args:
        facts: What the question says.
        more: Words of tasks whose templates are known beside those of the registered ones.

    Raises:
        NoPlan: If no template is known for the task, or none of its stages fits.
    """
    task = _asked_about(facts, more)
    if task is None:
        raise NoPlan("I know no plan for this task; its prompt file may bring one under `plan`.")
    stages = task.plan.prune if BOX in facts.tools else task.plan.guide
    for stage in stages:
        if _can_be_called(stage, facts) and _holds(stage.when, facts):
            return {"calls": list(_calls(stage, facts)), "reason": stage.reason}
    seen = ", ".join(label for label in facts.points if label not in _halfway(facts)) or "nothing"
    raise NoPlan(f"I know no plan for this stage of {task.task}, where I see {seen}.")


def _registered() -> Iterator[TaskPrompt]:
    """Yield the words of every registered task; one that cannot be read is left out."""
    for name in TASKS.names:
        try:
            yield load_task_prompt(name)
        except ConfigError as error:
            log.debug("%s is not known to the embedded model: %s", name, error)


def described_in(text: str, more: Sequence[TaskPrompt] = ()) -> TaskPrompt | None:
    """Return the task whose description a question holds, a registered one or one of `more`; None for no such."""
    described = [task for task in (*more, *_registered()) if task.description in text]
    return max(described, key=lambda task: len(task.description), default=None)


def _asked_about(facts: Facts, more: Sequence[TaskPrompt]) -> TaskPrompt | None:
    """Return the task that a question describes, else one with its keypoints; None for an unknown one."""
    if (described := described_in(facts.text, more)) is not None:
        return described
    labels = {label for label in facts.points if label not in _halfway(facts)}
    fitting = (task for task in (*more, *_registered()) if labels and labels <= task.keypoints.keys())
    return next(fitting, None)


def _halfway(facts: Facts) -> set[str]:
    """Return the labels that stand for the middle of a left and a right one."""
    return {label for label in facts.points if f"{label}_left" in facts.points}


def _can_be_called(stage: Stage, facts: Facts) -> bool:
    """Return whether every tool of a stage is offered, and every keypoint that it names is known."""
    return all(
        (call.name in facts.tools or call.name in (MAKE_ROOM, BACK_OUT))
        and all(label in facts.points for label in call.points)
        for call in stage.calls
    )


def _holds(when: When, facts: Facts) -> bool:
    if when.gripper is not None and facts.is_open != (when.gripper == "open"):
        return False
    if any(facts.point(label) is None for label in when.seen) or any(
        facts.point(label) is not None for label in when.hidden
    ):
        return False
    for distance in when.distances:
        first, second = (facts.point(label) for label in distance.between)
        axes = slice(0, 2 if distance.level else 3)
        if first is None or second is None or float(np.linalg.norm((first - second)[axes])) not in distance:
            return False
    for height in when.heights:
        upper, lower = facts.point(height.of), facts.point(height.over)
        if upper is None or lower is None or float(upper[2] - lower[2]) not in height:
            return False
    return when.along is None or _is_along(when.along, facts)


def _is_along(wanted: Along, facts: Facts) -> bool:
    place = _place(facts, wanted.line)
    if place is None:
        return False
    share, beside_m, above_m = place
    return share in wanted.share and beside_m in wanted.beside_m and above_m in wanted.above_m


def _place(facts: Facts, line: tuple[str, str]) -> tuple[float, float, float] | None:
    """Return how far along a line the tool is, how far beside it, level, and how far above, [m]; None: not known."""
    first, second = (facts.point(label) for label in line)
    if facts.tip is None or first is None or second is None:
        return None
    way = second - first
    out = _level(way)
    share = float((facts.tip - first) @ out) / float(way @ out)
    offset = facts.tip - first - share * way
    return share, abs(float(offset @ np.cross([0, 0, 1.0], out))), float(offset[2])


def _level(way: FloatArray) -> FloatArray:
    """Return the level unit vector along a way (3,), [m]."""
    return np.array([way[0], way[1], 0.0]) / max(1e-6, math.hypot(way[0], way[1]))


def _calls(stage: Stage, facts: Facts) -> Iterator[Call]:
    for planned in stage.calls:
        if planned.name == MAKE_ROOM:
            yield _make_room(facts)
        elif planned.name == BACK_OUT:
            yield _back_out(planned, facts)
        else:
            yield _call(planned.name, **{name: _value(value, facts) for name, value in planned.arguments.items()})


def _value(value: Any, facts: Facts) -> Any:
    if not isinstance(value, TurnOf):
        return value
    first, second = (facts.points[label] for label in value.turn_of)
    direction = math.atan2(*(second - first)[1::-1]) - math.radians(value.from_deg)
    turn = math.atan2(math.sin(direction), math.cos(direction))
    return round(float(np.clip(turn, -value.most_rad, value.most_rad)), 3)


def _back_out(planned: PlannedCall, facts: Facts) -> Call:
    """Return a move away from a line's first point, along it, and up if the tool is below it."""
    line, fraction = planned.arguments["line"], float(planned.arguments["fraction"])
    place = _place(facts, tuple(line))
    assert place is not None  # the stage is passed over else: it names the line
    share, _, above = place
    way = facts.points[line[1]] - facts.points[line[0]]
    out = _level(way)
    rise = max(0.0, float(planned.arguments.get("least_above_m", 0.0)) - above)
    return _move(facts, (fraction - share) * float(way @ out) * out + [0.0, 0.0, rise])


def _make_room(facts: Facts) -> Call:
    """Return a call that brings the gripper out of the way of what it hides: up, then to the freer side."""
    if facts.tip is None or facts.reach is None:
        return _call("lift", height_m=0.05)
    if facts.tip[2] < facts.reach[1][2] - 0.03:
        return _move(facts, np.array([0.0, 0.0, 0.1]))
    side = 0.1 if facts.tip[1] < facts.reach[:, 1].mean() else -0.1
    return _move(facts, np.array([0.0, side, 0.0]))


def _move(facts: Facts, delta: FloatArray) -> Call:
    """Return a small move, (3,), [m], as far as the tool can go."""
    step = np.clip(delta, -0.1, 0.1)
    if facts.tip is not None and facts.reach is not None:
        step = np.clip(facts.tip + step, facts.reach[0] + EDGE_M, facts.reach[1] - EDGE_M) - facts.tip
    dx, dy, dz = (round(float(value), 4) for value in step)
    return _call("move_delta", dx_m=dx, dy_m=dy, dz_m=dz)


def _call(name: str, **arguments: Any) -> Call:
    return {"name": name, "arguments": arguments}


def _after(text: str, mark: str) -> str:
    """Return the lines of the list that follows a mark for the last time, up to the first empty line."""
    return text.rpartition(mark)[2].strip("\n").partition("\n\n")[0]
