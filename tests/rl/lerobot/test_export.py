import json
import sys
from pathlib import Path

import numpy as np
import pytest

from rl.errors import AgpsError, ConfigError
from rl.lerobot import export_dataset
from rl.lerobot.layout import Limits
from tests.rl.lerobot.reader import Reader
from tests.rl.lerobot.recordings import INSTRUCTION, about, files_of, folder_of, recorded

LENGTHS = (5, 1, 8)


@pytest.fixture
def episodes() -> list[dict[str, np.ndarray]]:
    return [recorded(steps, number=number) for number, steps in enumerate(LENGTHS)]


@pytest.fixture
def demos(episodes: list[dict[str, np.ndarray]], tmp_path: Path) -> Path:
    return folder_of(episodes, tmp_path / "demos")


def column(rows, key: str) -> np.ndarray:
    return np.stack(rows[key].to_list())


def check_equal(reader: Reader, episodes: list[dict[str, np.ndarray]], largest: int) -> int:
    """Hold every number and frame against what was recorded; return the sum of the images' differences."""
    total = 0
    for number, episode in enumerate(episodes):
        read = reader.episode(number)
        np.testing.assert_array_equal(column(read.rows, "observation.state"), episode["state"][:-1])
        np.testing.assert_array_equal(column(read.rows, "action"), episode["action"])
        for key in ("reward", "truncated"):
            np.testing.assert_array_equal(read.rows[f"next.{key}"], episode[key])
        for key in ("done", "success"):
            np.testing.assert_array_equal(read.rows[f"next.{key}"], episode["terminated"])
        np.testing.assert_array_equal(read.rows["frame_index"], np.arange(len(episode["action"])))
        for camera in ("wrist_1", "wrist_2"):
            decoded = read.images[f"observation.images.{camera}"].astype(int)
            difference = np.abs(decoded - episode[camera][:-1])
            assert difference.max() <= largest
            total += difference.sum()
    return total


def test_independent_reader_finds_every_number_exactly_and_every_frame_within_the_stated_error(demos, episodes):
    exported = export_dataset(files_of(demos), about(), demos.parent / "set")
    reader = Reader(demos.parent / "set")
    total = check_equal(reader, episodes, exported.max_error)
    pixels = 2 * sum(LENGTHS) * 64 * 64 * 3
    np.testing.assert_allclose(total / pixels, exported.mean_error, rtol=1e-9)
    assert (exported.episodes, exported.successes, exported.frames) == (3, 3, 14)


def test_frames_keep_their_places_when_neighbours_are_as_unlike_as_can_be(tmp_path):
    episode = recorded(40)
    for camera in ("wrist_1", "wrist_2"):
        episode[camera][:] = np.where(np.arange(41) % 3 == 0, 255, 0)[:, None, None, None]
    export_dataset(files_of(folder_of([episode, episode], tmp_path / "demos")), about(), tmp_path / "set")
    for number in (0, 1):
        images = Reader(tmp_path / "set").episode(number).images["observation.images.wrist_2"]
        np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), episode["wrist_2"][:-1, 0, 0, 0], atol=2)


def test_info_tells_names_units_frames_and_totals(demos):
    export_dataset(files_of(demos), about(), demos.parent / "set")
    info = Reader(demos.parent / "set").info
    state, action = info["features"]["observation.state"], info["features"]["action"]
    assert (state["dtype"], state["shape"], state["names"][0]) == ("float32", [19], "tcp_position_x")
    assert (action["names"][5], action["info"]["units"][5]) == ("rotation_vector_z", "0.06 rad")
    assert action["info"]["frames"][0] == "base axes, added to the reference pose"
    camera = info["features"]["observation.images.wrist_1"]
    assert (camera["dtype"], camera["shape"], camera["info"]["video.pix_fmt"]) == ("video", [64, 64, 3], "yuv420p")
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 10, "sim")
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 14, 1)
    assert info["splits"] == {"train": "0:3"}


def test_card_tells_the_colour_error_and_what_each_number_is(demos):
    exported = export_dataset(files_of(demos), about(), demos.parent / "set")
    card = (demos.parent / "set" / "README.md").read_text()
    error = exported.colour_error["wrist_1"]
    assert f"| `observation.images.wrist_1` | 64 x 64 | {error.mean:.2f} | {error.max} |" in card
    assert "| 0 | translation_x | 0.01 m | base axes, added to the reference pose |" in card


def test_task_is_found_by_its_sentence_as_lerobot_looks_it_up(demos):
    export_dataset(files_of(demos), about(), demos.parent / "set")
    reader = Reader(demos.parent / "set")
    assert reader.tasks.index.name == "task"
    assert int(reader.tasks.loc[INSTRUCTION].task_index) == 0
    assert reader.episode(2).tasks == [INSTRUCTION]


def test_statistics_are_those_of_all_rows_and_of_each_episode(demos, episodes):
    export_dataset(files_of(demos), about(), demos.parent / "set")
    reader = Reader(demos.parent / "set")
    actions = np.concatenate([episode["action"] for episode in episodes]).astype(float)
    np.testing.assert_allclose(reader.stats["action"]["mean"], actions.mean(0), atol=1e-12)
    np.testing.assert_allclose(reader.stats["action"]["q90"], np.quantile(actions, 0.9, axis=0), atol=1e-12)
    assert reader.stats["action"]["count"] == [14]
    images = np.concatenate([episode["wrist_1"][:-1] for episode in episodes]) / 255.0
    of_images = reader.stats["observation.images.wrist_1"]
    np.testing.assert_allclose(np.ravel(of_images["mean"]), images.mean(axis=(0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(np.ravel(of_images["std"]), images.std(axis=(0, 1, 2)), atol=1e-9)
    assert np.shape(of_images["max"]) == (3, 1, 1)
    row = reader.episodes.loc[2]
    np.testing.assert_array_equal(row["stats/action/max"], episodes[2]["action"].max(0))


def test_full_files_are_followed_by_others_and_full_chunks_too(demos, episodes):
    limits = Limits(chunks_size=2, data_mb=0, video_mb=0)
    exported = export_dataset(files_of(demos), about(), demos.parent / "set", limits=limits)
    reader = Reader(demos.parent / "set")
    check_equal(reader, episodes, exported.max_error)
    assert list(reader.episodes["data/chunk_index"]) == [0, 0, 1]
    assert list(reader.episodes["videos/observation.images.wrist_2/file_index"]) == [0, 1, 0]


def test_rows_tell_who_acted(tmp_path):
    episode = recorded(8, guided=True)
    demos = folder_of([episode, recorded(3)], tmp_path / "demos")
    export_dataset(files_of(demos, actor="policy", guide="agent"), about(), tmp_path / "set")
    rows = Reader(tmp_path / "set").episode(0).rows
    np.testing.assert_array_equal(rows["complementary_info.is_intervention"], episode["guided"])
    np.testing.assert_array_equal(rows["complementary_info.actor"], episode["guided"])  # 0 is the policy, 1 the agent
    assert set(Reader(tmp_path / "set").episode(1).rows["complementary_info.actor"]) == {0}


@pytest.mark.parametrize(
    ("key", "alter", "words"),
    [
        ("action", lambda a: 2.0 * np.ones_like(a), r"action\[0, 0\] of .*episode_001\.npz is 2, outside \[-1, 1\]"),
        ("state", lambda a: a * np.nan, r"state\[0, 0\] of .*episode_001\.npz is nan"),
        ("wrist_1", lambda a: a / 255.0, r"'wrist_1' of .*episode_001\.npz is of type float64"),
        (
            "wrist_2",
            lambda a: a[:, :32],
            r"'wrist_2' of .*episode_001\.npz has shape \(2, 32, 64, 3\), not \(2, 64, 64",
        ),
        ("actor", lambda a: np.array([7]), r"'actor' of .*episode_001\.npz must be 1 whole numbers from 0 to 4"),
    ],
)
def test_unsound_episode_is_refused_by_file_and_key_and_nothing_is_left(tmp_path, episodes, key, alter, words):
    episodes[1][key] = alter(episodes[1].get(key))
    demos = folder_of(episodes, tmp_path / "demos")
    with pytest.raises(ConfigError, match=words):
        export_dataset(files_of(demos), about(), tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["demos"]


def test_images_that_video_cannot_hold_are_refused(tmp_path):
    episode = {**recorded(3), "wrist_1": np.zeros((4, 63, 64, 3), np.uint8)}
    with pytest.raises(ConfigError, match=r"'wrist_1' of .* has images of shape \(63, 64, 3\); yuv420p videos hold"):
        export_dataset(files_of(folder_of([episode], tmp_path / "demos")), about(), tmp_path / "set")


def test_folder_in_use_is_refused_and_stays(demos):
    before = json.loads((demos / "demos.json").read_text())
    with pytest.raises(ConfigError, match="already exists; name another folder for the dataset"):
        export_dataset(files_of(demos), about(), demos)
    assert json.loads((demos / "demos.json").read_text()) == before


def test_full_disk_leaves_no_half_of_a_dataset(demos, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", refuse)
    with pytest.raises(AgpsError, match="Cannot save .*set: No space left on device; make room"):
        export_dataset(files_of(demos), about(), demos.parent / "set")
    assert [path.name for path in demos.parent.iterdir()] == ["demos"]


@pytest.mark.parametrize("package", ["av", "pyarrow"])
def test_missing_package_is_named_with_what_installs_it(demos, package, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package} is not installed; run `pip install 'agps\[lerobot\]'`"):
        export_dataset(files_of(demos), about(), demos.parent / "set")
