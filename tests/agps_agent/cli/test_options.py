"""Arguments into options, and every complaint into one line; what is printed never ends what goes on."""

import errno
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from agps_agent.cli.options import (
    UsageError,
    check_vlm,
    complaint_line,
    help_page,
    json_only_on_stdout,
    one_line,
    parse_options,
    peek_options,
    run_subcommand,
)
from agps_agent.cli.terminal import Forgiving, replace_what_cannot_be_shown, say


@dataclass(frozen=True)
class Options:
    """Knit."""

    rows: int = 3
    """Rows."""
    yarn: Literal["wool", "cotton"] = "wool"
    """Yarn."""
    out: Path | None = None
    """File."""
    dry: bool = False
    """Only tell."""


class Limits(BaseModel):
    """Knit within limits."""

    speed: float = Field(1.0, gt=0.0, le=2.0)
    """Stitches per second."""


def parse(*argv: str) -> Options:
    return parse_options(Options, argv, prog="agps knit")


def test_arguments_become_typed_values() -> None:
    assert parse("--rows", "7", "--out", "a/b", "--dry") == Options(rows=7, out=Path("a/b"), dry=True)
    assert parse() == Options()


def test_defaults_can_be_others_than_those_of_the_class() -> None:
    start = Options(rows=9, yarn="cotton")
    assert parse_options(Options, ["--rows", "1"], prog="p", default=start) == Options(rows=1, yarn="cotton")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--rows", "many"], "--rows"),
        (["--rows"], "--rows"),
        (["--yarn", "silk"], "silk"),
        (["--row", "3"], "--row"),
        (["extra"], "extra"),
    ],
)
def test_complaint_is_one_line_that_names_the_help(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(*argv)
    text = str(refused.value)
    assert words in text and "\n" not in text and text.endswith("See `agps knit --help`.")


@pytest.mark.parametrize(("value", "words"), [("3", "less than or equal to 2"), ("0", "greater than 0")])
def test_value_out_of_its_limits_is_told_with_the_limit(value: str, words: str) -> None:
    with pytest.raises(UsageError, match=rf"speed.*{words}.*got {value}"):
        parse_options(Limits, ["--speed", value], prog="agps knit")


def test_help_ends_with_success(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert not stop.value.code and "Rows." in capsys.readouterr().out


def test_options_that_decide_others_are_read_beside_anything() -> None:
    peeked = peek_options(Options, ["--unknown", "1", "--rows", "4", "--help"], prog="agps knit")
    assert peeked.rows == 4


@pytest.mark.parametrize("vlm", ["embedded", "http://localhost:8000/v1", "https://a.example/v1"])
def test_chat_model_is_the_embedded_one_or_a_url(vlm: str) -> None:
    check_vlm(vlm)
    with pytest.raises(UsageError, match="There is no model"):
        check_vlm(vlm.removeprefix("http").removeprefix("s") if "://" in vlm else f"{vlm} ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("  a  \n\t b ", "a b"),
        ("a , b ; c .", "a, b; c."),
        ("0 .5", "0 .5"),  # a number, not the end of a sentence
    ],
)
def test_text_becomes_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_hint_of_a_near_option_is_kept() -> None:
    box = "╭─ Error ─╮\n│ Unrecognized options: --rwos │\n│ ──────── │\n│ Perhaps you meant: │\n│ --rows INT │\n╰───╯\n"
    assert complaint_line(box) == "Unrecognized options: --rwos. Did you mean --rows?"


def commands(called: list[list[str]]) -> dict[str, tuple]:
    def cast_on(argv: Sequence[str]) -> int:
        called.append(list(argv))
        return 7

    return {"cast-on": (cast_on, "begin"), "purl": (cast_on, "go on")}


def test_subcommand_gets_the_arguments_after_its_name() -> None:
    called: list[list[str]] = []
    assert run_subcommand("agps knit", "Knit.", commands(called), ["purl", "--rows", "3"]) == 7
    assert called == [["--rows", "3"]]


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["-h"], 0), (["--help"], 0)])
def test_group_without_a_subcommand_shows_the_list(
    argv: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[list[str]] = []
    assert run_subcommand("agps knit", "Knit.", commands(called), argv) == code
    page = capsys.readouterr().out
    assert "  cast-on  begin\n  purl     go on" in page and "Knit." in page and called == []


def test_unknown_subcommand_is_refused_with_all_that_there_are() -> None:
    with pytest.raises(UsageError, match="`agps knit` has no command 'pearl'; use one of cast-on, purl."):
        run_subcommand("agps knit", "Knit.", commands([]), ["pearl"])


def test_descriptions_of_commands_stand_below_each_other() -> None:
    lines = help_page("agps", "All.", {"a": "one", "longer": "two"}).splitlines()
    assert "  a       one" in lines and "  longer  two" in lines


def test_only_the_object_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with json_only_on_stdout(True) as show:
        sys.stdout.write("a library says something\n")
        show({"path": Path("a/b"), "n": 1})
        sys.stdout.write("and again\n")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"path": "a/b", "n": 1} and err.count("\n") == 2


def test_nothing_is_on_stdout_when_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), json_only_on_stdout(True) as show:
        show({"n": 1})
        raise ValueError("broken")
    assert capsys.readouterr().out == ""


def test_without_json_everything_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with json_only_on_stdout(False) as show:
        sys.stdout.write("a line\n")
        show({"n": 1})
    assert capsys.readouterr().out == "a line\n"


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "? 0.3"), ("latin-1", "? 0.3"), ("utf-8", "λ 0.3")])
def test_letter_that_a_stream_lacks_is_a_question_mark(encoding: str, shown: str) -> None:
    for forgiving in (False, True):
        seen = io.BytesIO()
        stream = io.TextIOWrapper(seen, encoding=encoding, write_through=True)
        if forgiving:
            assert Forgiving(stream).write("λ 0.3") == 5
        else:
            replace_what_cannot_be_shown(stream)
            stream.write("λ 0.3")
        assert seen.getvalue().decode(encoding) == shown


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.EIO, "gone"), ValueError("closed")])
def test_watcher_that_is_gone_ends_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stderr", Gone())
    say("Nobody hears this.")
    stream = Forgiving(Gone())
    assert stream.write("Nobody sees this.") == 17
    stream.flush()


def test_command_without_arguments_has_no_empty_value():
    assert parse_options(Options, [], prog="agps nothing") == Options()
