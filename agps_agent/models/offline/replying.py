"""How the embedded model puts its answers: as JSON text, as the arguments of a tool, or in chunks.

What to say is `embedded`'s business; where it has nothing to say, a form is filled in with the smallest valid values.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call, tool_call_chunk

CHUNK_CHARACTERS = 24


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a request wants the answer to look like."""

    name: str = ""
    """Name of the answer's schema, or of the tool; empty: the words of the prompt are all there is."""
    schema: Mapping[str, Any] = field(default_factory=dict)
    """JSON schema of the answer; empty: none was given."""
    is_tool: bool = False
    """The answer is the arguments of a tool."""


def read_form(messages: Sequence[BaseMessage], request: Mapping[str, Any]) -> Form:
    """Return the form that a request asks for.

    A tool is called when it must be, or when it may be and no result of one has come back yet.

    Args:
        messages: The chat.
        request: `response_format`, `tools` and `tool_choice`, as OpenAI-compatible servers take them.
    """
    tools, choice = request.get("tools") or [], request.get("tool_choice", "auto")
    is_free = choice in (None, "auto", "none")
    if tools and choice != "none" and not (is_free and isinstance(messages[-1], ToolMessage)):
        wanted = choice["function"]["name"] if isinstance(choice, Mapping) else choice
        functions = {tool["function"]["name"]: tool["function"] for tool in tools}
        function = functions.get(wanted, next(iter(functions.values())))
        return Form(name=function["name"], schema=function.get("parameters") or {}, is_tool=True)
    response_format = request.get("response_format")
    named = response_format.get("json_schema") or {} if isinstance(response_format, Mapping) else {}
    schema = named.get("schema") or {}
    return Form(name=str(named.get("name") or schema.get("title", "")), schema=schema)


def put(answer: Mapping[str, Any] | str, form: Form, *, model: str, refusal: str = "") -> AIMessage:
    """Return an answer as the message that the form wants.

    Args:
        answer: What is said.
        form: What the request wants it to look like.
        model: Name of the model.
        refusal: Why there is no real answer; empty where there is one.
    """
    metadata = {"model_name": model}
    refused = {"refusal": refusal} if refusal else {}
    if form.is_tool and not isinstance(answer, str):
        call = tool_call(name=form.name, args=dict(answer), id=f"call_{uuid.uuid4().hex[:12]}")
        return AIMessage(content="", tool_calls=[call], response_metadata=metadata, additional_kwargs=refused)
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return AIMessage(content=text, response_metadata=metadata, additional_kwargs=refused)


def in_chunks(message: AIMessage) -> Iterator[AIMessageChunk]:
    """Yield a message in pieces: the prompt's tokens are counted in the first, the model is named in the last."""
    usage = message.usage_metadata or UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)
    counted = UsageMetadata(input_tokens=usage["input_tokens"], output_tokens=0, total_tokens=usage["input_tokens"])
    yield AIMessageChunk(content="", usage_metadata=counted)
    text = message.text
    for start in range(0, len(text), CHUNK_CHARACTERS):
        yield AIMessageChunk(content=text[start : start + CHUNK_CHARACTERS])
    for index, call in enumerate(message.tool_calls):
        chunk = tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
        yield AIMessageChunk(content="", tool_call_chunks=[chunk])
    said = usage["output_tokens"]
    yield AIMessageChunk(
        content="",
        response_metadata=message.response_metadata,
        additional_kwargs=message.additional_kwargs,
        usage_metadata=UsageMetadata(input_tokens=0, output_tokens=said, total_tokens=said),
        chunk_position="last",
    )


def fill(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """Return the smallest value that a JSON schema allows: required fields only, first choices, empty texts."""
    root = schema if root is None else root
    if "$ref" in schema:
        return fill(_resolve(str(schema["$ref"]), root), root)
    for constant in ("const", "default"):
        if constant in schema:
            return schema[constant]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return fill(schema[choice][0], root)
    match schema.get("type"):
        case "object" | None:
            properties = schema.get("properties") or {}
            return {name: fill(properties.get(name, {}), root) for name in schema.get("required") or ()}
        case "array":
            return [fill(schema.get("items") or {}, root)] * int(schema.get("minItems", 0))
        case "string":
            return "-" * int(schema.get("minLength", 0))
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case _:
            return None


def _number(schema: Mapping[str, Any]) -> float | int:
    """Return 0, or the number nearest to it within the bounds."""
    step = 1 if schema["type"] == "integer" else 0.001
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    value: float | int = 0
    if low is not None and value < low:
        value = low
    if high is not None and value > high:
        value = high
    return value


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for key in reference.removeprefix("#/").split("/"):
        found = found[key]
    resolved: Mapping[str, Any] = found
    return resolved
