"""How the embedded model plans: from the tools, positions and the situation that the prompt gives, to tool calls.

It has the sense of a brain that has seen hooks and towels: what belongs to which stage is in the prompt's advice, how
far along a task is follows from where things are.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl.types import FloatArray

Call = dict[str, Any]
Plan = dict[str, Any]

_POSITION = r"x (-?[\d.]+), y (-?[\d.]+), z (-?[\d.]+) m"
_KEYPOINT = re.compile(rf"^- (\w+): {_POSITION}", re.MULTILINE)
_TOOL = re.compile(r"^- (\w+): ", re.MULTILINE)
_REACH = re.compile(
    r"^x (-?[\d.]+) to (-?[\d.]+), y (-?[\d.]+) to (-?[\d.]+), z (-?[\d.]+) to (-?[\d.]+) m$", re.MULTILINE
)
_SITUATION = re.compile(rf"Tool tip at {_POSITION}, gripper (open|closed)")

_PAIRS = (
    ("hook_base", "hook_tip", (0.02, 0.02, 0.05, 0.01, 0.03, 0.04)),
    ("corner_grasp", "corner_goal", (0.03, 0.03, 0.03, 0.03, 0.02, 0.15)),
    ("corner_goal", "corner_left", (0.03, 0.14, 0.03, 0.14, 0.02, 0.15)),
    ("port_left", "port_right", (0.015, 0.015, 0.012, 0.012, 0.02, 0.04)),
)
"""Keypoints between which the task happens, and the margins of a box around them: x_neg to z_pos, [m]."""
_SIDES = ("x_neg", "x_pos", "y_neg", "y_pos", "z_neg", "z_pos")

IN_FRONT = 1.4
"""Where the loop is aligned before the hook, over the rod's length from its base."""
ON_ROD = 0.45
"""How far up the rod the loop is lowered."""
SEAT_M = 0.04
OPENING_M = (0.015, 0.045)
"""Half the width and half the height of a loop's opening, [m]."""
CARRY_M = 0.06
"""How high above the board a corner is carried: low, it drags the cloth along."""
EDGE_M = 0.010
"""How near to the end of its reach a tool that may be tilted is sent."""
LAID_M = 0.04
"""A corner this near to another one lies on it, [m]."""
HELD_M = 0.03
"""A corner this near to the fingertips is between them, [m]."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a plan question says."""

    tools: tuple[str, ...]
    points: dict[str, FloatArray]
    """Keypoints by label, base frame, in the order given. Shape (3,), [m]."""
    tip: FloatArray | None
    """Tool tip. Shape (3,), [m]."""
    reach: FloatArray | None
    """Where the tool tip can go: smallest and largest x, y, z. Shape (2, 3), [m]."""
    is_open: bool


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
    return Facts(tools=tools, points=positions, tip=tip, reach=reach, is_open=is_open)


def plan(facts: Facts) -> Plan:
    """Return tool calls, `PlanAnswer` as JSON: the shortest plan that the tools and what is known allow."""
    if "exploration_bbox" in facts.tools:
        return _box(facts)
    if {"hook_base", "hook_tip"} <= facts.points.keys():
        return _hang(facts)
    if any(label.startswith("corner_") for label in facts.points):
        return _fold(facts)
    return _insert(facts)


def _box(facts: Facts) -> Plan:
    pairs = [pair for pair in _PAIRS if {*pair[:2]} <= facts.points.keys()]
    first, second, margins = pairs[0] if pairs else (*[*facts.points, "", ""][:2], _PAIRS[-1][2])
    arguments = {
        "mode": "two_keypoint_union",
        "keypoints": [first, second],
        "margins": dict(zip(_SIDES, margins, strict=True)),
    }
    reason = f"A box around {first} and {second} keeps the tool where the task happens."
    return {"calls": [_call("exploration_bbox", **arguments)], "reason": reason}


def _insert(facts: Facts) -> Plan:
    """Above the target, down to contact, and in."""
    labels = list(facts.points)
    target = next((label for label in labels if not label.endswith(("_left", "_right"))), labels[0] if labels else "")
    calls = []
    if "translate" in facts.tools:
        calls.append(_call("translate", target=target, height_m=0.006))
    if "search" in facts.tools:
        calls.append(_call("search", target=target, depth_m=0.013))
    elif "descend" in facts.tools:
        calls.append(_call("descend", target=target))
    return {"calls": calls, "reason": f"Above {target}, down to contact, and in."}


def _hang(facts: Facts) -> Plan:
    """In front of the hook, along its rod, down; out again first where the loop is beside the rod or caught."""
    base, end = facts.points["hook_base"], facts.points["hook_tip"]
    rod = end - base
    out = np.array([rod[0], rod[1], 0.0]) / max(1e-6, math.hypot(rod[0], rod[1]))
    yaw = float(np.clip(math.atan2(out[0], -out[1]), -0.3, 0.3))
    way = {"target": ["hook_base", "hook_tip"], "height_m": 0.0, "yaw_rad": round(yaw, 3)}
    through = [
        _call("translate", fraction=ON_ROD, **way),
        _call("move_delta", dz_m=-SEAT_M),
    ]
    whole = [_call("translate", fraction=IN_FRONT, **way), *through]
    if facts.tip is None:
        return {"calls": whole, "reason": "In front of the hook, along its rod, and down."}
    along = float((facts.tip - base) @ out) / float(rod @ out)
    offset = facts.tip - base - along * rod
    beside, above = abs(float(offset @ np.cross([0, 0, 1.0], out))), float(offset[2])
    if along > 1.1:
        return {"calls": whole, "reason": "The loop is before the hook: align it, go along the rod, and down."}
    if beside < OPENING_M[0] and -0.75 * SEAT_M < above < OPENING_M[1]:
        return {"calls": through, "reason": "The rod is in the opening: on along it, and down."}
    back = (IN_FRONT - along) * float(rod @ out) * out + [0.0, 0.0, max(0.0, 0.01 - above)]
    return {"calls": [_move(facts, back), *whole], "reason": "The loop is beside the rod: out first, then on to it."}


def _fold(facts: Facts) -> Plan:
    """Grasp the corner, carry it over, let go: from the stage that has been reached."""
    corner, goal = facts.points.get("corner_grasp"), facts.points.get("corner_goal")
    pick = [
        _call("pre_grasp", target="corner_grasp", height_m=0.03),
        _call("descend", target="corner_grasp", height_m=0.01),
        _call("grasp"),
    ]
    carry = [
        _call("translate", target="corner_goal", height_m=CARRY_M),
        _call("descend", target="corner_goal", height_m=0.015, guarded=False),
        _call("release"),
        _call("lift", height_m=0.05),
    ]
    up = _call("lift", height_m=CARRY_M)
    if corner is not None and goal is not None and np.linalg.norm(corner[:2] - goal[:2]) < LAID_M:
        return {"calls": _look(facts) if facts.is_open else carry[-2:], "reason": "The corner lies there: let go."}
    held = not facts.is_open and (
        corner is None or (facts.tip is not None and bool(np.linalg.norm(corner - facts.tip) < HELD_M))
    )
    if held and goal is not None:
        low = facts.tip is None or facts.tip[2] < goal[2] + 0.8 * CARRY_M
        return {"calls": [up, *carry] if low else carry, "reason": "The corner is held: carry it over and let go."}
    if corner is None:
        return {"calls": _look(facts), "reason": "The corner is not seen: out of the way first."}
    calls = [*pick, up] if goal is None else [*pick, up, *carry]
    return {"calls": calls, "reason": "Grasp the corner, carry it over and let go."}


def _look(facts: Facts) -> list[Call]:
    """Return calls that bring the gripper out of the way, so that what it hides is seen: up, then to the freer side."""
    if facts.tip is None or facts.reach is None:
        return [_call("lift", height_m=0.05)]
    if facts.tip[2] < facts.reach[1][2] - 0.03:
        return [_move(facts, np.array([0.0, 0.0, 0.1]))]
    side = 0.1 if facts.tip[1] < facts.reach[:, 1].mean() else -0.1
    return [_move(facts, np.array([0.0, side, 0.0]))]


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
