"""Files that are either the old ones or the new ones."""

import json
import os
import shlex
from pathlib import Path

import pytest

from rl.errors import AgpsError
from rl.files import quoted, read_json_object, write_atomically


@pytest.mark.parametrize("content", ["", "λ\n", b"\x00\xff", "x" * 100_000])
def test_what_is_written_is_what_is_there(content: str | bytes, tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_old_content_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a long old content")
    write_atomically(file, "new")
    assert file.read_text() == "new"


def test_file_that_cannot_be_replaced_is_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AgpsError, match="Cannot write .*No space left on device; what was there before is unchanged"):
        write_atomically(file, "new")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(AgpsError, match="No such file"):
        write_atomically(tmp_path / "nowhere" / "file", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [{}, {"a": [1, 2.5, None, "λ"]}, {"nested": {"b": True}}])
def test_object_survives_the_way_to_the_disk_and_back(value: dict, tmp_path: Path) -> None:
    write_atomically(tmp_path / "file.json", json.dumps(value))
    assert read_json_object(tmp_path / "file.json") == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b'{"a": 1', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[1, 2]", "holds list, not an object; it is damaged"),
        (b"null", "holds NoneType"),
        (b'"{}"', "holds str"),
    ],
)
def test_damaged_file_is_named_with_what_is_wrong(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(AgpsError) as refused:
        read_json_object(tmp_path / "file.json")
    assert words in str(refused.value) and "file.json" in str(refused.value)


def test_file_that_is_not_there_or_a_folder_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(AgpsError, match="Cannot read"):
            read_json_object(path)


@pytest.mark.parametrize(
    ("path", "word"), [("runs/mine", "runs/mine"), ("my runs", "'my runs'"), ("a;b", "'a;b'"), ("it's", "'it'\"'\"'s'")]
)
def test_path_in_a_command_is_one_word_to_a_shell(path: str, word: str) -> None:
    assert quoted(Path(path)) == word
    assert shlex.split(f"agps report {word}") == ["agps", "report", path]
