from dataclasses import replace
from typing import Any

import pytest

from agps_agent.models.offline.planning import NoPlan, plan, read_facts
from prompts.loader import TaskPrompt, load_prompt, load_task_prompt
from prompts.plans import Plans
from tests.tools.scenes import point
from tools.answers import PlanAnswer
from tools.describe import describe_keypoints, describe_tools
from tools.spec import load_tools

PORT = {"port_left": (0.5, -0.01, 0.05), "port_right": (0.5, 0.01, 0.05)}
HOOK = {"hook_tip": (0.5, -0.01, 0.26), "hook_base": (0.5, 0.05, 0.22)}
FLAT = {"corner_grasp": (0.38, 0.12, 0.024), "corner_goal": (0.62, -0.12, 0.024)}


def planned(
    task: str,
    places: dict[str, tuple[float, float, float]],
    *,
    tip: tuple[float, float, float] = (0.5, 0.0, 0.15),
    gripper: str = "closed",
    mode: str = "guide",
) -> list[dict[str, Any]]:
    """The calls that the embedded model plans for a prompt as it is really written."""
    return planned_by(load_task_prompt(task), places, tip=tip, gripper=gripper, mode=mode)


def planned_by(
    words: TaskPrompt,
    places: dict[str, tuple[float, float, float]],
    *,
    tip: tuple[float, float, float] = (0.5, 0.0, 0.15),
    gripper: str = "closed",
    mode: str = "guide",
) -> list[dict[str, Any]]:
    """The calls that the embedded model plans, which was told of the task before."""
    x, y, z = tip
    _, text = load_prompt("action_guidance" if mode == "guide" else "exploration_pruning").render(
        task_description=words.description,
        heuristics=words.heuristics[mode],
        available_tools=describe_tools(load_tools(words.tools[mode])),
        allowed_primitive=", ".join(words.tools["guide"]),
        global_xyz_bounds="x 0.300 to 0.700, y -0.200 to 0.200, z 0.030 to 0.350 m",
        situation=f"A person asks for help. Tool tip at x {x:.4f}, y {y:.4f}, z {z:.4f} m, gripper {gripper}.",
        keypoints=describe_keypoints({label: point(label, *xyz) for label, xyz in places.items()}, words.keypoints),
    )
    answer = PlanAnswer.model_validate(plan(read_facts(text), [words]))
    return [{"name": call.name, **call.arguments} for call in answer.calls]


def names(calls: list[dict[str, Any]]) -> list[str]:
    return [call["name"] for call in calls]


def test_facts_are_read_from_the_prompt() -> None:
    calls = planned("usb_insertion", PORT)
    assert calls == [
        {"name": "translate", "target": "port", "height_m": 0.006, "along": ["port_left", "port_right"]},
        {"name": "search", "target": "port", "depth_m": 0.013, "along": ["port_left", "port_right"]},
    ]


@pytest.mark.parametrize(
    ("task", "places", "pair"),
    [
        ("knot_hanging", HOOK, ["hook_base", "hook_tip"]),
        ("towel_folding", FLAT, ["corner_grasp", "corner_goal"]),
        ("usb_insertion", PORT, ["port_left", "port_right"]),
    ],
)
def test_box_is_around_the_two_keypoints_of_the_task(task: str, places: Any, pair: list[str]) -> None:
    (call,) = planned(task, places, mode="prune")
    assert (call["name"], call["keypoints"]) == ("exploration_bbox", pair)


def test_loop_before_the_hook_goes_in_front_through_and_down() -> None:
    calls = planned("knot_hanging", HOOK, tip=(0.53, -0.12, 0.29))
    assert names(calls) == ["translate", "translate", "move_delta"]
    assert calls[0]["fraction"] > 1 > calls[1]["fraction"] > 0 > calls[2]["dz_m"]


def test_loop_that_the_rod_is_in_already_is_only_moved_on_and_down() -> None:
    assert names(planned("knot_hanging", HOOK, tip=(0.502, 0.015, 0.25))) == ["translate", "move_delta"]


def test_loop_beside_the_hook_is_not_dragged_across_it() -> None:
    calls = planned("knot_hanging", HOOK, tip=(0.54, 0.03, 0.25))
    assert names(calls) == ["move_delta", "translate", "translate", "move_delta"]
    assert calls[0]["dy_m"] < -0.05


def test_turned_hook_turns_the_loop() -> None:
    turned = HOOK | {"hook_tip": (0.51, -0.009, 0.26)}
    assert planned("knot_hanging", turned, tip=(0.53, -0.12, 0.29))[0]["yaw_rad"] == pytest.approx(0.168, abs=0.01)


def test_open_gripper_grasps_carries_and_lets_go() -> None:
    calls = planned("towel_folding", FLAT, gripper="open")
    expected = ["pre_grasp", "descend", "grasp", "lift", "translate", "descend", "release", "lift"]
    assert names(calls) == expected


def test_held_corner_is_carried_on() -> None:
    held = {"corner_goal": FLAT["corner_goal"]}
    assert names(planned("towel_folding", held, tip=(0.4, 0.1, 0.05))) == [
        "lift", "translate", "descend", "release", "lift",
    ]  # fmt: skip
    assert names(planned("towel_folding", held, tip=(0.4, 0.1, 0.09)))[0] == "translate"  # high enough


def test_fingers_closed_on_nothing_begin_anew() -> None:
    assert names(planned("towel_folding", FLAT, tip=(0.5, 0.0, 0.08)))[:3] == ["pre_grasp", "descend", "grasp"]


def test_corner_that_lies_on_the_other_is_let_go() -> None:
    laid = FLAT | {"corner_grasp": (0.61, -0.1, 0.03)}
    assert names(planned("towel_folding", laid, tip=(0.61, -0.1, 0.04))) == ["release", "lift"]
    assert names(planned("towel_folding", laid, tip=(0.61, -0.1, 0.04), gripper="open")) == ["move_delta"]


def test_hidden_corner_makes_the_gripper_go_out_of_the_way_as_far_as_it_can() -> None:
    hidden = {"corner_goal": FLAT["corner_goal"]}
    (up,) = planned("towel_folding", hidden, gripper="open")
    assert up["dz_m"] == 0.1
    (aside,) = planned("towel_folding", hidden, tip=(0.5, 0.1, 0.34), gripper="open")
    assert aside["dz_m"] <= 0 and aside["dy_m"] == -0.1


def told(stages: list[dict[str, Any]], **changes: Any) -> TaskPrompt:
    """A task of somebody else: its own words, on the keypoints of USB insertion."""
    words = load_task_prompt("usb_insertion")
    return replace(words, description="Press the button.", plan=Plans.model_validate({"guide": stages}), **changes)


HIGH = {"when": {"heights": [{"over": "port_left", "more_than": 0.05}]}, "calls": [{"lift": {"height_m": 0.01}}]}
ELSE = {"calls": [[{"translate": {"target": "port"}}], {"descend": {"target": "port"}}], "reason": "Down."}


def test_template_of_a_task_that_nobody_registered_is_followed() -> None:
    words = told([{**HIGH, "reason": "Up."}, ELSE])
    assert names(planned_by(words, PORT, tip=(0.5, 0.0, 0.15))) == ["lift"]
    assert names(planned_by(words, PORT, tip=(0.5, 0.0, 0.06))) == ["translate", "descend"]


def test_stage_that_names_a_keypoint_that_is_not_seen_is_passed_over() -> None:
    right = {"calls": [{"descend": {"target": "port_right"}}], "reason": "."}
    words = told([right, {"calls": ["grasp"], "reason": "."}], tools={"guide": ("descend", "grasp")})
    assert names(planned_by(words, {"port_left": PORT["port_left"]})) == ["grasp"]


def test_stage_whose_tools_are_not_offered_is_passed_over() -> None:
    words = told([ELSE, {"calls": ["grasp"], "reason": "."}], tools={"guide": ("grasp",)})
    assert names(planned_by(words, PORT)) == ["grasp"]


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({"gripper": "closed"}, True),
        ({"gripper": "open"}, False),
        ({"seen": ["port"]}, True),
        ({"hidden": ["port_left"]}, False),
        ({"distances": [{"between": ["port_left", "port_right"], "less_than": 0.021}]}, True),
        ({"distances": [{"between": ["port_left", "tool"], "level": True, "less_than": 0.0101}]}, True),
        ({"distances": [{"between": ["port_left", "tool"], "less_than": 0.0101}]}, False),
        ({"heights": [{"over": "port", "more_than": 0.099, "less_than": 0.101}]}, True),
        ({"heights": [{"of": "port_left", "over": "tool", "less_than": 0.0}]}, True),
        ({"along": {"line": ["port_left", "port_right"], "share": {"more_than": 0.49, "less_than": 0.51}}}, True),
        ({"along": {"line": ["port_left", "port_right"], "above_m": {"less_than": 0.09}}}, False),
    ],
)
def test_condition_holds_where_the_facts_say_so(when: dict[str, Any], holds: bool) -> None:
    """The tool is 0.1 m above the middle of the port, whose ends are 0.02 m apart along y; the gripper is closed."""
    words = told([{"when": when, "calls": ["grasp"], "reason": "."}, ELSE], tools={"guide": ("grasp", *TOOLS)})
    assert (names(planned_by(words, PORT, tip=(0.5, 0.0, 0.15))) == ["grasp"]) is holds


TOOLS = ("translate", "descend")


def test_task_without_a_template_is_declined_in_words() -> None:
    with pytest.raises(NoPlan, match="no plan for this stage of usb_insertion, where I see port_left, port_right"):
        planned_by(told([]), PORT)
    question = "Task: Press it.\n\nTools:\n- grasp: it\n\nTheir measured positions:\n- lever: x 0.1, y 0.2, z 0.3 m"
    with pytest.raises(NoPlan, match="I know no plan for this task"):
        plan(read_facts(question), [told([])])
