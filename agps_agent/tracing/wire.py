"""What the LangSmith SDK sends to `/runs/multipart`, `/runs/batch`, `/runs` and `/feedback`, as plain updates.

The wire format is that of langsmith 0.14, recorded on loopback; parts it does not know are skipped, not refused.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from rl.errors import AgpsError

Kind = Literal["post", "patch", "feedback"]


class WireError(AgpsError):
    """A request that is not what the LangSmith SDK sends."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """A new or changed run, or feedback on one."""

    kind: Kind
    id: str
    fields: dict[str, Any]


def parse_multipart(body: bytes, content_type: str) -> list[Update]:
    """Return the updates of a `/runs/multipart` request.

    Parts are named `post.<id>`, `patch.<id>` with the run, `post.<id>.inputs` and so on with its large fields, and
    `feedback.<id>`.

    Raises:
        WireError: If the boundary is missing or a part is not JSON.
    """
    _, found, boundary = content_type.partition("boundary=")
    if not found:
        raise WireError("The request has no multipart boundary; is this the LangSmith SDK?")
    updates: dict[tuple[str, str], Update] = {}
    for name, content in _parts(body, boundary.strip().strip('"').encode()):
        kind, _, rest = name.partition(".")
        run_id, _, key = rest.partition(".")
        if kind not in get_args(Kind):
            continue  # attachments: this project sends none
        update = updates.setdefault((kind, run_id), Update(kind=cast(Kind, kind), id=run_id, fields={}))
        value = _json(content, name)
        update.fields.update({key: value} if key else value)
    return list(updates.values())


def parse_batch(body: bytes) -> list[Update]:
    """Return the updates of a `/runs/batch` request, `{"post": [run...], "patch": [run...]}`."""
    content = _json(body, "/runs/batch")
    kinds: tuple[Kind, ...] = ("post", "patch")
    return [Update(kind=kind, id=str(run["id"]), fields=run) for kind in kinds for run in content.get(kind) or []]


def parse_one(kind: Kind, body: bytes, run_id: str | None = None) -> Update:
    """Return the update of a request about one run or one feedback."""
    fields = _json(body, kind)
    if run_id is None and "id" not in fields:
        raise WireError(f"The {kind} request has no id; is this the LangSmith SDK?")
    return Update(kind=kind, id=str(run_id or fields["id"]), fields=fields)


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each part."""
    for part in body.split(b"--" + boundary)[1:]:
        head, separator, content = part.partition(b"\r\n\r\n")
        _, named, rest = head.partition(b'name="')
        if separator and named:
            yield rest.partition(b'"')[0].decode(), content.removesuffix(b"\r\n")


def _json(content: bytes, name: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise WireError(f"{name} is not JSON: {error}.") from error
