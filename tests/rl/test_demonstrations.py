import json
import logging

import numpy as np
import pytest

from rl.demonstrations import (
    DemoFolder,
    demonstrate,
    load_demos,
    mistaken,
    record_demos,
    record_miss,
    recorded_count,
    save_demos,
)
from rl.envs import make_env
from rl.errors import AgpsError, ConfigError


@pytest.fixture
def env():
    return make_env("usb_insertion", robot="fake")


@pytest.fixture
def episodes(env):
    return record_demos(env, n=3, seed=7)


def test_recorded_episodes_succeed_and_hold_one_more_observation_than_actions(episodes):
    for episode in episodes:
        steps = len(episode["action"])
        assert episode["wrist_1"].shape == (steps + 1, 64, 64, 3)
        assert episode["state"].shape == (steps + 1, 19)
        assert episode["action"].dtype == np.float32
        assert list(episode["terminated"]) == [False] * (steps - 1) + [True]
        assert episode["reward"].sum() == 1.0
        assert not episode["truncated"].any()


def test_same_seed_records_the_same_demonstrations(env, episodes):
    for first, second in zip(episodes, record_demos(env, n=3, seed=7), strict=True):
        np.testing.assert_array_equal(first["state"], second["state"])


def test_failures_are_left_out_and_counted(env, caplog):
    calls = iter(range(10_000))
    from rl.tasks.expert import make_expert

    skilled = make_expert(env.task)

    def clumsy(observation, truth):
        return skilled(observation, truth) if next(calls) >= env.task.horizon else np.zeros(6, np.float32)

    with caplog.at_level(logging.INFO):
        episodes = record_demos(env, clumsy, n=2, seed=0)
    assert [int(episode["seed"]) for episode in episodes] == [1, 2]
    assert "1 attempts failed" in caplog.text


def test_mistaken_expert_takes_the_named_points_to_lie_beside_where_they_are():
    seen = []
    expert = mistaken(lambda observation, truth: seen.append(truth), ["port"], angle_rad=np.pi / 2, distance_m=0.02)
    expert(None, {"port": np.array([0.5, 0.1, 0.0]), "plug_tip": np.zeros(3)})
    np.testing.assert_allclose(seen[0]["port"], [0.5, 0.12, 0.0], atol=1e-12)
    np.testing.assert_array_equal(seen[0]["plug_tip"], np.zeros(3))


def test_miss_goes_wrong_and_is_the_same_for_the_same_seed(env):
    first, again = (record_miss(env, env.task.landmarks, seed=4) for _ in range(2))
    assert first["reward"].sum() == 0.0
    np.testing.assert_array_equal(first["wrist_1"], again["wrist_1"])


def test_expert_that_never_succeeds_is_an_error(env):
    with pytest.raises(ConfigError, match="succeeded in 0 of 12"):
        record_demos(env, lambda observation, truth: np.zeros(6, np.float32), n=1, seed=0)


def test_saved_demonstrations_come_back_as_they_were(env, episodes, tmp_path):
    folder = tmp_path / "run" / "demos"
    save_demos(folder, episodes, env=env, seed=7)
    for saved, loaded in zip(episodes, load_demos(folder, env=env), strict=True):
        for key in saved:
            np.testing.assert_array_equal(saved[key], loaded[key])
    manifest = json.loads((folder / "demos.json").read_text())
    assert (manifest["task"], manifest["count"], manifest["seeds"]) == ("usb_insertion", 3, [7, 8, 9])
    assert manifest["config"]["clearance_m"] == 0.0003


def test_full_disk_leaves_nothing_behind_and_says_so(env, episodes, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", refuse)
    with pytest.raises(AgpsError, match="demos: No space left on device; make room"):
        save_demos(tmp_path / "demos", episodes, env=env, seed=7)
    assert list(tmp_path.iterdir()) == []


def test_folder_in_use_is_refused(env, episodes, tmp_path):
    save_demos(tmp_path / "demos", episodes, env=env, seed=7)
    with pytest.raises(ConfigError, match="already exists"):
        save_demos(tmp_path / "demos", episodes, env=env, seed=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "knot_hanging"}, "are of task 'knot_hanging', not 'usb_insertion'"),
        ({"image_size": 128}, "are of image_size 128, not 64"),
        ({"count": 9}, "has 3 episodes, its demos.json says 9"),
    ],
)
def test_demonstrations_of_something_else_are_refused(env, episodes, tmp_path, change, message):
    folder = tmp_path / "demos"
    save_demos(folder, episodes, env=env, seed=7)
    manifest = json.loads((folder / "demos.json").read_text())
    (folder / "demos.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ConfigError, match=message):
        load_demos(folder, env=env)


def test_damaged_episode_is_named(env, episodes, tmp_path):
    folder = tmp_path / "demos"
    save_demos(folder, episodes, env=env, seed=7)
    path = folder / "episode_001.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ConfigError, match=r"episode_001\.npz is damaged"):
        load_demos(folder, env=env)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"action": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 8, np.nan, a)},
            r"action\[1, 2\] of .* is nan",
        ),
        ({"state": lambda a: a + np.inf}, r"state\[0, 0\] of .* is inf"),
        ({"reward": lambda a: a - np.inf}, r"reward\[0\] of .* is -inf"),
        ({"action": lambda a: 5.0 * np.sign(a + 0.1)}, r"action\[0, 0\] of .* outside \[-1, 1\]"),
        ({"wrist_1": lambda a: (a / 255.0).astype(np.float32)}, "'wrist_1' of .* is of type float32, not uint8"),
        ({"wrist_2": lambda a: a[:, :32]}, "'wrist_2' of .* has shape"),
        (
            dict.fromkeys(["wrist_1", "wrist_2", "state"], lambda a: a[:1])
            | dict.fromkeys(["action", "reward", "terminated", "truncated"], lambda a: a[:0]),
            "no steps in .*",
        ),
    ],
)
def test_demonstrations_with_values_that_poison_learning_are_refused_by_file_and_key(
    env, episodes, tmp_path, change, message
):
    folder = tmp_path / "demos"
    wrong = {**episodes[1], **{key: alter(episodes[1][key]) for key, alter in change.items()}}
    save_demos(folder, [episodes[0], wrong], env=env, seed=7)
    with pytest.raises(ConfigError, match=message.replace(".*", r".*episode_001\.npz.*")):
        load_demos(folder, env=env)


def test_missing_folder_says_how_to_record(env, tmp_path):
    with pytest.raises(ConfigError, match="agps demos record"):
        load_demos(tmp_path / "nothing", env=env)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_recording_that_goes_on_comes_to_the_same_as_one_in_one_go(env, episodes, tmp_path):
    whole, parts = DemoFolder(tmp_path / "whole", env=env, seed=7), DemoFolder(tmp_path / "parts", env=env, seed=7)
    for episode in demonstrate(env, n=3, seed=7):
        whole.keep(episode)
    for episode in demonstrate(env, n=2, seed=7):
        parts.keep(episode)
    parts = DemoFolder(tmp_path / "parts", env=env, seed=0, resume=True)
    assert (parts.count, parts.next_seed) == (2, 9)
    for episode in demonstrate(env, n=1, seed=parts.next_seed):
        parts.keep(episode)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    for loaded, episode in zip(load_demos(tmp_path / "whole", env=env), episodes, strict=True):
        np.testing.assert_array_equal(loaded["action"], episode["action"])


def test_what_is_told_of_demonstrations_is_in_the_manifest_and_stays_when_it_is_gone_on_with(env, episodes, tmp_path):
    kept = DemoFolder(tmp_path / "demos", env=env, seed=7)
    kept.tell("model_calls", 2)
    assert not (tmp_path / "demos").exists()
    kept.keep(episodes[0])
    kept.tell("model_calls", 3)
    assert json.loads((tmp_path / "demos" / "demos.json").read_text())["model_calls"] == 3
    kept = DemoFolder(tmp_path / "demos", env=env, seed=7, resume=True)
    kept.keep(episodes[1])
    assert kept.told("model_calls") == 3 and kept.told("nothing") is None
    manifest = json.loads((tmp_path / "demos" / "demos.json").read_text())
    assert (manifest["model_calls"], manifest["count"]) == (3, 2)


def test_episode_that_a_crash_left_uncounted_counts(env, episodes, tmp_path):
    kept = DemoFolder(tmp_path / "demos", env=env, seed=7)
    for episode in episodes[:2]:
        kept.keep(episode)
    manifest = (tmp_path / "demos" / "demos.json").read_text()
    kept.keep(episodes[2])
    (tmp_path / "demos" / "demos.json").write_text(manifest)
    (tmp_path / "demos" / ".episode_003.npz.4711").touch()
    assert recorded_count(tmp_path / "demos") == len(load_demos(tmp_path / "demos", env=env)) == 3
    assert DemoFolder(tmp_path / "demos", env=env, seed=7, resume=True).next_seed == 10


def test_folder_of_demonstrations_is_not_written_unless_it_is_gone_on_with(env, episodes, tmp_path):
    DemoFolder(tmp_path / "demos", env=env, seed=7).keep(episodes[0])
    with pytest.raises(ConfigError, match="already exists"):
        DemoFolder(tmp_path / "demos", env=env, seed=7)
    harder = make_env("usb_insertion", robot="fake", clearance_m=0.0001)
    with pytest.raises(ConfigError, match=r"made with clearance_m 0.0003, not 0.0001; go on with the same"):
        DemoFolder(tmp_path / "demos", env=harder, seed=7, resume=True)
    with pytest.raises(ConfigError, match=r"made with robot 'sim', not 'franka'"):
        DemoFolder(tmp_path / "demos", env=env, seed=7, robot="franka", resume=True)
    longer = make_env("usb_insertion", robot="fake", horizon=200)
    assert DemoFolder(tmp_path / "demos", env=longer, seed=7, resume=True).count == 1


def test_disk_that_fills_up_keeps_the_demonstrations_before(env, episodes, tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    kept = DemoFolder(tmp_path / "demos", env=env, seed=7)
    kept.keep(episodes[0])
    before = content(tmp_path / "demos")
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(AgpsError, match=r"episode_001.npz: No space left on device; make room"):
        kept.keep(episodes[1])
    assert content(tmp_path / "demos") == before and kept.count == 1


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (None, "There are no demonstrations in"),
        ("{", "Cannot read"),
        ("[]", "is not a JSON object"),
        ('{"count": 0}', "There are no demonstrations in"),
        ('{"count": 2}', "has 0 episodes, its demos.json says 2"),
        ('{"count": "two"}', "has 0 episodes, its demos.json says two"),
        ("{}", "has 0 episodes, its demos.json says None"),
    ],
)
def test_folder_that_cannot_be_read_is_not_a_folder_of_none(tmp_path, manifest, words):
    if manifest is not None:
        (tmp_path / "demos.json").write_text(manifest)
    with pytest.raises(ConfigError, match=words):
        recorded_count(tmp_path)


def test_scripted_expert_acts_only_where_somebody_knows_where_things_are():
    from rl.envs.robot import RobotEnv
    from rl.tasks import get_task
    from tests.rl.envs.robots import FailingBackend

    table = RobotEnv(get_task("usb_insertion"), FailingBackend(get_task("usb_insertion")), knows_truth=False)
    with pytest.raises(ConfigError, match="must know where things are, and a real table tells nobody"):
        record_demos(table, n=1, seed=0)
    assert table.robot_backend.log == []
