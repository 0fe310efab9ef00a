import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from agps_agent.cli.main import main
from agps_agent.cli.reward import EvalOptions
from rl.rewards.classifier import collecting
from rl.rewards.classifier.collecting import collect_episodes
from rl.rewards.classifier.frames import FrameEpisode
from rl.rewards.classifier.reward import CONSECUTIVE


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    assert main(argv) == 0
    return json.loads(capsys.readouterr().out)


def complaint(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_frames_become_a_classifier_and_a_page(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collected = said(["reward", "collect", "usb_insertion", "--positive", "30", "--negative", "120", "--json"], capsys)
    assert (collected["positive"], collected["negative"]) == (30, 120)
    quick = ["--width", "8", "--updates", "20", "--least-positives", "5"]
    fitted = said(["reward", "fit", "usb_insertion", *quick, "--json"], capsys)
    assert Path(fitted["file"]) == Path("runs/reward/usb_insertion/classifier.pt") and Path(fitted["file"]).is_file()
    scored = said(["reward", "eval", "usb_insertion", "--rollouts", "4", "--n", "3", "--json"], capsys)
    assert scored["digest"] == fitted["digest"]
    assert scored["true_positives"] + scored["false_negatives"] >= 5
    assert [verdict["n"] for verdict in scored["verdicts"]] == [1, 2, 3, 4, 5]
    assert all(verdict["rollouts"] == 4 for verdict in scored["verdicts"])
    page = Path(scored["page"]).read_text()
    assert "<script" not in page and "Mistakes" in page
    for name in ("reliability", "mistakes"):
        with Image.open(scored[name]) as picture:
            assert picture.width > 500


def test_existing_frames_are_not_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = here / "runs" / "reward" / "usb_insertion" / "frames"
    folder.mkdir(parents=True)
    (folder / "mine").write_text("")
    assert "name another --out" in complaint(["reward", "collect", "usb_insertion"], capsys)


def test_what_was_collected_before_ctrl_c_is_kept_and_can_be_fitted_to(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collect = ["reward", "collect", "usb_insertion", "--positive", "40", "--negative", "120"]

    def cut_off(*args: Any, **kwargs: Any) -> Iterator[FrameEpisode]:
        yield from itertools.islice(collect_episodes(*args, **kwargs), 12)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(collecting, "collect_episodes", cut_off)
        assert main([*collect, "--out", "part"]) == 1
    assert "kept in part. Record the rest with another --out and --seed" in capsys.readouterr().err
    assert len(list((here / "part").glob("episode_*.npz"))) == 12
    assert main([*collect, "--out", "rest", "--seed", "9"]) == 0
    quick = ["--width", "8", "--updates", "20", "--least-positives", "3", "--data", "part", "rest"]
    assert main(["reward", "fit", "usb_insertion", *quick]) == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["reward", "learn"], "use one of collect, fit, eval"),
        (["reward", "collect", "knitting"], "There is no task 'knitting'"),
        (["reward", "collect", "usb_insertion", "--positive", "0"], "--positive is 0"),
        (["reward", "collect", "usb_insertion", "--run", "nowhere"], "There is no run directory nowhere"),
        (["reward", "fit", "usb_insertion"], "There are no labelled frames"),
        (["reward", "fit", "usb_insertion", "--precision", "2"], "precision is 2.0"),
        (["reward", "fit", "usb_insertion", "--width", "4"], "width is 4; ask for a multiple of 8, e.g. 8:"),
        (["reward", "eval", "usb_insertion"], "There is no reward classifier"),
    ],
)
def test_bad_usage_is_one_line(argv: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in complaint(argv, capsys)
    assert list(here.iterdir()) == []


def test_scored_number_of_frames_in_a_row_is_the_one_that_training_asks_for() -> None:
    assert EvalOptions(task="usb_insertion").n == CONSECUTIVE
