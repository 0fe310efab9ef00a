import json

import pytest

from agps_agent.models.parsing import ReplyError, parse_answer, parse_json
from tools.answers import DecideModeAnswer, PerceiveAnswer, PlanAnswer

DECISION = '{"mode": "guide", "failure_mode": "wanders", "reason": "It is far from the port."}'
POINT = '{"label": "port_left", "point_2d": [1, 2], "visible": true}'


@pytest.mark.parametrize(
    "text",
    [
        DECISION,
        f"```json\n{DECISION}\n```",
        f"Sure, here it is:\n{DECISION}\nI hope that helps {{you}}.",
        f"<think>Maybe {{prune}}?</think>{DECISION}",
        f'Maybe {{"mode": "prune", "failure_mode": "", "reason": ""}}</think>{DECISION}',
        f"As in [1], the arm is at [0.5, 0.1]: {DECISION}",
        f"The set {{x}} does not matter. {DECISION}",
    ],
)
def test_answer_is_found_in_its_wrapping(text: str) -> None:
    assert parse_answer(text, DecideModeAnswer).mode == "guide"


def test_bare_list_is_the_answers_only_list() -> None:
    assert parse_answer(f"[{POINT}]", PerceiveAnswer).keypoints[0].point_2d == (1, 2)


@pytest.mark.parametrize("text", ["", "I cannot see a port.", "{broken", "[1, 2"])
def test_reply_without_json_is_refused(text: str) -> None:
    with pytest.raises(ReplyError) as error:
        parse_json(text)
    assert error.value.reason == "not_json"


def test_nan_is_refused() -> None:
    with pytest.raises(ReplyError, match="NaN"):
        parse_json('{"keypoints": [{"point_2d": [NaN, 1]}]}')


def test_wrong_keys_are_named() -> None:
    with pytest.raises(ReplyError, match="mode") as error:
        parse_answer('{"modus": "guide"}', DecideModeAnswer)
    assert error.value.reason == "wrong_schema"


@pytest.mark.parametrize("flood", ["[" * 100_000, "{" * 100_000, "<think>" * 14_000, "```\n" * 25_000, "{}" * 50_000])
def test_flood_of_brackets_is_refused(flood: str) -> None:
    with pytest.raises(ReplyError):
        parse_answer(flood, DecideModeAnswer)


ENDLESS = [
    f"<think>First draft: {DECISION} but wait, the port might be",
    f"<think>So.</think>Hm. <think>First draft: {DECISION}",
    f"<thinking>{DECISION}",
    f"[THINK]{DECISION}",
    f"◁think▷ {DECISION}",
    f"<seed:think>{DECISION}",
    f"{DECISION} <think> No, that is wrong",
    "<think>",
]


@pytest.mark.parametrize("text", ENDLESS)
def test_draft_inside_a_thought_without_an_end_is_not_the_answer(text: str) -> None:
    with pytest.raises(ReplyError, match="cut off") as error:
        parse_answer(text, DecideModeAnswer)
    assert error.value.reason == "reply_cut"
    with pytest.raises(ReplyError, match="cut off"):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        DECISION.replace("It is far from the port.", "I <think> it is far."),
        f"[THINK]Maybe prune?[/THINK]{DECISION}",
        f"<Thinking>prune</Thinking>\n<think>guide</think>{DECISION}",
        f"{{}} {DECISION.replace('wanders', '<think>')}",
    ],
)
def test_thought_that_ends_or_is_a_word_of_the_answer_is_none(text: str) -> None:
    assert parse_answer(text, DecideModeAnswer).mode == "guide"


BROKEN = {
    "trailing comma": '{"mode": "guide", "failure_mode": "", "reason": "",}',
    "single quotes": "{'mode': 'guide', 'failure_mode': '', 'reason': 'it\\'s {far}'}",
    "python": '{"mode": "guide", "failure_mode": None, "reason": ""}',
    "bare keys": '{mode: "guide", failure_mode: "", reason: ""}',
    "missing comma": '{"mode": "guide" "failure_mode": "", "reason": ""}',
    "comment": '{// the mode\n"mode": "guide", "failure_mode": "", "reason": ""}',
    "not closed": '{"mode": "guide", "failure_mode": "", "reason": "It is',
    "fenced": '```json\n{"mode": "guide",}\n```',
    "after a stray list": 'As in [1, 2]: {"mode": "guide",}',
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_json_is_told_as_broken_json_and_where(what: str) -> None:
    with pytest.raises(ReplyError, match=r"JSON is broken at line \d+ column \d+ .*double quotes") as error:
        parse_answer(BROKEN[what], DecideModeAnswer)
    assert error.value.reason == "not_json"


@pytest.mark.parametrize(
    "text",
    [
        '{"calls": [{"name": "lift", "arguments": {"height_m": 0.02}},], "reason": "Up."}',
        "{'calls': [{'name': 'lift', 'arguments': {'height_m': 0.02}}], 'reason': 'Up.'}",
        '{"calls": [{"name": "lift", "arguments": {"height_m": 0.02}}], "reason": "Up."',
    ],
)
def test_complaint_is_not_about_a_fragment_of_what_is_broken(text: str) -> None:
    with pytest.raises(ReplyError, match="JSON is broken"):
        parse_answer(text, PlanAnswer)


def test_one_good_keypoint_of_a_broken_list_is_not_the_answer() -> None:
    with pytest.raises(ReplyError, match="JSON is broken"):
        parse_answer(f'[{POINT}, {{"label": "port_right", "point_2d": [3, 4,], "visible": true}}]', PerceiveAnswer)


def test_answer_is_found_beside_what_is_broken() -> None:
    assert parse_answer(f'Not {{"mode": "prune",}} but {DECISION}', DecideModeAnswer).mode == "guide"


FLOODS = [
    '{"' * 50_000,
    "{'" * 50_000,
    '[{"a":' * 30_000,
    '{"a": 1,} ' * 10_000,
    '\\"' * 50_000,
    "{} " * 30_000 + "<think>",
]


@pytest.mark.parametrize("flood", FLOODS)
def test_flood_of_broken_json_is_refused(flood: str) -> None:
    with pytest.raises(ReplyError):
        parse_answer(flood, DecideModeAnswer)


def test_keys_that_nobody_asked_for_are_dropped() -> None:
    call = '{"name": "lift", "arguments": {"height_m": 0.02}, "id": 7}'
    plan = parse_answer(f'{{"calls": [{call}], "reason": "Up.", "confidence": 0.9}}', PlanAnswer)
    assert plan.calls[0].arguments == {"height_m": 0.02}
    with pytest.raises(ReplyError, match="calls.0.height_m: Extra"):  # it belongs into the arguments
        parse_answer('{"calls": [{"name": "lift", "height_m": 0.02}], "reason": "Up.", "note": 1}', PlanAnswer)
    with pytest.raises(ReplyError, match="calls: Field required") as error:
        parse_answer('{"call": [], "reason": "Up.", "confidence": 0.9}', PlanAnswer)
    assert "confidence" not in str(error.value)


def test_complaint_is_about_the_largest_value() -> None:
    with pytest.raises(ReplyError, match="keypoints.1.visible"):
        parse_answer(f'See [3]. {{"keypoints": [{POINT}, {{"label": "port_right"}}]}}', PerceiveAnswer)


A, B = [10.0, 20.0], [30.0, 40.0]
TWO_POINTS = [
    '[{"point_2d": [10, 20], "label": "a"}, {"point_2d": [30, 40], "label": "b"}]',
    '```json\n[{"point": [10, 20], "label": "a"}, {"point": [30, 40], "label": "b", "mask": "none"}]\n```',
    '{"points": [{"name": "a", "point": [10, 20]}, {"name": "b", "coordinates": [30, 40]}]}',
    '[{"bbox_2d": [8, 18, 12, 22], "label": "a"}, {"box_2d": [29, 39, 31, 41], "label": "b"}]',
    'Here: <point x="10.0" y="20.0" alt="a">a</point> <point x="30" y="40" alt="b">b</point>',
    '<points x1="10" y1="20" alt="a">a</points><points x1="30" y1="40" alt="b">b</points>',
    "<ref>a</ref><box>[[8, 18, 12, 22]]</box>\n<ref>b</ref><box>[[29, 39, 31, 41]]</box>",
]


@pytest.mark.parametrize("text", TWO_POINTS)
def test_points_are_read_in_each_familys_form(text: str) -> None:
    keypoints = parse_answer(text, PerceiveAnswer).keypoints
    assert [(k.label, list(k.point_2d or ()), k.visible) for k in keypoints] == [("a", A, True), ("b", B, True)]


def test_tag_without_coordinates_is_not_visible() -> None:
    (keypoint,) = parse_answer('<point alt="a">not visible</point>', PerceiveAnswer).keypoints
    assert (keypoint.visible, keypoint.point_2d) == (False, None)


@pytest.mark.parametrize(
    "text",
    [
        '{"points": [[1, 2]]}',
        '[{"label": "a"}]',
        '[{"label": "a", "point_2d": [1, 2, 3]}]',
        '[{"label": "a", "bbox_2d": [1, 2, 3]}]',
        '<point x="left" y="top" alt="a">a</point>',
        '<point x="nan" y="1" alt="a">a</point>',
        '<points coords="1 1 523 412" alt="a">a</points>',
        '{"keypoints": []}',
    ],
)
def test_points_in_no_form_are_refused(text: str) -> None:
    with pytest.raises(ReplyError) as error:
        parse_answer(text, PerceiveAnswer)
    assert error.value.reason == "wrong_schema"


def test_tags_are_read_in_single_quotes_too() -> None:
    (keypoint,) = parse_answer("<point x='61.5' y='40.2' alt='a'>a</point>", PerceiveAnswer).keypoints
    assert (keypoint.label, keypoint.point_2d, keypoint.visible) == ("a", (61.5, 40.2), True)


def pointed(x: int) -> str:
    return json.dumps({"keypoints": [{"label": "a", "point_2d": [x, 1], "visible": True}]})


@pytest.mark.parametrize(
    "text",
    [
        f"First guess: {pointed(1)} That is the screw. Final answer: {pointed(2)}",
        f"```json\n{pointed(1)}\n```\nCorrected:\n```json\n{pointed(2)}\n```",
        f"{pointed(1)}, or rather\n```json\n{pointed(2)}\n```\nnot {pointed(3)}",
        f'{pointed(2)} My confidence is {{"high": 1}}.',
    ],
)
def test_answer_that_corrects_a_draft_is_taken(text: str) -> None:
    assert parse_answer(text, PerceiveAnswer).keypoints[0].point_2d == (2, 1)


def test_half_a_character_is_a_question_mark() -> None:
    half = DECISION.replace("It is far", r"It is far \ud83d")
    reason = parse_answer(half, DecideModeAnswer).reason
    assert reason.startswith("It is far ?") and reason.encode()


def test_number_without_end_is_no_json() -> None:
    with pytest.raises(ReplyError) as error:
        parse_answer('{"mode": ' + 5000 * "9" + "}", DecideModeAnswer)
    assert error.value.reason == "not_json"
