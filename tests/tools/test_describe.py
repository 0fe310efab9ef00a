import pytest
from pydantic import BaseModel, Field

from rl.types import InterventionEnd
from tests.tools.scenes import PORT, scene
from tools.describe import describe_bounds, describe_end, describe_keypoints, describe_robot, describe_tools
from tools.spec import Args, ToolSpec, load_tools


def test_tool_is_told_with_default_and_bounds():
    assert describe_tools(load_tools(["lift"])) == (
        "- lift: Move straight up.\n    height_m: How far up, metres. (required, more than 0, at most 0.2)"
    )


def test_tools_that_answer_are_told_apart():
    told = describe_tools(load_tools(["lift", "measure"]))
    assert told.splitlines()[-1].startswith("These only answer, and move nothing: measure.")
    assert "only answer" not in describe_tools(load_tools(["lift"]))


def test_task_puts_its_own_margins_in_place_of_the_tools():
    tools, defaults = load_tools(["exploration_bbox"]), {"exploration_bbox": {"margins": {"y_neg": 0.05}}}
    assert '{"x_neg": 0.012, "x_pos": 0.012, "y_neg": 0.05,' in describe_tools(tools, defaults)
    assert '"y_neg": 0.012,' in describe_tools(tools)


class Rim(BaseModel):
    width_m: float = 0.002


class WipeArgs(Args):
    """Wipe along
    a rim."""

    rim: Rim = Field(default_factory=Rim, description="The rim.")
    ends: tuple[str, str] = Field(("left", "right"), description="From and to.")
    turns: int = Field(default_factory=lambda: 2, ge=1, lt=9, description="How often.")


def test_any_model_of_arguments_can_be_told():
    wipe = ToolSpec(name="wipe", args=WipeArgs, function=lambda *_: "", gives="text")
    assert describe_tools({"wipe": wipe}).splitlines()[:4] == [
        "- wipe: Wipe along a rim.",
        '    rim: The rim. Keys and defaults: {"width_m": 0.002}',
        '    ends: From and to. (default ["left", "right"])',
        "    turns: How often. (default 2, at least 1, less than 9)",
    ]


def test_middle_of_a_pair_bounds_of_the_tip_and_the_robot_are_told():
    told = describe_keypoints(PORT)
    assert "- port: x 0.5000, y 0.0000, z 0.0550 m, half-way between port_left and port_right" in told
    assert describe_bounds(scene()) == "x 0.400 to 0.600, y -0.100 to 0.100, z 0.040 to 0.220 m"
    assert describe_robot(scene()) == "Tool tip at x 0.4500, y 0.0500, z 0.1200 m, gripper closed."


def guide(how: str, *, steps: int = 14, distance_m: float = 0.0082) -> InterventionEnd:
    return InterventionEnd(
        id="0001", kind="guide", how=how, steps=steps, waypoint=1, waypoints=5, distance_m=distance_m
    )


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (guide("blocked"), "blocked after 14 steps, 8 mm short of waypoint 2 of 5"),
        (guide("reached", steps=1, distance_m=0.0004), "reached after 1 step, 0 mm from waypoint 2 of 5"),
        (guide("contact"), "contact after 14 steps, 8 mm short of waypoint 2 of 5"),
        (guide("budget"), "out of its step budget after 14 steps, 8 mm short of waypoint 2 of 5"),
        (InterventionEnd(id="1", kind="prune", how="episode_over", steps=12), "episode over after 12 steps"),
        (InterventionEnd(id="human-1", kind="takeover", how="released", steps=3), "released after 3 steps"),
    ],
)
def test_end_of_an_intervention_is_told_in_words(end: InterventionEnd, words: str) -> None:
    assert describe_end(end) == words
