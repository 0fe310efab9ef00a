"""From the text of a reply to a validated answer: tolerant of wrapping, strict about content."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from rl.errors import AgpsError

AnswerT = TypeVar("AnswerT", bound=BaseModel)

_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)


class ReplyError(AgpsError):
    """A reply that is not the answer that was asked for; the message is sent back to the model."""

    def __init__(self, reason: Literal["not_json", "wrong_schema"], message: str) -> None:
        super().__init__(message)
        self.reason = reason


def parse_json(text: str) -> Any:
    """Return the JSON value in a reply: bare, in a ``` fence, or inside prose. Thinking is dropped.

    Raises:
        ReplyError: `not_json` if no JSON object or list is found, or one holds NaN or Infinity.
    """
    text = _THINKING.sub("", text).strip()
    for candidate in _candidates(text):
        try:
            value, _ = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(candidate)
        except json.JSONDecodeError:
            continue
        return value
    raise ReplyError("not_json", f"The reply holds no JSON object: {text[:80]!r}. Answer with one JSON object only.")


def parse_answer(text: str, answer: type[AnswerT]) -> AnswerT:
    """Return the validated answer in a reply.

    A bare list is taken as the answer's only list, as models trained on pointing give it.

    Args:
        text: What the model said.
        answer: Model of the answer.

    Raises:
        ReplyError: `not_json`, or `wrong_schema` with the fields that are wrong.
    """
    value = parse_json(text)
    if isinstance(value, list):
        lists = [n for n, f in answer.model_json_schema().get("properties", {}).items() if f.get("type") == "array"]
        if len(lists) == 1:
            value = {lists[0]: value}
    try:
        return answer.model_validate(value)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:5])
        raise ReplyError("wrong_schema", f"The reply does not fit {answer.__name__}: {wrong}.") from error


def _candidates(text: str) -> Iterator[str]:
    """Yield places where the JSON value may begin, the most explicit first."""
    yield from (match.strip() for match in _FENCE.findall(text))
    yield from (text[match.start() :] for match in re.finditer(r"[{\[]", text))


def _refuse_constant(name: str) -> float:
    raise ReplyError("not_json", f"The reply holds {name}, which is not JSON. Give a finite number.")
