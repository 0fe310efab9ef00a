"""What a reply says: its text or the arguments of a tool; whether it is whole, and whether it is an answer at all."""

import json

from langchain_core.messages import AIMessage

from agps_agent.models.parsing import ReplyError

THOUGHTS = ("reasoning_content", "reasoning")
"""Where servers put what a model thought, beside its answer."""
BESIDE = ("refusal", *THOUGHTS)
"""What is kept of a message beside its text and its tools."""
ENDINGS = ("finish_reason", "stop_reason")
"""Where libraries put why a reply ended."""
SHOWN = 300
"""Characters of a refusal, or from the end of thoughts, that are shown."""

_CUT = frozenset({"length", "max_tokens", "max_output_tokens"})
_FILTERED = frozenset({"content_filter", "safety"})


def answered(reply: AIMessage) -> str:
    """Return what a reply answers.

    Raises:
        ReplyError: `reply_cut` if it ended before its time, `refused` if the model or its server does not want to
            answer, `not_json` if it only thought.
    """
    ended = _ended(reply)
    if ended in _CUT:
        raise ReplyError("reply_cut", "The reply was cut off at the limit of its length.")
    refusal = reply.additional_kwargs.get("refusal")
    if refusal:
        raise ReplyError("refused", f"The model refuses: {str(refusal)[:SHOWN]!r}.")
    text = said(reply)
    if text.strip():
        return text
    if ended in _FILTERED:
        raise ReplyError("refused", "The content filter of the server withheld the reply.")
    if thoughts := _thoughts(reply):
        raise ReplyError("not_json", f"The reply holds thoughts, and no answer: {thoughts!r}. Answer with JSON.")
    return text


def said(reply: AIMessage) -> str:
    """Return the text of a reply, or the arguments of the tool that it calls."""
    if reply.tool_calls:
        return json.dumps(reply.tool_calls[0]["args"])
    if reply.invalid_tool_calls:  # arguments that are not JSON: perhaps the parser here can read them
        return reply.invalid_tool_calls[0]["args"] or ""
    return reply.text


def _ended(reply: AIMessage) -> str:
    """Return why a reply ended, as its server puts it; empty if it does not say."""
    return str(next((reply.response_metadata[key] for key in ENDINGS if reply.response_metadata.get(key)), "")).lower()


def _thoughts(reply: AIMessage) -> str:
    """Return the end of what a model thought; empty for nothing."""
    thoughts = next((reply.additional_kwargs[key] for key in THOUGHTS if reply.additional_kwargs.get(key)), "")
    return str(thoughts).strip()[-SHOWN:]
