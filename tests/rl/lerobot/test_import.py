import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl.demonstrations import load_demos, read_episode
from rl.envs import make_env
from rl.errors import ConfigError
from rl.lerobot import Dataset, export_dataset
from rl.lerobot.fitting import squared
from rl.lerobot.importing import called_otherwise, import_dataset, wanted_by
from rl.tasks import get_task
from tests.rl.lerobot.public import LENGTHS, SIDE, TOP, grey, make_public, rewarded
from tests.rl.lerobot.recordings import about, files_of, folder_of, recorded

NAMED = {"wrist_1": TOP, "wrist_2": "side"}
TASK = get_task("usb_insertion")
WRITTEN_BY_LEROBOT = Path(__file__).parent / "written_by_lerobot"


def bring_in(folder: Path, out: Path, *, named: dict[str, str] = NAMED, size: int = 64, success: bool = False) -> Any:
    wanted = wanted_by(TASK, image_size=size, renamed=named, last_frame_succeeds=success)
    return import_dataset(Dataset(folder), TASK, wanted, out)


def episodes_in(folder: Path) -> list[Any]:
    return [read_episode(path) for path in sorted(folder.glob("episode_*.npz"))]


def test_export_comes_back_as_it_was_but_for_the_colours(tmp_path):
    recordings = [recorded(5, number=3, guided=True), recorded(1, number=4, guided=True)]
    demos = folder_of(recordings, tmp_path / "demos")
    exported = export_dataset(files_of(demos), about(), tmp_path / "set")
    imported = bring_in(tmp_path / "set", tmp_path / "back", named={})
    assert (imported.count, imported.left_out) == (2, 0)
    back = load_demos(tmp_path / "back", env=make_env("usb_insertion", robot="fake"))
    for before, after in zip(recordings, back, strict=True):
        for key in before.keys() - {"wrist_1", "wrist_2"}:
            np.testing.assert_array_equal(after[key], before[key])
            assert after[key].dtype == before[key].dtype
        for camera in ("wrist_1", "wrist_2"):
            difference = np.abs(after[camera].astype(int) - before[camera])
            assert difference.max() <= exported.max_error and difference[-1].max() == 0


def test_who_acted_and_the_seeds_come_back_and_go_out_again(tmp_path):
    demos = folder_of([recorded(5, number=3, guided=True)], tmp_path / "demos")
    export_dataset(files_of(demos, actor="human", guide="agent"), about(), tmp_path / "set")
    bring_in(tmp_path / "set", tmp_path / "back", named={})
    export_dataset(files_of(tmp_path / "back", actor="unknown", guide="unknown"), about(), tmp_path / "again")
    first, again = (Dataset(tmp_path / name).column(0, "complementary_info.actor") for name in ("set", "again"))
    np.testing.assert_array_equal(first, again)
    manifest = json.loads((tmp_path / "back" / "demos.json").read_text())
    assert (manifest["seeds"], manifest["by"]) == ([103], "unknown")  # two acted


def test_folder_of_one_demonstrator_still_tells_who(tmp_path):
    export_dataset(files_of(folder_of([recorded(3)], tmp_path / "demos")), about(), tmp_path / "set")
    bring_in(tmp_path / "set", tmp_path / "back", named={})
    assert json.loads((tmp_path / "back" / "demos.json").read_text())["by"] == "expert"


@pytest.mark.parametrize("made", [True, False], ids=["by hand", "by LeRobot"])
def test_somebody_elses_dataset_becomes_demonstrations_frame_by_frame(tmp_path, made):
    folder = make_public(tmp_path / "set", **rewarded()) if made else WRITTEN_BY_LEROBOT
    imported = bring_in(folder, tmp_path / "demos")
    assert (imported.count, imported.left_out) == (2, 1)  # the second episode fails
    first, third = load_demos(tmp_path / "demos", env=make_env("usb_insertion", robot="fake"))
    for number, episode in ((0, first), (2, third)):
        steps = LENGTHS[number]
        for camera, key in (("wrist_1", TOP), ("wrist_2", SIDE)):
            seen = episode[camera].mean(axis=(1, 2, 3))
            expected = [grey(number, min(n, steps - 1), key) for n in range(steps + 1)]
            np.testing.assert_allclose(seen, expected, atol=2)  # the white beside the middle square is cut away
        np.testing.assert_array_equal(episode["state"][-1], episode["state"][-2])
        assert list(episode["terminated"]) == [False] * (steps - 1) + [True]
        assert episode["reward"].tolist() == [0.0] * (steps - 1) + [1.0]


def test_images_within_the_rows_are_read_too(tmp_path):
    folder = make_public(tmp_path / "set", dtype="image", **rewarded())
    bring_in(folder, tmp_path / "demos", size=128)
    episode = episodes_in(tmp_path / "demos")[0]
    assert episode["wrist_1"].shape == (LENGTHS[0] + 1, 128, 128, 3)
    assert episode["wrist_2"][2].tolist() == np.full((128, 128, 3), grey(0, 2, SIDE)).tolist()


def test_dataset_that_knows_no_success_needs_somebody_who_does(tmp_path):
    folder = make_public(tmp_path / "set")
    with pytest.raises(ConfigError, match=r"neither next\.reward nor next\.success.*add --success last-frame"):
        bring_in(folder, tmp_path / "demos")
    assert bring_in(folder, tmp_path / "demos", success=True).count == 3
    assert [episode["reward"].sum() for episode in episodes_in(tmp_path / "demos")] == [1.0, 1.0, 1.0]


def test_episode_ends_with_its_first_success_and_keeps_the_frame_after_it(tmp_path):
    succeeded = [[False, True, True, True], [False] * 6, [False, False, True]]
    described = {"next.success": {"dtype": "bool", "shape": [1], "names": None}}
    folder = make_public(tmp_path / "set", columns={"next.success": succeeded}, features=described)
    bring_in(folder, tmp_path / "demos")
    first, third = episodes_in(tmp_path / "demos")
    assert (len(first["action"]), len(third["action"])) == (2, 3)
    np.testing.assert_allclose(first["wrist_1"][-1].mean(), grey(0, 2, TOP), atol=2)
    assert first["terminated"].tolist() == [False, True]


def test_none_that_succeeded_is_an_error_and_leaves_nothing(tmp_path):
    what = rewarded()
    what["columns"]["next.reward"] = [[0.0] * length for length in LENGTHS]
    folder = make_public(tmp_path / "set", **what)
    with pytest.raises(ConfigError, match="None of the 3 episodes of .*set succeeded"):
        bring_in(folder, tmp_path / "demos")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("changes", "named", "words"),
    [
        (
            {},
            {},
            "has observation.images.top 480x640 and observation.images.side 480x640; "
            "usb_insertion wants wrist_1 and wrist_2 of 64x64, in three channels.",
        ),
        (
            {},
            {"wrist_9": TOP},
            "--camera wrist_9=observation.images.top: usb_insertion has no camera wrist_9, but wris",
        ),
        ({}, {"wrist_1": "left"}, "has observation.images.top and observation.images.side."),
        ({}, {"wrist_1": TOP, "wrist_2": "action"}, "usb_insertion wants wrist_1 and wrist_2 of 64x64"),
        ({"state": 6}, NAMED, "has observation.state of 6 numbers of type float32; usb_insertion wants 19 numbers"),
        ({"action": 2}, NAMED, "action of 2 numbers of type float32 (joint_0.pos, joint_1.pos); usb_insertion wants 6"),
        ({"fps": 30}, NAMED, "has 30 frames per second; usb_insertion acts 10 times per second"),
        ({"version": "v2.1"}, NAMED, "is a LeRobotDataset v2.1, and v3.0 is read here; convert it with LeRobot's"),
        ({"version": "v4.0"}, NAMED, "is a LeRobotDataset of version v4.0; v3.0 is read here"),
    ],
)
def test_dataset_that_does_not_fit_is_refused_with_both_sides(tmp_path, changes, named, words):
    folder = make_public(tmp_path / "set", **rewarded() | changes)
    with pytest.raises(ConfigError, match=re.escape(words)):
        bring_in(folder, tmp_path / "demos", named=named)
    assert not (tmp_path / "demos").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "meta/info.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "meta/info.json").unlink(), "is no LeRobotDataset: it has no meta/info.json"),
        (lambda folder: rewrite(folder / "meta/info.json", {"features": []}), "has no features"),
        (lambda folder: rewrite(folder / "meta/info.json", {"fps": 0}), "says fps is 0; it must be more than 0"),
        (lambda folder: rewrite(folder / "meta/info.json", {"data_path": "data/{episode}"}), "cannot be filled in"),
        (lambda folder: cut(folder / "data/chunk-000/file-000.parquet"), "file-000.parquet is damaged"),
        (lambda folder: (folder / "data/chunk-000/file-000.parquet").unlink(), "There is no .*file-000.parquet"),
        (lambda folder: cut(folder / "meta/episodes/chunk-000/file-000.parquet"), "file-000.parquet is damaged"),
        (lambda folder: (folder / "meta/episodes/chunk-000/file-000.parquet").unlink(), "There is nothing in"),
        (lambda folder: cut(folder / f"videos/{TOP}/chunk-000/file-000.mp4"), "is no video|is damaged|it is cut"),
        (lambda folder: (folder / f"videos/{SIDE}/chunk-000/file-000.mp4").unlink(), "There is no video"),
    ],
)
def test_damaged_dataset_is_refused_by_its_file(tmp_path, break_it, words):
    folder = make_public(tmp_path / "set", **rewarded())
    break_it(folder)
    with pytest.raises(ConfigError, match=words):
        bring_in(folder, tmp_path / "demos")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_folder_that_is_not_there_says_how_to_get_it(tmp_path):
    with pytest.raises(ConfigError, match="hf download USER/NAME --repo-type dataset --local-dir lerobot/nothing"):
        Dataset(Path("lerobot/nothing"))


def test_rows_that_are_missing_are_counted(tmp_path):
    import pyarrow.parquet as pq

    folder = make_public(tmp_path / "set", **rewarded())
    path = folder / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ConfigError, match="has 3 rows of episode 0 of .*set, not one for each of its 4 frames"):
        bring_in(folder, tmp_path / "demos")


def test_values_that_poison_learning_are_refused_by_episode_and_key(tmp_path):
    what = rewarded()
    what["columns"]["next.reward"][2] = [0.0, float("nan"), 1.0]
    with pytest.raises(ConfigError, match=r"reward\[1\] of episode 2 of .*set is nan"):
        bring_in(make_public(tmp_path / "set", **what), tmp_path / "demos")


def test_names_that_are_not_ours_are_told(tmp_path):
    public = Dataset(make_public(tmp_path / "public", action=2))
    assert called_otherwise(public, TASK) == [("observation.state", ()), ("action", ("joint_0.pos", "joint_1.pos"))]
    export_dataset(files_of(folder_of([recorded(2)], tmp_path / "demos")), about(), tmp_path / "set")
    assert called_otherwise(Dataset(tmp_path / "set"), TASK) == []


def test_export_that_was_changed_since_gives_its_last_frames(tmp_path, caplog):
    demos = folder_of([recorded(5), recorded(4, number=1)], tmp_path / "demos")
    export_dataset(files_of(demos), about(), tmp_path / "set")
    beside = dict(np.load(tmp_path / "set/agps/episodes.npz"))
    np.savez(tmp_path / "set/agps/episodes.npz", **{key: array[:1] for key, array in beside.items()})
    bring_in(tmp_path / "set", tmp_path / "back", named={})
    assert "is of other episodes than the dataset" in caplog.text
    episode = episodes_in(tmp_path / "back")[0]
    np.testing.assert_array_equal(episode["wrist_1"][-1], episode["wrist_1"][-2])
    assert "seed" not in episode


def test_middle_square_is_resized_by_area():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = np.arange(16).reshape(4, 4, 1) * 4
    # Each pixel is the mean of four: (0 + 4 + 16 + 20) / 4 = 10, and so on.
    assert squared(image, 2)[..., 0].tolist() == [[10, 18], [42, 50]]
