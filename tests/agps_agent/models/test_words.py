"""What servers say in errors, and what a reply answers, in the forms in which servers say it."""

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from agps_agent.models.parsing import ReplyError
from agps_agent.models.replies import SHOWN, answered, said
from agps_agent.models.words import LONGEST, words


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", ""),
        ("model not found.", "model not found"),
        ("  two\n  lines  ", "two lines"),
        ('{"error": {"message": "Invalid key.", "type": "auth", "code": null}}', "Invalid key"),
        ('{"detail": [{"msg": "field required", "loc": ["body"]}, {"msg": "too long"}]}', "field required; too long"),
        ('{"message": "", "reason": "quota"}', "quota"),
        ('{"object": "list", "data": null}', '{"object": "list"}'),
        ("42", "42"),
        ("{broken", "{broken"),
        (
            "<html><head><title>502</title></head><body><h1>Bad gateway</h1> a &amp; b</body></html>",
            "Bad gateway a & b",
        ),
        ("<!DOCTYPE html><title>Not found</title>", "Not found"),
        ("<html><style>p {}</style><script>alert(1)</script><p>Down</p></html>", "Down"),
        ("x < y", "x < y"),
    ],
)
def test_error_is_told_in_the_servers_own_words(body: str, told: str) -> None:
    assert words(body) == told


def test_error_that_is_a_page_long_is_cut() -> None:
    assert len(words("word " * 1000)) <= LONGEST


def test_error_that_is_a_value_already_is_read_too() -> None:
    assert words({"error": '{"message": "inside a string"}'}) == "inside a string"
    assert words([{"msg": "a"}, "b"]) == "a; b"


def reply(content: str = "", ended: str = "stop", **more: Any) -> AIMessage:
    return AIMessage(content=content, response_metadata={"finish_reason": ended}, additional_kwargs=more)


def test_text_is_the_answer() -> None:
    assert answered(reply('{"mode": "guide"}')) == '{"mode": "guide"}'


def test_arguments_of_a_called_tool_are_the_answer() -> None:
    call = {"name": "DecideModeAnswer", "args": {"mode": "guide"}, "id": "1", "type": "tool_call"}
    assert json.loads(answered(AIMessage(content="I call it.", tool_calls=[call]))) == {"mode": "guide"}


def test_arguments_that_are_no_json_are_passed_on_as_they_are() -> None:
    call = {"name": "x", "args": "{'mode': 'guide'}", "id": "1", "error": None, "type": "invalid_tool_call"}
    assert said(AIMessage(content="", invalid_tool_calls=[call])) == "{'mode': 'guide'}"


@pytest.mark.parametrize("ended", ["length", "max_tokens", "MAX_TOKENS", "max_output_tokens"])
def test_reply_that_was_cut_is_refused_whatever_it_holds(ended: str) -> None:
    with pytest.raises(ReplyError, match="cut off at the limit of its length") as refused:
        answered(reply('{"mode": "guide"}', ended))
    assert refused.value.reason == "reply_cut"


@pytest.mark.parametrize(
    ("message", "reason", "text"),
    [
        (reply(refusal="I will not."), "refused", "The model refuses: 'I will not.'"),
        (reply(ended="content_filter"), "refused", "The content filter of the server withheld the reply."),
        (reply(ended="SAFETY"), "refused", "content filter"),
        (reply(reasoning_content="The port is left"), "not_json", "thoughts, and no answer: 'The port is left'"),
        (reply("  ", reasoning="Hm."), "not_json", "thoughts, and no answer: 'Hm.'"),
    ],
)
def test_reply_without_an_answer_says_why(message: AIMessage, reason: str, text: str) -> None:
    with pytest.raises(ReplyError) as refused:
        answered(message)
    assert refused.value.reason == reason and text in str(refused.value)


def test_answer_beside_thoughts_or_a_filter_counts() -> None:
    assert answered(reply("{}", "content_filter", reasoning="Hm.")) == "{}"


def test_of_long_thoughts_the_end_is_shown() -> None:
    with pytest.raises(ReplyError) as refused:
        answered(reply(reasoning="a" * 10_000 + "the end"))
    assert "the end" in str(refused.value) and len(str(refused.value)) < SHOWN + 100
