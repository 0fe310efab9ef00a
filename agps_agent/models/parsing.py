"""From the text of a reply to a validated answer: tolerant of wrapping, strict about content."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from agps_agent.models.pointing import as_keypoints, tags_as_keypoints
from rl.errors import AgpsError
from tools.answers import PerceiveAnswer

AnswerT = TypeVar("AnswerT", bound=BaseModel)

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
MOST_OPENINGS = 200
"""Places in a reply that are tried as the beginning of its JSON: a reply of brackets only must not take seconds."""
MOST_VALUES = 20
"""Values of a reply that are compared with the schema."""


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
    return next(_values(text))


def parse_answer(text: str, answer: type[AnswerT]) -> AnswerT:
    """Return the validated answer in a reply: the first JSON value in it that fits, or the points in its tags.

    A bare list is taken as the answer's only list, and points are read in each family's form (`pointing`).

    Args:
        text: What the model said.
        answer: Model of the answer.

    Raises:
        ReplyError: `not_json`, or `wrong_schema` with the fields that are wrong in the largest value.
    """
    closest: tuple[int, ValidationError] | None = None
    points = issubclass(answer, PerceiveAnswer)
    tagged = tags_as_keypoints(text) if points else None
    for value in islice(_values(text) if tagged is None else [tagged], MOST_VALUES):
        try:
            return answer.model_validate(_wrapped(as_keypoints(value) if points else value, answer))
        except ValidationError as error:
            size = len(str(value))  # a stray [1] in the prose is not what was meant
            if closest is None or size > closest[0]:
                closest = size, error
    assert closest is not None  # there is a value, or `_values` raises
    wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in closest[1].errors()[:5])
    raise ReplyError("wrong_schema", f"The reply does not fit {answer.__name__}: {wrong}.") from closest[1]


def _wrapped(value: Any, answer: type[BaseModel]) -> Any:
    """Return a value, or the answer whose only list it is."""
    if isinstance(value, list):
        lists = [n for n, f in answer.model_json_schema().get("properties", {}).items() if f.get("type") == "array"]
        if len(lists) == 1:
            return {lists[0]: value}
    return value


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON objects and lists in a reply, those in a fence first, none from inside another.

    Raises:
        ReplyError: If there is none, or a number in one is not finite.
    """
    text = text.rpartition("</think>")[2]  # some templates leave the opening tag out
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    found = False
    for part in (*_FENCE.findall(text), text):
        end = 0
        for match in islice(_OPENING.finditer(part), MOST_OPENINGS):
            if match.start() < end:
                continue
            try:
                value, end = decoder.raw_decode(part, match.start())
            except json.JSONDecodeError:
                continue
            except RecursionError:  # a flood of brackets: each of the next ones would take as long
                break
            found = True
            yield value
    if not found:
        raise ReplyError(
            "not_json", f"The reply holds no JSON object: {text.strip()[:80]!r}. Answer with one JSON object only."
        )


def _refuse_constant(name: str) -> float:
    raise ReplyError("not_json", f"The reply holds {name}, which is not JSON. Give a finite number.")
