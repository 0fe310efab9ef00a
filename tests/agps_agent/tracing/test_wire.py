import json

import pytest

from agps_agent.tracing.wire import WireError, parse_batch, parse_multipart, parse_one

BOUNDARY = "multipart/form-data; boundary=xyz"


def part(name: str, content: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"\r\nContent-Type: application/json\r\n'
    return b"--xyz\r\n" + head.encode() + b"\r\n" + content + b"\r\n"


def test_parts_of_one_run_are_one_update() -> None:
    body = part("post.a1", b'{"name": "ask"}') + part("post.a1.inputs", b'{"x": 1}') + b"--xyz--\r\n"
    (update,) = parse_multipart(body, BOUNDARY)
    assert (update.kind, update.id, update.fields) == ("post", "a1", {"name": "ask", "inputs": {"x": 1}})


def test_patch_and_feedback_are_told_apart_and_attachments_skipped() -> None:
    body = (
        part("patch.a1.outputs", b'{"y": 2}')
        + part("attachment.a1.file", b"\x00\r\n\x01")
        + part("feedback.f1", json.dumps({"key": "episode_success", "score": 1}).encode())
        + b"--xyz--\r\n"
    )
    assert [(u.kind, u.id) for u in parse_multipart(body, BOUNDARY)] == [("patch", "a1"), ("feedback", "f1")]


def test_batch_lists_posts_then_patches() -> None:
    body = json.dumps({"patch": [{"id": "b", "outputs": {}}], "post": [{"id": "a", "name": "ask"}]}).encode()
    assert [(u.kind, u.id) for u in parse_batch(body)] == [("post", "a"), ("patch", "b")]


@pytest.mark.parametrize(
    "refused",
    [
        lambda: parse_multipart(b"", "application/json"),
        lambda: parse_multipart(part("post.a1", b"{not json"), BOUNDARY),
        lambda: parse_batch(b"[}"),
        lambda: parse_one("post", b"{}"),
    ],
)
def test_what_is_not_the_sdk_is_refused_in_one_sentence(refused) -> None:
    with pytest.raises(WireError, match=r"\.$|\?$"):
        refused()
