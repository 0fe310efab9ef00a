"""What a server says in an error: its own words, out of JSON or HTML."""

import html
import json
import os
import re
from collections.abc import Mapping
from typing import Any

LONGEST = 300
"""Characters that are shown."""
_SPEAKING = ("error", "message", "detail", "msg", "reason")
"""Keys under which servers say what is wrong, outermost first."""
_TAG = re.compile(r"<(script|style|head)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def words(said: Any) -> str:
    """Return what an error's body says as one line, at most `LONGEST` characters; empty for nothing.

    Args:
        said: Text as it came (JSON, HTML or plain), or a JSON value.
    """
    text = " ".join(printable(_words(said)).split())[:LONGEST].rstrip(". ")
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    return text.replace(key, "***") if key else text


def printable(said: Any) -> Any:
    """Return a JSON value with a question mark for half a character, as cut text has it: no file takes that."""
    if isinstance(said, str):
        return said.encode("utf-8", "replace").decode("utf-8")
    if isinstance(said, Mapping):
        return {printable(key): printable(value) for key, value in said.items()}
    return [printable(entry) for entry in said] if isinstance(said, list) else said


def _words(said: Any) -> str:
    if isinstance(said, Mapping):
        speaking = next((said[key] for key in _SPEAKING if said.get(key)), None)
        known = {key: value for key, value in said.items() if value is not None}
        return json.dumps(known, default=str) if speaking is None else _words(speaking)
    if isinstance(said, list):
        return "; ".join(_words(entry) for entry in said)
    text = str(said)
    try:
        value = json.loads(text)
    except ValueError:
        return html.unescape(_plain(text)) if re.search(r"<(!doctype|html|body|head)\b", text, re.IGNORECASE) else text
    return _words(value) if isinstance(value, Mapping | list) else text


def _plain(page: str) -> str:
    """Return the text of a page; its title where the body says nothing."""
    body = _TAG.sub(" ", page).strip()
    title = re.search(r"<title[^>]*>(.*?)</title>", page, re.DOTALL | re.IGNORECASE)
    return body or (title[1] if title else "")
