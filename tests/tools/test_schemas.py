import pickle

import numpy as np
import pytest

from tests.tools.scenes import PORT, WORKSPACE, scene
from tools.answers import ToolCall
from tools.describe import describe_bounds, describe_keypoints, describe_robot, describe_tools
from tools.errors import ToolRetry
from tools.schemas import TOOLS, allowed_tools, resolve_target, run_plan, run_tool

GOOD = {
    "exploration_bbox": {"mode": "two_keypoint_union", "keypoints": ["port_left", "port_right"]},
    "grasp": {},
    "release": {},
    "move_delta": {"dx_m": 0.01},
    "lift": {"height_m": 0.02},
    "translate": {"target": "port"},
    "descend": {"target": ["port_left", "port_right"]},
    "pre_grasp": {"target": "port_left"},
    "search": {"target": "port", "radius_m": 0.003},
}
JUNK = [None, "x", -1, 1e9, float("nan"), float("inf"), [], {}, [1, 2, 3], ["port", "nowhere"], True, "port"]


def test_every_tool_has_an_example_here():
    assert set(GOOD) == set(TOOLS)


@pytest.mark.parametrize("name", TOOLS)
def test_tool_stays_in_the_workspace_and_does_not_touch_its_arguments(name: str):
    here = scene()
    before = pickle.dumps((here, PORT, GOOD[name]))
    result = run_tool(name, GOOD[name], here, PORT)
    assert pickle.dumps((here, PORT, GOOD[name])) == before
    for waypoint in result.waypoints:
        assert WORKSPACE.contains(waypoint.T_base_tcp[:3, 3])
    if result.box is not None:
        assert WORKSPACE.contains(result.box.lower) and WORKSPACE.contains(result.box.upper)
    assert (result.box is None) != (not result.waypoints)
    assert result.text.startswith(name)


@pytest.mark.parametrize("name", TOOLS)
def test_bad_arguments_raise_nothing_but_a_retry(name: str, rng: np.random.Generator):
    fields = [*TOOLS[name].args.model_fields, "surprise"]
    for _ in range(150):
        chosen = rng.choice(fields, size=rng.integers(1, len(fields) + 1), replace=False)
        arguments = GOOD[name] | {str(field): JUNK[rng.integers(len(JUNK))] for field in chosen}
        try:
            result = run_tool(name, arguments, scene(), PORT)
        except ToolRetry as retry:
            assert len(str(retry)) < 600
        else:
            assert all(WORKSPACE.contains(w.T_base_tcp[:3, 3]) for w in result.waypoints)


def test_refusal_names_value_limit_and_arguments():
    with pytest.raises(
        ToolRetry, match=r"search: radius_m = 0\.5: .*less than or equal to 0\.01.*It takes: target, radius"
    ):
        run_tool("search", {"target": "port", "radius_m": 0.5}, scene(), PORT)


def test_unknown_tool_lists_the_known_ones_and_another_modes_tool_is_not_allowed():
    with pytest.raises(ToolRetry, match="choose one of exploration_bbox, grasp") as unknown:
        run_tool("fly", {}, scene(), PORT)
    assert unknown.value.reason == "unknown_tool"
    with pytest.raises(ToolRetry, match="choose one of exploration_bbox") as other:
        run_tool("lift", {"height_m": 0.01}, scene(), PORT, mode="prune")
    assert other.value.reason == "tool_not_allowed"
    with pytest.raises(ToolRetry, match="choose one of search"):
        run_tool("release", {}, scene(), PORT, mode="guide", allowed=["search"])


def test_target_is_a_label_two_labels_or_the_middle_of_left_and_right():
    for target in ("port", ("port_left", "port_right")):
        np.testing.assert_allclose(resolve_target(target, PORT), [0.5, 0.0, 0.055], atol=1e-12)
    np.testing.assert_allclose(resolve_target("port_left", PORT), [0.5, -0.01, 0.055], atol=1e-12)
    with pytest.raises(ToolRetry, match="known ones: port_left, port_right") as retry:
        resolve_target("socket", PORT)
    assert retry.value.reason == "unknown_keypoint"


def test_box_confines_the_tcp_so_that_the_tip_is_where_the_keypoints_are():
    margins = {"x_neg": 0.01, "x_pos": 0.01, "y_neg": 0.01, "y_pos": 0.01, "z_neg": 0.01, "z_pos": 0.05}
    result = run_tool("exploration_bbox", GOOD["exploration_bbox"] | {"margins": margins}, scene(), PORT)
    assert result.box is not None
    np.testing.assert_allclose(result.box.lower, [0.49, -0.02, 0.075], atol=1e-12)
    np.testing.assert_allclose(result.box.upper, [0.51, 0.02, 0.135], atol=1e-12)


def test_margins_that_a_call_leaves_out_are_the_tasks():
    """The pair spans y -0.01 to 0.01 at z 0.055; the TCP is 0.03 above the tip."""
    defaults = {"exploration_bbox": {"margins": {"y_neg": 0.05, "z_pos": 0.04}}}
    given = GOOD["exploration_bbox"] | {"margins": {"z_pos": 0.02, "x_pos": 0.03}}
    call = ToolCall(name="exploration_bbox", arguments=given)
    result = run_plan([call], scene(), PORT, mode="prune", defaults=defaults)
    assert result.box is not None
    np.testing.assert_allclose(result.box.lower, [0.488, -0.06, 0.07], atol=1e-12)  # z ends with the workspace
    np.testing.assert_allclose(result.box.upper, [0.53, 0.022, 0.105], atol=1e-12)
    assert '{"x_neg": 0.012, "x_pos": 0.012, "y_neg": 0.05,' in describe_tools(["exploration_bbox"], defaults)
    assert '"y_neg": 0.012,' in describe_tools(["exploration_bbox"])


def test_margins_that_are_no_mapping_are_refused_with_and_without_defaults():
    for defaults in ({}, {"exploration_bbox": {"margins": {"y_neg": 0.05}}}):
        with pytest.raises(ToolRetry, match="margins = 0.01"):
            arguments = GOOD["exploration_bbox"] | {"margins": 0.01}
            run_tool("exploration_bbox", arguments, scene(), PORT, defaults=defaults)


def test_direct_box_takes_corners_and_nothing_else():
    corners = {"mode": "direct_bbox3d", "lower": [0.45, -0.05, 0.05], "upper": [0.55, 0.05, 0.1]}
    assert run_tool("exploration_bbox", corners, scene(), PORT).box is not None
    with pytest.raises(ToolRetry, match="direct_bbox3d takes lower and upper"):
        run_tool("exploration_bbox", corners | {"keypoints": ["port_left", "port_right"]}, scene(), PORT)


def test_labels_and_tools_count_in_any_case():
    np.testing.assert_allclose(resolve_target(("Port Left", "PORT-RIGHT"), PORT), [0.5, 0.0, 0.055], atol=1e-12)
    np.testing.assert_allclose(resolve_target("Port", PORT), [0.5, 0.0, 0.055], atol=1e-12)
    calls = [("translate", {"target": "port", "height_m": 0.08}), ("descend", {"target": "port"})]
    plain, loud = (
        run_plan([ToolCall(name=write(n), arguments=a) for n, a in calls], scene((0.45, 0.05, 0.2)), PORT)
        for write in (str.lower, str.title)
    )
    assert loud.text == plain.text and [w.blend_m for w in loud.waypoints] == [w.blend_m for w in plain.waypoints]


def test_each_call_of_a_plan_starts_where_the_one_before_ended():
    calls = [
        ToolCall(name="translate", arguments={"target": "port", "height_m": 0.01}),
        ToolCall(name="lift", arguments={"height_m": 0.02}),
    ]
    result = run_plan(calls, scene(), PORT, mode="guide")
    np.testing.assert_allclose(
        result.waypoints[-1].T_base_tcp[:3, 3], [0.5, 0.0, 0.055 + 0.01 + 0.02 + 0.03], atol=1e-12
    )
    assert result.text.count("\n") == 1


def test_move_before_another_is_passed_without_a_stop_but_not_before_the_gripper_moves():
    names = [("translate", {"target": "port", "height_m": 0.08}), ("descend", {"target": "port", "height_m": 0.02})]
    names += [("grasp", {}), ("lift", {"height_m": 0.05})]
    plan = run_plan([ToolCall(name=n, arguments=a) for n, a in names], scene((0.45, 0.05, 0.2)), PORT)
    blends = [waypoint.blend_m for waypoint in plan.waypoints]
    assert blends[0] > 0
    assert blends[1:] == [0.0, 0.0, 0.0]


def test_gripper_stays_as_the_call_before_left_it():
    names = [("pre_grasp", {"target": "port"}), ("descend", {"target": "port", "height_m": 0.02}), ("grasp", {})]
    names += [("lift", {"height_m": 0.05}), ("translate", {"target": "port_left", "height_m": 0.05}), ("release", {})]
    names += [("lift", {"height_m": 0.01})]
    plan = run_plan([ToolCall(name=n, arguments=a) for n, a in names], scene(), PORT)
    commands = [waypoint.gripper_opening > 0.5 for waypoint in plan.waypoints]
    assert commands == [True, True, False, False, False, True, True]


def test_fraction_goes_beyond_the_second_of_two_labels():
    target = resolve_target(("port_left", "port_right"), PORT, fraction=1.5)
    np.testing.assert_allclose(target, [0.5, 0.02, 0.055], atol=1e-12)
    there = run_tool("translate", {"target": ["port_left", "port_right"], "fraction": 0.25}, scene(), PORT)
    np.testing.assert_allclose(there.waypoints[-1].T_base_tcp[:2, 3], [0.5, -0.005], atol=1e-12)


def test_plan_holds_one_box():
    box = ToolCall(name="exploration_bbox", arguments=GOOD["exploration_bbox"])
    with pytest.raises(ToolRetry, match="Two boxes"):
        run_plan([box, box], scene(), PORT)


def test_tools_are_offered_by_mode_and_task():
    assert allowed_tools(mode="prune") == ("exploration_bbox",)
    assert allowed_tools(mode="guide", allowed=["search", "translate", "exploration_bbox"]) == ("translate", "search")


def test_prompt_text_names_tools_bounds_and_derived_keypoints():
    text = describe_tools(["lift"])
    assert text == ("- lift: Move straight up.\n    height_m: How far up, metres. (required, more than 0, at most 0.2)")
    assert "- port: x 0.5000, y 0.0000, z 0.0550 m, half-way between port_left and port_right" in describe_keypoints(
        PORT
    )
    assert describe_bounds(scene()) == "x 0.400 to 0.600, y -0.100 to 0.100, z 0.040 to 0.220 m"
    assert describe_robot(scene()) == "Tool tip at x 0.4500, y 0.0500, z 0.1200 m, gripper closed."
