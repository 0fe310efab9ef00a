"""From the text of a reply to a validated answer: tolerant of wrapping, strict about content."""

import copy
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from agps_agent.models.pointing import as_keypoints, tags_as_keypoints
from agps_agent.models.words import printable
from rl.errors import AgpsError
from tools.answers import PerceiveAnswer

AnswerT = TypeVar("AnswerT", bound=BaseModel)
Broken = tuple[int, str]
"""Length of what begins like JSON and is none, [characters], and what is wrong with it."""

_THINK = r"[<\[◁]{0}(?:seed:)?(?:think(?:ing)?|thoughts?|reasoning)[>\]▷]"
_THOUGHT = re.compile(_THINK.format(""), re.IGNORECASE)
_END_OF_THOUGHT = re.compile(_THINK.format("/"), re.IGNORECASE)
_BEGINNING = re.compile(r"""\{\s*(?:["'/]|\w+\s*:)|\[\s*\{\s*["'/]""")
"""How an object or a list of objects begins; `{x}` and `[1]` in prose do not."""
_STRING = r'"(?:\\.|[^"\\])*(?:"|\Z)'
_BRACKETS = {
    '"': re.compile(rf"{_STRING}|[{{}}\[\]]", re.DOTALL),
    "'": re.compile(rf"{_STRING}|'(?:\\.|[^'\\])*(?:'|\Z)|[{{}}\[\]]", re.DOTALL),
}
"""Brackets outside of strings, by the quotes that keys are in."""
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
MOST_OPENINGS = 200
"""Places in a reply that are tried as the beginning of its JSON: a reply of brackets only must not take seconds."""
MOST_VALUES = 20
"""Values of a reply that are compared with the schema."""


ReplyReason = Literal["not_json", "wrong_schema", "reply_cut", "refused"]


class ReplyError(AgpsError):
    """A reply that is not the answer that was asked for; the message is sent back to the model."""

    def __init__(self, reason: ReplyReason, message: str) -> None:
        super().__init__(message)
        self.reason: ReplyReason = reason


def parse_json(text: str) -> Any:
    """Return the JSON value in a reply: bare, in a ``` fence, or inside prose. Thinking is dropped.

    Raises:
        ReplyError: `not_json` if no JSON object or list is found, or one holds NaN or Infinity; `reply_cut` if it ends
            in the middle of a thought.
    """
    broken: list[Broken] = []
    said = without_thoughts(text)
    for value in _values([*_FENCE.findall(said), said], broken):
        return value
    raise _no_json(text, broken)


def parse_answer(text: str, answer: type[AnswerT]) -> AnswerT:
    """Return the validated answer in a reply: the last JSON value in it that fits, or the points in its tags.

    A model that corrects itself in prose gives its draft first; what is in a fence goes before what is not. A bare
    list is taken as the answer's only list, and points are read in each family's form (`pointing`).

    Args:
        text: What the model said.
        answer: Model of the answer.

    Raises:
        ReplyError: `not_json`, `reply_cut`, or `wrong_schema` with the fields that are wrong in the largest value.
    """
    text = without_thoughts(text)
    closest: tuple[int, ValidationError] | None = None
    points = issubclass(answer, PerceiveAnswer)
    tagged = tags_as_keypoints(text) if points else None
    broken: list[Broken] = []
    for part in (_FENCE.findall(text), [text]):
        fitting: AnswerT | None = None
        for value in islice(_values(part, broken) if tagged is None else [tagged], MOST_VALUES):
            try:
                fitting = _validated(_wrapped(as_keypoints(value) if points else value, answer), answer)
            except ValidationError as error:
                size = len(str(value))  # a stray [1] in the prose is not what was meant
                if closest is None or size > closest[0]:
                    closest = size, error
        if fitting is not None:
            return fitting
    if closest is None or closest[0] < max((length for length, _ in broken), default=0):
        raise _no_json(text, broken)
    wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in closest[1].errors()[:5])
    raise ReplyError("wrong_schema", f"The reply does not fit {answer.__name__}: {wrong}.") from closest[1]


def _validated(value: Any, answer: type[AnswerT]) -> AnswerT:
    """Return a value as an answer; keys beside it that nobody asked for are dropped, and the ids of calls.

    Any other key within a call stays refused: it may be an argument in the wrong place.
    """
    try:
        return answer.model_validate(value)
    except ValidationError as error:
        places = [entry["loc"] for entry in error.errors() if entry["type"] == "extra_forbidden"]
        surplus = [place for place in places if len(place) == 1 or place[-1] in ("id", "type")]
        if not surplus:
            raise
    value = copy.deepcopy(value)
    for *path, key in surplus:
        holder = value
        for part in path:
            holder = holder[part]
        del holder[key]
    return answer.model_validate(value)


def _wrapped(value: Any, answer: type[BaseModel]) -> Any:
    """Return a value, or the answer whose only list it is."""
    if isinstance(value, list):
        lists = [n for n, f in answer.model_json_schema().get("properties", {}).items() if f.get("type") == "array"]
        if len(lists) == 1:
            return {lists[0]: value}
    return value


def without_thoughts(text: str) -> str:
    """Return a reply without what comes before the end of a thought: some templates leave the opening tag out.

    Raises:
        ReplyError: `reply_cut` if a thought begins and does not end: whatever it drafts is not the answer.
    """
    ends = [match.end() for match in _END_OF_THOUGHT.finditer(text)]
    rest = text[ends[-1] :] if ends else text
    if _has_open_thought(rest):
        raise ReplyError("reply_cut", "The reply ends in the middle of a thought: it was cut off.")
    return rest


def _has_open_thought(text: str) -> bool:
    """Whether a thought begins in a text, other than as words of its JSON."""
    start = 0
    for _ in range(MOST_OPENINGS):
        tag = _THOUGHT.search(text, start)
        if tag is None:
            return False
        begin = _BEGINNING.search(text, start, tag.start())
        if begin is None:
            return True
        try:
            _, start = json.JSONDecoder().raw_decode(text, begin.start())
        except (json.JSONDecodeError, RecursionError):
            return True
    return True


def _values(parts: Sequence[str], broken: list[Broken]) -> Iterator[Any]:
    """Yield the JSON objects and lists in parts of a reply, none from inside another.

    Args:
        parts: Of the reply, without thoughts.
        broken: Takes the length of what begins like JSON and is none, and what is wrong with it.

    Raises:
        ReplyError: If a number is not finite.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    for part in parts:
        end = 0
        for match in islice(_OPENING.finditer(part), MOST_OPENINGS):
            if match.start() < end:
                continue
            try:
                value, end = decoder.raw_decode(part, match.start())
            except json.JSONDecodeError as error:
                if _BEGINNING.match(part, match.start()):
                    # What is inside of it was not meant by itself, and a complaint about that would mislead.
                    end = _closing(part, match.start())
                    broken.append((end - match.start(), _complaint(error)))
                continue
            except (RecursionError, ValueError):  # a flood of brackets or digits: each of the next would take as long
                break
            yield printable(value)


def _no_json(text: str, broken: list[Broken]) -> ReplyError:
    """Return what is wrong with a reply without JSON, or with JSON that is broken."""
    if broken:
        return ReplyError("not_json", max(broken)[1])
    return ReplyError(
        "not_json", f"The reply holds no JSON object: {text.strip()[:80]!r}. Answer with one JSON object only."
    )


def _closing(text: str, start: int) -> int:
    """Return where what begins at `start` ends, by its brackets; the end of the text if they do not close."""
    quote = "'" if re.match(r"[\[{\s]+'", text[start : start + 80]) else '"'
    depth = 0
    for match in _BRACKETS[quote].finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match[0], 0)
        if depth == 0 and match[0] in "}]":
            return match.end()
    return len(text)


def _complaint(error: json.JSONDecodeError) -> str:
    """Return what is wrong with JSON, and where."""
    place = error.doc[max(0, error.pos - 30) : error.pos + 10]
    return (
        f"The reply's JSON is broken at line {error.lineno} column {error.colno} ({error.msg}), at {place!r}. "
        "Write valid JSON: double quotes, no comma after the last entry, no comments, every bracket closed."
    )


def _refuse_constant(name: str) -> float:
    raise ReplyError("not_json", f"The reply holds {name}, which is not JSON. Give a finite number.")
