"""One question to a chat model: send, parse, and ask once more when the answer is of no use."""

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import BaseModel

from agps_agent.models.gate import CallFailed
from agps_agent.models.parsing import ReplyError, parse_answer
from agps_agent.models.profiles import OutsideImage
from agps_agent.models.replies import answered, said
from agps_agent.state import AgentContext, AgentFault, Exchange, Reason
from tools.errors import ToolRetry

AnswerT = TypeVar("AnswerT", bound=BaseModel)
ResultT = TypeVar("ResultT")

NodeName = Literal["decide_mode", "perceive", "plan"]
FINAL: frozenset[Reason] = frozenset({"reply_cut", "refused"})
"""Why a reply is of no use, and another one would be of none either: it is not asked for."""


def compose(system: str, user: str, *pictures: Mapping[str, Any]) -> list[BaseMessage]:
    """Return the messages of a question: the text first, since most of it never changes, then the pictures."""
    return [SystemMessage(system), HumanMessage(content=[{"type": "text", "text": user}, *map(dict, pictures)])]


async def converse(
    context: AgentContext,
    node: NodeName,
    messages: list[BaseMessage],
    answer: type[AnswerT],
    check: Callable[[AnswerT], ResultT],
    *,
    repairs: int | None = None,
) -> ResultT:
    """Return what `check` makes of the model's answer; an answer that it refuses may be corrected.

    Args:
        context: Model, limits and the transcript, to which every call is added.
        node: Who asks.
        messages: The question.
        answer: Schema of the answer.
        check: Turns the answer into what the node needs; its `ToolRetry`, `OutsideImage` and `ReplyError` go back to
            the model.
        repairs: How often the model may correct its answer; None for as often as the settings say.

    Raises:
        AgentFault: If the model fails, times out, refuses, is cut off, or its last allowed answer is of no use either.
    """
    allowed = context.settings.max_repairs if repairs is None else repairs
    for left in range(allowed, -1, -1):
        reply = await _call(context, node, messages, answer)
        try:
            return check(parse_answer(answered(reply), answer))
        except (ReplyError, OutsideImage, ToolRetry) as error:
            reason: Reason = "outside_image" if isinstance(error, OutsideImage) else error.reason
            message = _advised(reason, str(error), context)
            context.transcript[-1].refused(message)
            if left == 0 or reason in FINAL:
                raise AgentFault(reason, message) from error
            messages = repaired(context, message)
    raise AssertionError("the last round returns or raises")


def calls_left(context: AgentContext, node: NodeName) -> int:
    """Return how often a node may still ask the model: once, once more per repair, and after each answer of tools."""
    asked = [exchange for exchange in context.transcript if exchange.node == node]
    return 1 + context.settings.max_repairs + answer_rounds(context) * (node == "plan") - len(asked)


def answer_rounds(context: AgentContext) -> int:
    """Return how often tools have answered the model in this question."""
    return sum(bool(exchange.answers) for exchange in context.transcript)


def repaired(context: AgentContext, error: str) -> list[BaseMessage]:
    """Return the last question, its reply and what is wrong with it, as the messages of a new question."""
    return _followed_up(context, "repair", error=error)


def informed(context: AgentContext) -> list[BaseMessage]:
    """Return the last question, its reply and what tools answered to it, as the messages of a new question."""
    left = context.settings.max_tool_answers - answer_rounds(context)
    return _followed_up(context, "tool_answers", answers=context.transcript[-1].answers, rounds_left=str(left))


def _followed_up(context: AgentContext, prompt: str, **variables: str) -> list[BaseMessage]:
    last = context.transcript[-1]
    _, user = context.prompt(prompt).render(**variables)
    said_before = [AIMessage(last.reply)] if last.reply else []  # servers refuse a message without content
    return [*last.messages, *said_before, HumanMessage(user)]


def _advised(reason: Reason, message: str, context: AgentContext) -> str:
    """Return a message with what to change, where it is the longest reply that is asked for, or the server allows."""
    if reason != "reply_cut":
        return message
    own, used = context.settings.reply_tokens, context.transcript[-1].completion_tokens
    limit = own or context.profile.sampling.max_tokens
    whose = "--agent.reply-tokens" if own else f"sampling.max_tokens of the model profile {context.profile.name}"
    if 0 < used < limit:
        return (
            f"{message} It has {used} tokens and may have {limit} ({whose}): the server's own limit cut it, such as "
            "--max-model-len of vLLM; raise it there."
        )
    return f"{message} It may have {limit} tokens ({whose}); raise that with --agent.reply-tokens {2 * limit}."


async def _call(
    context: AgentContext, node: NodeName, messages: list[BaseMessage], answer: type[BaseModel]
) -> AIMessage:
    """Return the model's reply; the call is in the transcript whatever happens."""
    exchange = Exchange(node=node, messages=messages, schema_name=answer.__name__)
    context.transcript.append(exchange)
    started = time.monotonic()
    try:
        reply, exchange.attempts = await context.gate.call(
            context.model,
            messages,
            limits=context.settings,
            options=_request(context.profile.structured_output, answer),
        )
    except CallFailed as error:
        exchange.attempts = error.attempts
        message = _advised(error.reason, f"{node}: {error}", context)
        exchange.refused(message)
        raise AgentFault(error.reason, message) from error
    finally:
        exchange.latency_s = time.monotonic() - started
    exchange.reply = said(reply)
    if reply.usage_metadata is not None:
        exchange.prompt_tokens = reply.usage_metadata["input_tokens"]
        # Some count thoughts in the total alone, and bill them as replies.
        thought = reply.usage_metadata["total_tokens"] - exchange.prompt_tokens
        exchange.completion_tokens = max(reply.usage_metadata["output_tokens"], thought)
    return reply


@cache
def _request(structured_output: str, answer: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a request that tell an OpenAI-compatible server the form of an answer.

    Not strict: strict mode forbids free-form tool arguments, and every reply is validated here anyway.
    """
    name, schema = answer.__name__, answer.model_json_schema()
    match structured_output:
        case "json_schema":
            named = {"name": name, "schema": schema, "strict": False}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case "tools":
            function = {"name": name, "description": answer.__doc__ or name, "parameters": schema}
            return {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
        case _:
            return {}
