"""The forms in which families write points, and the faults that a server makes on purpose."""

import json
from collections import Counter
from typing import Any

import pytest

from agps_agent.models.faults import FAULTS, FLOOD_BYTES, FaultPlan, spoil
from agps_agent.models.parsing import ReplyError, parse_answer
from agps_agent.models.pointing import as_keypoints, tags_as_keypoints
from tools.answers import DecideModeAnswer, PerceiveAnswer, PlanAnswer

PORT = {"label": "port", "point_2d": [10, 20], "visible": True}


@pytest.mark.parametrize(
    "value",
    [
        {"keypoints": [PORT]},
        [PORT],
        PORT,
        [{"label": "port", "point_2d": [10, 20]}],
        [{"name": "port", "point": [10, 20]}],
        [{"object": "port", "coordinates": [10, 20]}],
        {"points": [{"ref": "port", "keypoint": [10, 20]}]},
        {"objects": [{"alt": "port", "bbox_2d": [0, 10, 20, 30]}]},
        {"detections": [{"label": "port", "box_2d": [5, 15, 15, 25], "score": 0.9, "mask": "..."}]},
    ],
)
def test_point_is_read_in_every_form(value: Any) -> None:
    assert as_keypoints(value) == {"keypoints": [PORT]}


@pytest.mark.parametrize(
    "entry",
    [{"label": "port", "point_2d": None, "visible": False}, {"label": "port", "visible": False}],
)
def test_point_that_is_not_visible_is_read(entry: dict[str, Any]) -> None:
    (found,) = as_keypoints([entry])["keypoints"]
    assert found["visible"] is False and found.get("point_2d") is None


def test_what_a_model_says_of_visibility_and_certainty_is_kept() -> None:
    (found,) = as_keypoints([{**PORT, "visible": False, "confidence": 0.3}])["keypoints"]
    assert (found["visible"], found["confidence"]) == (False, 0.3)


@pytest.mark.parametrize("value", [3, "port", None, [1, 2], [PORT, 3], []])
def test_value_of_no_known_form_is_left_for_the_schema_to_refuse(value: Any) -> None:
    read = as_keypoints(value)
    assert read == ({"keypoints": []} if value == [] else value)
    with pytest.raises(ReplyError):
        parse_answer(json.dumps(value), PerceiveAnswer)


@pytest.mark.parametrize("box", [[1, 2, 3], "1 2 3 4", [1, 2, "x", 4]])
def test_box_that_is_none_is_refused_and_not_guessed(box: Any) -> None:
    with pytest.raises(ReplyError) as refused:
        parse_answer(json.dumps([{"label": "port", "bbox": box}]), PerceiveAnswer)
    assert refused.value.reason == "wrong_schema"


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ('<point x="61.5" y="40.2" alt="port">port</point>', {"port": [61.5, 40.2]}),
        (
            '<point x="1" y="2">port</point> and <point x="3" y="4" alt="plug">it</point>',
            {"port": [1, 2], "plug": [3, 4]},
        ),
        ('<points x1="1" y1="2" x2="3" y2="4" alt="port">two</points>', {"port": [1, 2]}),
        ('<point alt="port">not visible</point>', {"port": None}),
        ("<ref>port</ref><box>[[10, 20, 30, 40]]</box>", {"port": [20, 30]}),
        ("<ref> port </ref> <box>[10, 20, 30, 40]</box>", {"port": [20, 30]}),
        ("<ref>port</ref><box>[[1, 2</box>", None),
        ("The port is at <b>10</b>.", None),
    ],
)
def test_points_in_tags_are_read(text: str, points: dict[str, Any] | None) -> None:
    found = tags_as_keypoints(text)
    assert (None if found is None else {entry["label"]: entry["point_2d"] for entry in found["keypoints"]}) == points


def test_number_that_is_none_in_a_tag_is_refused() -> None:
    with pytest.raises(ReplyError, match="point_2d"):
        parse_answer('<point x="left" y="2" alt="port">port</point>', PerceiveAnswer)


PERCEIVED = json.dumps({"keypoints": [PORT, {"label": "plug", "point_2d": None, "visible": False}]})


@pytest.mark.parametrize(
    ("fault", "answer", "reply", "reason"),
    [
        ("prose", DecideModeAnswer, "{}", "not_json"),
        ("wrong_keys", DecideModeAnswer, "{}", "wrong_schema"),
        ("wrong_keys", PerceiveAnswer, PERCEIVED, "wrong_schema"),
        ("nan", PerceiveAnswer, PERCEIVED, "not_json"),
    ],
)
def test_spoiled_reply_is_refused_for_what_was_done_to_it(fault: Any, answer: Any, reply: str, reason: str) -> None:
    with pytest.raises(ReplyError) as refused:
        parse_answer(spoil(fault, reply, answer.__name__), answer)
    assert refused.value.reason == reason


def test_point_outside_of_the_image_leaves_the_rest() -> None:
    found = parse_answer(spoil("outside_image", PERCEIVED, "PerceiveAnswer"), PerceiveAnswer).keypoints
    assert found[0].point_2d == (123456, 20) and found[1].point_2d is None


def test_unknown_tool_is_a_plan_and_only_where_a_plan_was_asked_for() -> None:
    plan = parse_answer(spoil("unknown_tool", "{}", "PlanAnswer"), PlanAnswer)
    assert plan.calls[0].name == "jump"
    assert spoil("unknown_tool", "{}", "PerceiveAnswer") == "{}"


@pytest.mark.parametrize("fault", ["slow", "rate_limited", "server_error", "cut"])
def test_fault_of_the_way_leaves_the_words(fault: Any) -> None:
    assert spoil(fault, PERCEIVED, "PerceiveAnswer") == PERCEIVED


def test_flood_is_as_long_as_it_says() -> None:
    assert 0 <= FLOOD_BYTES - len(spoil("flood", "", "")) < 21


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.3, 500, 700), (1.0, 2000, 2000)])
def test_share_of_the_requests_fails(share: float, least: int, most: int) -> None:
    plan = FaultPlan(("cut", "prose"), share=share, seed=3)
    drawn = Counter(plan.draw() for _ in range(2000))
    assert least <= 2000 - drawn[None] <= most
    assert share == 0.0 or drawn["cut"] == pytest.approx(drawn["prose"], rel=0.25)


def test_same_requests_fail_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[str | None]:
        plan = FaultPlan(FAULTS, share=0.5, seed=seed)
        return [plan.draw() for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)
