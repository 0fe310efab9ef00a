import pytest

from agps_agent.models.parsing import ReplyError, parse_answer, parse_json
from tools.answers import DecideModeAnswer, PerceiveAnswer

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
        '{"keypoints": []}',
    ],
)
def test_points_in_no_form_are_refused(text: str) -> None:
    with pytest.raises(ReplyError) as error:
        parse_answer(text, PerceiveAnswer)
    assert error.value.reason == "wrong_schema"
