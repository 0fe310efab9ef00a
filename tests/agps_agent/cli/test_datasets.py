"""`agps demos export` and `agps demos import` as they are typed; and what the other `agps demos` refuse."""

import json
from pathlib import Path

import numpy as np
import pytest

from agps_agent.cli.main import main
from tests.rl.lerobot.public import SIDE, TOP, make_public, rewarded
from tests.rl.lerobot.reader import Reader
from tests.rl.lerobot.recordings import folder_of, recorded

IMPORT = ["demos", "import", "set", "--task", "usb_insertion", "--out", "back"]


@pytest.fixture
def demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return folder_of([recorded(4), recorded(6, number=1)], Path("demos/usb_insertion"))


def said(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(argv) == code
    out, err = capsys.readouterr()
    return out if code == 0 else err


def test_export_tells_what_was_written_and_what_video_did_to_it(
    demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(["demos", "export", "usb_insertion", "--format", "lerobot", "--out", "set"], 0, capsys)
    assert "2 episodes of usb_insertion (2 successes, 10 frames) in set, LeRobotDataset v3.0." in out
    assert "wrist_1: h264 video changes colours by" in out and "wrist_2: h264 video" in out
    reader = Reader(Path("set"))
    assert set(reader.episode(1).rows["complementary_info.actor"]) == {3}  # the expert
    assert reader.info["agps"]["config"]["translation_scale_m"] == 0.01
    assert reader.info["features"]["action"]["info"]["units"][:1] == ["0.01 m"]


@pytest.mark.parametrize("command", ["list", "export"])
def test_package_of_the_tasks_name_is_no_folder_of_demonstrations(
    command: str, demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("usb_insertion").mkdir()  # as agps new-task makes one
    more = ["--out", "set"] if command == "export" else []
    told = json.loads(said(["demos", command, "usb_insertion", *more, "--json"], 0, capsys))
    assert told.get("count", told.get("episodes")) == 2


def test_folder_of_the_tasks_name_with_demonstrations_is_meant(demos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_of([recorded(4)], Path("usb_insertion"))
    assert json.loads(said(["demos", "list", "usb_insertion", "--json"], 0, capsys))["count"] == 1


def test_export_and_import_say_the_same_to_a_program(demos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(said(["demos", "export", str(demos), "--out", "set", "--json"], 0, capsys))
    assert (told["episodes"], told["frames"], told["folder"]) == (2, 10, "set")
    assert 0 < told["colour_error"]["wrist_1"]["mean"] < told["colour_error"]["wrist_1"]["max"] <= 255
    told = json.loads(said([*IMPORT, "--json"], 0, capsys))
    assert told == {"folder": "back", "task": "usb_insertion", "count": 2, "left_out": 0}
    assert json.loads(said(["demos", "list", "back", "--json"], 0, capsys))["count"] == 2


def test_import_of_somebody_elses_dataset_tells_what_it_took_on_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_public(Path("set"), **rewarded())
    assert main([*IMPORT, "--camera", f"wrist_1={TOP}", "--camera", f"wrist_2={SIDE}"]) == 0
    out, err = capsys.readouterr()
    assert "2 demonstrations of usb_insertion in back; 1 episode did not succeed and was left out." in out
    assert "agps train usb_insertion --demos-dir back" in out
    assert "set calls action joint_0.pos, joint_1.pos" in err and "set does not say what observation.state is" in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["demos", "export", "usb_insertion"], "--out"),
        (["demos", "export", "nowhere", "--out", "x"], "nowhere is neither a folder of demonstrations"),
        (["demos", "export", "usb_insertion", "--out", "demos"], "demos already exists; name another folder"),
        (
            ["demos", "export", "usb_insertion", "--out", "x", "--format", "rlds"],
            "invalid choice 'rlds' for argument '--format'",
        ),
        (["demos", "import", "nowhere", "--task", "usb_insertion", "--out", "x"], "There is no folder nowhere"),
        (["demos", "import", "demos", "--task", "usb_insertion", "--out", "x"], "demos is no LeRobotDataset"),
        (["demos", "import", "demos", "--task", "knitting", "--out", "x"], "There is no task 'knitting'"),
        ([*IMPORT, "--camera", "wrist_1"], "--camera is 'wrist_1'; write CAMERA=KEY"),
        ([*IMPORT, "--camera", "wrist_1=a", "--camera", "wrist_1=b"], "--camera names wrist_1 twice: a and b"),
        ([*IMPORT, "--success", "always"], "--success"),
    ],
)
def test_wrong_command_line_is_one_sentence(
    argv: list[str], words: str, demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = said(argv, 2, capsys)
    assert words in err and err.startswith("agps: ") and err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["demos"]


@pytest.mark.parametrize("command", [["list", "usb_insertion"], ["show", "usb_insertion"]])
@pytest.mark.parametrize(
    ("key", "wrong", "words"),
    [
        ("action", np.full((6, 6), np.nan, np.float32), "action[0, 0] of demos/usb_insertion/episode_001.npz is nan"),
        ("action", np.full((6, 6), 1.5, np.float32), "episode_001.npz is 1.5, outside [-1, 1]"),
        ("reward", np.array(["a"] * 6), "'reward' of demos/usb_insertion/episode_001.npz is of type <U1, not float"),
        ("wrist_2", np.zeros((7, 32, 32, 3), np.uint8), "'wrist_2' of demos/usb_insertion/episode_001.npz has shape"),
    ],
)
def test_unsound_demonstrations_are_not_listed_or_drawn_as_if_they_were(
    command: list[str], key: str, wrong: np.ndarray, words: str, demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = demos / "episode_001.npz"
    np.savez(path, **{**dict(np.load(path)), key: wrong})
    err = said(["demos", *command], 2, capsys)
    assert words in err and err.count("\n") == 1
    assert not list(demos.glob("*.png"))
