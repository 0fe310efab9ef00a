import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.tools.scenes import DOWN, PORT, point, scene
from tests.tools.test_spec import PEEK
from tools.answers import ToolCall
from tools.builtin import LIFT, TRANSLATE
from tools.errors import BrokenTool, ToolFailed, ToolRetry
from tools.plan import ToolResult, run_plan, run_tool
from tools.scene import Scene
from tools.spec import TOOLS, load_tools
from tools.targets import halfway

ALL = load_tools(TOOLS.names)
PAIR = {"mode": "two_keypoint_union", "keypoints": ["port_left", "port_right"]}


def result_of(name: str, arguments: dict[str, Any], at: Scene | None = None, **how: Any) -> ToolResult:
    return run_tool(name, arguments, scene() if at is None else at, PORT, **{"tools": ALL, **how})


def plan_of(*calls: tuple[str, dict[str, Any]], at: Scene | None = None, **how: Any) -> ToolResult:
    named = [ToolCall(name=name, arguments=arguments) for name, arguments in calls]
    return run_plan(named, scene() if at is None else at, PORT, **{"tools": ALL, **how})


def test_refusal_names_value_limit_and_arguments():
    with pytest.raises(
        ToolRetry, match=r"search: radius_m = 0\.5: .*less than or equal to 0\.01.*It takes: target, radius"
    ):
        result_of("search", {"target": "port", "radius_m": 0.5})


def test_unknown_tool_lists_the_allowed_ones():
    with pytest.raises(ToolRetry, match="There is no tool 'fly'; choose one of descend, exploration_bbox") as unknown:
        result_of("fly", {})
    assert unknown.value.reason == "unknown_tool"


def test_tool_that_is_not_handed_over_is_not_allowed():
    with pytest.raises(ToolRetry, match="lift is not allowed here; choose one of search, measure") as other:
        result_of("lift", {"height_m": 0.01}, tools=load_tools(["search", "measure"]))
    assert other.value.reason == "tool_not_allowed"


def test_result_says_what_it_is():
    assert (
        result_of("lift", {"height_m": 0.02}).text == "lift: 1 waypoints, tool tip to x 0.4500, y 0.0500, z 0.1400 m."
    )
    assert result_of("exploration_bbox", PAIR).text.startswith("exploration_bbox: TCP confined to x 0.488 to 0.512")


def test_box_confines_the_tcp_so_that_the_tip_is_where_the_keypoints_are():
    margins = {"x_neg": 0.01, "x_pos": 0.01, "y_neg": 0.01, "y_pos": 0.01, "z_neg": 0.01, "z_pos": 0.05}
    result = result_of("exploration_bbox", PAIR | {"margins": margins})
    assert result.box is not None
    np.testing.assert_allclose(result.box.lower, [0.49, -0.02, 0.075], atol=1e-12)
    np.testing.assert_allclose(result.box.upper, [0.51, 0.02, 0.135], atol=1e-12)


def test_margins_that_a_call_leaves_out_are_the_tasks():
    """The pair spans y -0.01 to 0.01 at z 0.055; the TCP is 0.03 above the tip."""
    defaults = {"exploration_bbox": {"margins": {"y_neg": 0.05, "z_pos": 0.04}}}
    given = PAIR | {"margins": {"z_pos": 0.02, "x_pos": 0.03}}
    result = plan_of(("exploration_bbox", given), defaults=defaults)
    assert result.box is not None
    np.testing.assert_allclose(result.box.lower, [0.488, -0.06, 0.07], atol=1e-12)  # z ends with the workspace
    np.testing.assert_allclose(result.box.upper, [0.53, 0.022, 0.105], atol=1e-12)


def test_margins_that_are_no_mapping_are_refused_with_and_without_defaults():
    for defaults in ({}, {"exploration_bbox": {"margins": {"y_neg": 0.05}}}):
        with pytest.raises(ToolRetry, match="margins = 0.01"):
            result_of("exploration_bbox", PAIR | {"margins": 0.01}, defaults=defaults)


def test_direct_box_takes_corners_and_nothing_else():
    corners = {"mode": "direct_bbox3d", "lower": [0.45, -0.05, 0.05], "upper": [0.55, 0.05, 0.1]}
    assert result_of("exploration_bbox", corners).box is not None
    with pytest.raises(ToolRetry, match="direct_bbox3d takes lower and upper"):
        result_of("exploration_bbox", corners | {"keypoints": ["port_left", "port_right"]})


def test_name_of_a_tool_counts_in_any_case():
    calls = [("translate", {"target": "port", "height_m": 0.08}), ("descend", {"target": "port"})]
    plain, loud = (
        plan_of(*[(write(name), given) for name, given in calls], at=scene((0.45, 0.05, 0.2)))
        for write in (str.lower, str.title)
    )
    assert loud.text == plain.text and [w.blend_m for w in loud.waypoints] == [w.blend_m for w in plain.waypoints]


def test_each_call_of_a_plan_starts_where_the_one_before_ended():
    result = plan_of(("translate", {"target": "port", "height_m": 0.01}), ("lift", {"height_m": 0.02}))
    np.testing.assert_allclose(
        result.waypoints[-1].T_base_tcp[:3, 3], [0.5, 0.0, 0.055 + 0.01 + 0.02 + 0.03], atol=1e-12
    )
    assert result.text.count("\n") == 1


def test_move_before_another_is_passed_without_a_stop_but_not_before_the_gripper_moves():
    plan = plan_of(
        ("translate", {"target": "port", "height_m": 0.08}),
        ("descend", {"target": "port", "height_m": 0.02}),
        ("grasp", {}),
        ("lift", {"height_m": 0.05}),
        at=scene((0.45, 0.05, 0.2)),
    )
    blends = [waypoint.blend_m for waypoint in plan.waypoints]
    assert blends[0] == TRANSLATE.blend_m > 0
    assert blends[1:] == [0.0, 0.0, 0.0]


def test_tool_from_outside_says_itself_whether_it_is_passed_without_a_stop():
    calls = [("lift", {"height_m": 0.02}), ("translate", {"target": "port", "height_m": 0.05})]
    halting = {**ALL, "lift": replace(LIFT, blend_m=0.0)}
    assert plan_of(*calls).waypoints[0].blend_m == 0.030
    assert plan_of(*calls, tools=halting).waypoints[0].blend_m == 0.0


def test_gripper_stays_as_the_call_before_left_it():
    plan = plan_of(
        ("pre_grasp", {"target": "port"}),
        ("descend", {"target": "port", "height_m": 0.02}),
        ("grasp", {}),
        ("lift", {"height_m": 0.05}),
        ("translate", {"target": "port_left", "height_m": 0.05}),
        ("release", {}),
        ("lift", {"height_m": 0.01}),
    )
    commands = [waypoint.gripper_opening > 0.5 for waypoint in plan.waypoints]
    assert commands == [True, True, False, False, False, True, True]


def test_motion_goes_to_a_fraction_of_the_way_between_two_labels():
    there = result_of("translate", {"target": ["port_left", "port_right"], "fraction": 0.25})
    np.testing.assert_allclose(there.waypoints[-1].T_base_tcp[:2, 3], [0.5, -0.005], atol=1e-12)


def test_plan_holds_one_box():
    with pytest.raises(ToolRetry, match="Two boxes"):
        plan_of(("exploration_bbox", PAIR), ("exploration_bbox", PAIR))


def test_calls_that_ask_are_answered_alone_and_from_where_the_arm_is():
    """Nothing moves before the model knows the answers: the lift counts for neither of them."""
    asking = ("measure", {"start": "port", "end": "tool_tip"})
    plan = plan_of(asking, ("lift", {"height_m": 0.05}), asking)
    assert plan.is_answer and plan.box is None and plan.waypoints == ()
    first, second = plan.text.splitlines()
    assert first == second
    assert first.startswith("measure: from port to tool_tip: 96.0 mm, 70.7 mm across and 65.0 mm up")


def test_call_that_is_not_allowed_is_refused_before_any_is_answered():
    with pytest.raises(ToolRetry, match="There is no tool 'fly'"):
        plan_of(("measure", {"end": "port"}), ("fly", {}))


def test_what_a_tool_cannot_tell_is_its_answer_too():
    def blind(*_: Any) -> str:
        raise ToolFailed("No depth there.")

    result = result_of("peek", {}, tools={"peek": replace(PEEK, function=blind)})
    assert (result.text, result.is_answer) == ("peek: No depth there.", True)


def test_motion_that_cannot_be_had_is_no_answer():
    def stuck(*_: Any) -> tuple[()]:
        raise ToolFailed("The arm cannot reach it.")

    with pytest.raises(ToolFailed, match="cannot reach"):
        result_of("peek", {}, tools={"peek": replace(PEEK, function=stuck, gives="waypoints")})


def test_long_answer_is_cut_and_says_so():
    result = result_of("peek", {}, tools={"peek": replace(PEEK, function=lambda *_: "ab" * 400)})
    assert result.text == f"peek: {'ab' * 300} ... (cut after 600 of 800 characters)"


@pytest.mark.parametrize("given", [None, 7, ["up"], (), [], "word", b"word", scene().workspace])
def test_tool_that_gives_something_else_than_it_says_is_broken(given: object):
    gives = "text" if not isinstance(given, str) else "waypoints"
    with pytest.raises(BrokenTool, match=f"The tool peek says that it gives {gives}, but gave .*; mend the tool"):
        result_of("peek", {}, tools={"peek": replace(PEEK, function=lambda *_: given, gives=gives)})


KNOWN = {**PORT, **halfway(PORT)}
SEARCH = ("search", {"target": "port"})


@pytest.mark.parametrize(
    ("calls", "targets", "felt"),
    [
        ([("translate", {"target": "port"}), SEARCH], ("port",), "port"),
        ([("translate", {"target": "port_left"}), SEARCH], ("port_left", "port"), "port"),
        ([SEARCH, ("lift", {"height_m": 0.01})], ("port",), ""),  # it ends in free space
        ([("search", {"target": ["port_right", "port_left"]})], ("port_right", "port_left"), ""),  # between two
        ([("descend", {"target": "port", "guarded": False})], ("port",), ""),
        ([("exploration_bbox", PAIR)], ("port_left", "port_right"), ""),
        ([("lift", {"height_m": 0.01})], (), ""),
    ],
)
def test_plan_says_which_keypoints_it_goes_by_and_which_it_feels(calls, targets, felt):
    named = [ToolCall(name=name, arguments=arguments) for name, arguments in calls]
    result = run_plan(named, scene(), KNOWN, tools=ALL)
    assert (result.targets, result.felt) == (targets, felt)


@pytest.mark.parametrize("tool", ["translate", "descend", "search", "pre_grasp"])
def test_tool_turns_along_the_line_through_two_keypoints(tool: str) -> None:
    """From (0.499, -0.01) to (0.501, 0.01): 5.7 degrees from y, clockwise seen from above."""
    turned = {
        "port_left": point("port_left", 0.499, -0.01, 0.055),
        "port_right": point("port_right", 0.501, 0.01, 0.055),
    }
    arguments = {"target": "port", "along": ["port_left", "port_right"]}
    result = run_tool(tool, arguments, scene(), {**turned, **halfway(turned)}, tools=load_tools([tool]))
    rotation = result.waypoints[-1].T_base_tcp[:3, :3] @ DOWN.T
    assert math.degrees(math.atan2(rotation[1, 0], rotation[0, 0])) == pytest.approx(-math.degrees(math.atan(0.1)))
    assert set(result.targets) == {"port", "port_left", "port_right"}  # what a recalled plan needs again
    assert result.felt == ("port" if tool in ("descend", "search") else "")


def test_line_that_has_turned_further_than_the_tool_may_is_refused() -> None:
    turned = {"port_left": point("port_left", 0.49, -0.01, 0.055), "port_right": point("port_right", 0.51, 0.01, 0.055)}
    arguments = {"target": "port", "along": ["port_left", "port_right"]}
    with pytest.raises(ToolRetry, match="yaw_rad .* is out of range"):
        run_tool("search", arguments, scene(), turned, tools=load_tools(["search"]))
