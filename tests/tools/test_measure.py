import pytest

from tests.tools.scenes import PORT, point, scene
from tools.errors import ToolRetry
from tools.measure import MEASURE
from tools.targets import Keypoints

HOOK = {"hook_base": point("hook_base", 0.5, 0.05, 0.22), "hook_tip": point("hook_tip", 0.53, 0.01, 0.27)}
"""From base to tip: 30, -40, 50 mm, so 50 mm across and 70.7 mm in all, at -53.13 degrees."""


def measured(keypoints: Keypoints = HOOK, **arguments: object) -> str:
    return str(MEASURE.function(MEASURE.args.model_validate(arguments), scene(), keypoints))


def test_way_from_one_keypoint_to_another_is_told_in_mm_and_degrees():
    assert measured(start="hook_base", end="hook_tip") == (
        "from hook_base to hook_tip: 70.7 mm, 50.0 mm across and 50.0 mm up; "
        "heading -53.1 degrees (-0.927 rad), where 0 is +x and 90 is +y."
    )


def test_way_back_goes_down_and_the_other_way():
    assert "50.0 mm down; heading 126.9 degrees" in measured(start="hook_tip", end="hook_base")


def test_way_starts_at_the_tip_of_the_tool_unless_told_otherwise():
    """The TCP is at (0.45, 0.05, 0.15), the tip 30 mm below it: 50 mm along x, 60 along -y, 65 down."""
    assert measured(PORT, end="port_left").startswith(
        "from tool_tip to port_left: 101.6 mm, 78.1 mm across and 65.0 mm down"
    )
    assert measured(PORT, start="port_left", end="tool_tip").startswith("from port_left to tool_tip: 101.6 mm")


def test_point_half_way_between_two_can_be_measured_to():
    text = measured(start="hook_base", end=["hook_base", "hook_tip"])
    assert text.startswith("from hook_base to between hook_base and hook_tip: 35.4 mm")


def test_what_is_straight_above_has_no_heading():
    above = {"low": point("low", 0.5, 0.0, 0.1), "high": point("high", 0.5, 0.0005, 0.15)}
    assert measured(above, start="low", end="high") == (
        "from low to high: 50.0 mm, 0.5 mm across and 50.0 mm up; no heading, one is above the other."
    )


def test_heading_of_the_axes_is_what_the_answer_says():
    ahead = {"a": point("a", 0.5, 0.0, 0.1), "x": point("x", 0.6, 0.0, 0.1), "y": point("y", 0.5, 0.1, 0.1)}
    assert "heading 0.0 degrees (0.000 rad)" in measured(ahead, start="a", end="x")
    assert "heading 90.0 degrees (1.571 rad)" in measured(ahead, start="a", end="y")


def test_keypoint_that_is_called_tool_tip_counts_as_itself():
    named = {"tool_tip": point("tool_tip", 0.5, 0.05, 0.22), **HOOK}
    assert measured(named, start="hook_base", end="tool_tip").startswith("from hook_base to tool_tip: 0.0 mm")


def test_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(ToolRetry, match="no keypoint 'port'; known ones: hook_base, hook_tip, tool_tip"):
        measured(end="port")
