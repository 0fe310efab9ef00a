"""`agps float`, `agps emulate` and `agps report`: what they refuse before anything is built."""

import json
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.cli.report import find_runs
from rl.errors import ConfigError
from tests.agps_agent.report.synthetic import make_run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["float"], ""),
        (["float", "watch"], "`agps float` has no command 'watch'; use one of fit, eval."),
        (["float", "fit", "knitting"], "There is no task 'knitting'"),
        (["float", "fit", "usb_insertion", "--n", "0"], "--n is 0; ask for at least 1."),
        (["float", "fit", "usb_insertion", "--seed", "-1"], "--seed is -1; ask for at least 0."),
        (["float", "eval", "usb_insertion", "--good", "0"], "--good is 0; ask for at least 1."),
        (["float", "eval", "usb_insertion", "--bad", "-2"], "--bad is -2; ask for at least 1."),
        (
            ["float", "eval", "usb_insertion"],
            "There is no detector runs/float/usb_insertion.npz; `agps float fit usb_insertion --out "
            "runs/float/usb_insertion.npz` makes one.",
        ),
        (["float", "eval", "usb_insertion", "--file", "mine.npz"], "There is no detector mine.npz"),
        (["emulate", "usb_insertion", "--image-size", "640"], "--image-size is '640'; write it as WIDTHxHEIGHT"),
        (["emulate", "usb_insertion", "--image-size", "-1x480"], "write it as WIDTHxHEIGHT"),
        (["emulate", "usb_insertion", "--fps", "0"], "--fps is 0; ask for at least 1."),
        (["emulate", "usb_insertion", "--port", "-5"], "--port is -5; ask for at least 0."),
        (["report", "."], "is not a run directory"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    argv: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert words in err and list(here.iterdir()) == []
    assert not words or (out == "" and err.count("\n") == 1)


def test_runs_are_found_at_a_path_or_right_below_it(here: Path) -> None:
    for name in ("b", "a"):
        make_run(here / "all" / name, episodes=3)
    assert [run.path.name for run in find_runs(here / "all")] == ["a", "b"]
    assert [run.path.name for run in find_runs(here / "all" / "b")] == ["b"]
    with pytest.raises(ConfigError, match="nowhere"):
        find_runs(here / "nowhere")


def test_run_that_is_named_twice_counts_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(here / "all" / "a", episodes=3)
    assert main(["report", str(run.path), "all", f"{run.path}/../a", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["runs"]) == 1 and told["table"] == []


def test_comparison_goes_where_it_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(make_run(here / folder / "run", episodes=3).path) for folder in ("a", "b")]
    assert main(["report", *runs, "--out", "mine/page.html"]) == 0
    assert capsys.readouterr().out == "mine/page.html\n"
    assert 'href="../a/run/report.html"' in (here / "mine" / "page.html").read_text()
