import json

import numpy as np
import pytest

from rl.envs import make_env
from rl.errors import ConfigError
from rl.rewards.classifier.collecting import collect_episodes
from rl.rewards.classifier.frames import FrameFolder, assign_splits, load_frames
from tests.rl.rewards.classifier.folders import keep_frames


@pytest.fixture(scope="module")
def env():
    return make_env("usb_insertion", robot="fake", image_size=32)


@pytest.fixture(scope="module")
def episodes(env):
    return list(collect_episodes(env, positive=30, negative=90, seed=3))


@pytest.fixture
def folder(env, episodes, tmp_path):
    keep_frames(tmp_path / "frames", episodes, env=env, seed=0)
    return tmp_path / "frames"


def test_asked_numbers_of_frames_are_collected(episodes):
    assert sum(e.success.sum() for e in episodes) == 30
    assert sum((~e.success).sum() for e in episodes) == 90


def test_same_seed_collects_the_same_frames(env, episodes):
    for first, second in zip(episodes, collect_episodes(env, positive=30, negative=90, seed=3), strict=True):
        np.testing.assert_array_equal(first.state, second.state)
        assert list(first.source) == list(second.source)


def test_successes_are_seen_from_many_poses_and_undone(episodes):
    shown = [e for e in episodes if e.success.any()]
    sources = set(np.concatenate([e.source for e in shown]))
    assert {"approach", "hold", "undo", "hesitate"} <= sources
    positions = np.concatenate([e.state[e.success, :3] for e in shown])
    assert len(np.unique(positions.round(4), axis=0)) > 20


def test_failures_come_from_every_kind_of_episode(episodes):
    sources = np.concatenate([e.source[~e.success] for e in episodes])
    assert {"miss", "random", "undo"} <= set(sources)


def test_no_episode_is_in_two_splits(folder):
    frames = load_frames([folder], task="usb_insertion")
    owner = {}
    for episode, split in zip(frames.episode, frames.split, strict=True):
        assert owner.setdefault(episode, split) == split
    seeds = [set(frames.of(split).seed) for split in ("train", "validation", "held_out")]
    assert not (seeds[0] & seeds[1] or seeds[0] & seeds[2] or seeds[1] & seeds[2])
    assert all(seeds)


def test_every_group_is_split_in_the_same_proportions(rng):
    groups = ["success"] * 40 + ["miss"] * 20 + ["random"] * 3
    splits = np.array(assign_splits(groups, held_out=0.25, validation=0.2, rng=rng))
    for start, end, out, check in ((0, 40, 10, 8), (40, 60, 5, 4), (60, 63, 1, 1)):
        assert (splits[start:end] == "held_out").sum() == out
        assert (splits[start:end] == "validation").sum() == check


def test_saved_frames_come_back_as_they_were(folder, episodes):
    frames = load_frames([folder], task="usb_insertion")
    np.testing.assert_array_equal(frames.success, np.concatenate([e.success for e in episodes]))
    np.testing.assert_array_equal(frames.images["wrist_1"], np.concatenate([e.images["wrist_1"] for e in episodes]))
    assert frames.cameras == ("wrist_1", "wrist_2") and frames.image_size == 32


def test_two_folders_are_joined(folder, env, episodes, tmp_path):
    keep_frames(tmp_path / "more", episodes[:4], env=env, seed=1)
    frames = load_frames([folder, tmp_path / "more"], task="usb_insertion")
    assert len(set(frames.episode)) == len(episodes) + 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"wrist_1": lambda a: (a / 255.0).astype(np.float32)}, "'wrist_1' of type float32, not uint8"),
        ({"success": lambda a: a.astype(np.int64)}, "'success' of type int64, not bool"),
        ({"state": lambda a: a * np.nan}, "'state' that is no finite number"),
    ],
)
def test_values_that_cannot_be_learned_from_are_refused_by_file_and_key(change, words, folder):
    path = folder / "episode_001.npz"
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, **{key: alter(arrays[key]) for key, alter in change.items()}})
    with pytest.raises(ConfigError, match=f"episode_001.npz holds.* {words}"):
        load_frames([folder], task="usb_insertion")


def test_missing_folder_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ConfigError, match="agps reward collect usb_insertion --out"):
        load_frames([tmp_path / "none"], task="usb_insertion")


def test_frames_of_another_task_are_refused(folder):
    with pytest.raises(ConfigError, match="are of task 'usb_insertion', not 'towel_folding'"):
        load_frames([folder], task="towel_folding")


def test_folders_of_other_image_sizes_are_not_mixed(folder, tmp_path):
    other = make_env("usb_insertion", robot="fake", image_size=64)
    keep_frames(tmp_path / "large", list(collect_episodes(other, positive=3, negative=3, seed=0)), env=other, seed=0)
    with pytest.raises(ConfigError, match="image_size 64.*has 32"):
        load_frames([folder, tmp_path / "large"], task="usb_insertion")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "episode_001.npz").unlink(), "names"),
        (lambda folder: (folder / "episode_001.npz").write_bytes(b"half"), "episode_001.npz is damaged"),
        (lambda folder: np.savez(folder / "episode_001.npz", state=np.zeros(3)), "lacks wrist_1"),
        (lambda folder: (folder / "frames.json").write_text("{"), "Cannot read"),
        (lambda folder: (folder / "frames.json").write_text(json.dumps({"task": "usb_insertion"})), "lacks some of"),
    ],
)
def test_damaged_folder_is_refused_in_one_sentence(change, words, folder):
    change(folder)
    with pytest.raises(ConfigError, match=words):
        load_frames([folder], task="usb_insertion")


def test_a_folder_that_is_in_use_is_not_written_to(env, folder):
    with pytest.raises(ConfigError, match="already exists"):
        FrameFolder(folder, env=env, seed=0)


def test_frames_that_a_crash_left_uncounted_cost_only_themselves(env, episodes, tmp_path):
    grown = FrameFolder(tmp_path / "grown", env=env, seed=0)
    for episode in episodes[:-1]:
        grown.keep(episode)
    manifest = (tmp_path / "grown" / "frames.json").read_text()
    before = load_frames([tmp_path / "grown"], task="usb_insertion").digest()
    grown.keep(episodes[-1])
    (tmp_path / "grown" / "frames.json").write_text(manifest)
    assert load_frames([tmp_path / "grown"], task="usb_insertion").digest() == before
