"""What every registered tool of ours keeps, and that the check for it, which others use too, finds what is broken."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from rl.types import Box, Waypoint
from tools.builtin import EXPLORATION_BBOX, LIFT, MOVE_DELTA
from tools.contract import check_tool, plain_keypoints, plain_scene
from tools.errors import BrokenTool, ToolFailed, ToolRetry
from tools.plan import run_tool
from tools.scene import Scene
from tools.spec import TOOLS, Args, ToolSpec
from tools.targets import Keypoints, Target, resolve_target, target_field

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "exploration_bbox": [
        {"mode": "two_keypoint_union", "keypoints": ["left", "right"]},
        {"mode": "direct_bbox3d", "lower": [0.45, -0.05, 0.05], "upper": [0.55, 0.05, 0.1]},
    ],
    "grasp": [{}],
    "release": [{}],
    "move_delta": [{"dx_m": 0.01}],
    "lift": [{"height_m": 0.02}],
    "translate": [{"target": "left"}, {"target": ["left", "right"], "fraction": 1.5, "yaw_rad": 0.2}],
    "descend": [{"target": ["left", "right"]}, {"target": "left", "guarded": False}],
    "pre_grasp": [{"target": "left"}],
    "search": [{"target": "left", "radius_m": 0.003}],
    "measure": [{"end": "left"}, {"start": "left", "end": ["left", "right"]}],
}
"""Arguments with which each tool works in the plain scene."""
OURS = [entry.name for entry in TOOLS if entry.origin.startswith("agps ")]


def test_every_tool_of_ours_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_tool_keeps_the_contract(name: str) -> None:
    for arguments in EXAMPLES[name]:
        check_tool(TOOLS.load(name), arguments)


class NudgeArgs(Args):
    """Nudge towards a target."""

    target: Target = target_field("Where to.")
    way_m: float = Field(0.01, ge=0, le=0.05, description="How far, metres.")


class WordlessArgs(Args):
    """Nudge."""

    way_m: float = 0.01


class SilentArgs(Args):
    way_m: float = Field(0.01, description="How far, metres.")


class EndlessArgs(Args):
    """Tell the name of a target."""

    target: str = Field(description="A label.")


def nudged(args: Any, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    """A motion that keeps the contract: a way towards the target, inside of the workspace."""
    start = scene.workspace.project(scene.T_base_tcp[:3, 3])
    way = resolve_target(args.target, keypoints) - start
    T = scene.T_base_tcp.copy()
    T[:3, 3] = scene.workspace.project(start + way * args.way_m / max(np.linalg.norm(way), 1e-6))
    return (Waypoint(T_base_tcp=T, gripper_opening=scene.gripper_opening),)


def moved(args: Any, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    (waypoint,) = nudged(args, scene, keypoints)
    scene.T_base_tcp[:3, 3] += 0.001
    return (waypoint,)


def outside(args: Any, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    (waypoint,) = nudged(args, scene, keypoints)
    T = waypoint.T_base_tcp.copy()
    T[0, 3] = 0.61
    return (replace(waypoint, T_base_tcp=T),)


def tilted(args: Any, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    (waypoint,) = nudged(args, scene, keypoints)
    T = waypoint.T_base_tcp.copy()
    T[:3, :3] = np.diag([-1.0, 1.0, -1.0])  # half a turn about the vertical
    return (replace(waypoint, T_base_tcp=T),)


def wide_open(args: Any, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    (waypoint,) = nudged(args, scene, keypoints)
    return (replace(waypoint, gripper_opening=2.0),)


def careless(args: Any, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    assert keypoints[args.target]  # a KeyError where there is none
    return nudged(args, scene, keypoints)


def guessing(args: Any, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    label = args.target if args.target in keypoints else "left"
    return nudged(args.model_copy(update={"target": label}), scene, keypoints)


NUDGE = ToolSpec(name="nudge", args=NudgeArgs, function=nudged, gives="waypoints")
GOOD = {"target": "left"}


def test_tool_of_somebody_else_passes() -> None:
    check_tool(NUDGE, GOOD)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (moved, "changes its arguments, the scene or the keypoints"),
        (outside, r"the guard changes waypoint 0 at \[0.61, .*\(workspace\)"),
        (tilted, r"the guard changes waypoint 0.*\(tilt"),
        (wide_open, "waypoint 0 has gripper_opening 2; give 0 to 1"),
        (careless, "raises .*; raise ToolRetry for what the model can correct"),
        (guessing, "target = 'nowhere' is no keypoint"),
        (lambda *_: None, "says that it gives waypoints, but gave None"),
        (lambda *_: (), r"says that it gives waypoints, but gave \(\)"),
        (lambda *_: "done", "says that it gives waypoints, but gave 'done'"),
    ],
)
def test_motion_that_breaks_the_contract_is_found(function: Callable[..., Any], complaint: str) -> None:
    with pytest.raises(BrokenTool, match=complaint):
        check_tool(replace(NUDGE, function=function), GOOD)


def refuse(error: Exception) -> Callable[..., str]:
    def function(args: Any, scene: Scene, keypoints: Keypoints) -> str:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda *_: "x" * 700, "answers with .* characters; give 1 to 600"),
        (lambda *_: " ", "answers with .* characters"),
        (lambda *_: f"{float('nan')} mm", "answers 'nan', which is no number"),
        (lambda *_: str(np.random.default_rng().random()), "gives something else the second time"),
        (refuse(ToolRetry("Not today.")), "refuses arguments that shall work: Not today."),
        (refuse(ZeroDivisionError("oops")), "raises ZeroDivisionError: oops"),
    ],
)
def test_answer_that_breaks_the_contract_is_found(function: Callable[..., Any], complaint: str) -> None:
    with pytest.raises(BrokenTool, match=complaint):
        check_tool(ToolSpec(name="tell", args=EndlessArgs, function=function, gives="text"), GOOD)


@pytest.mark.parametrize(
    ("args", "complaint"),
    [(WordlessArgs, "way_m has no description"), (SilentArgs, "write the docstring of SilentArgs")],
)
def test_arguments_without_words_are_found(args: type[Args], complaint: str) -> None:
    with pytest.raises(BrokenTool, match=complaint):
        check_tool(replace(NUDGE, args=args), {})


def test_limit_that_is_not_kept_is_found() -> None:
    class Clipped(NudgeArgs):
        """Nudge towards a target."""

        @classmethod
        def model_validate(cls, given: Any, **how: Any) -> "Clipped":
            return super().model_validate({**given, "way_m": min(0.05, max(0.0, given.get("way_m", 0.01)))}, **how)

    with pytest.raises(BrokenTool, match="way_m = -1 is past its limit 0"):
        check_tool(replace(NUDGE, args=Clipped), GOOD)


def test_box_outside_of_the_workspace_is_found() -> None:
    def wide(args: Any, scene: Scene, keypoints: Keypoints) -> Box:
        return Box(lower=scene.workspace.lower - 0.01, upper=scene.workspace.upper)

    with pytest.raises(BrokenTool, match="gives a box outside of the workspace"):
        check_tool(replace(EXPLORATION_BBOX, function=wide), EXAMPLES["exploration_bbox"][0])


def test_what_cannot_be_had_is_an_answer_and_a_motion_may_not_always_fail() -> None:
    check_tool(ToolSpec(name="tell", args=EndlessArgs, function=refuse(ToolFailed("No depth.")), gives="text"), GOOD)
    with pytest.raises(BrokenTool, match="refuses arguments that shall work"):
        check_tool(replace(NUDGE, function=refuse(ToolFailed("No way."))), GOOD)


def test_turn_that_the_guard_would_stop_is_refused_with_value_and_limit() -> None:
    """Found by the contract: 0.3 rad on top of 0.3 rad are more than the 0.35 rad that the guard allows."""
    here = plain_scene()
    (turned,) = MOVE_DELTA.function(MOVE_DELTA.args(yaw_rad=0.3), here, {})
    there = replace(here, T_base_tcp=turned.T_base_tcp)
    with pytest.raises(ToolRetry, match=r"yaw_rad 0.3 would turn the tool 0.60 rad away.*0.30 rad.*limit is 0.35 rad"):
        run_tool("move_delta", {"yaw_rad": 0.3}, there, plain_keypoints(), tools={"move_delta": MOVE_DELTA})
    run_tool("move_delta", {"yaw_rad": 0.05}, there, plain_keypoints(), tools={"move_delta": MOVE_DELTA})
    assert LIFT.function(LIFT.args(height_m=0.01), there, {})
