import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from rl import checkpoint
from rl.checkpoint import (
    MANIFEST,
    check_about,
    check_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    load_policy,
    recorded_episodes,
    save_checkpoint,
)
from rl.drq import DrQ, DrQConfig
from rl.errors import AgpsError, ConfigError
from rl.evaluation import CURVE_SEED
from rl.learner import OverlappedLearner, ThreadedLearner
from tests.rl.drq.reach import Reach, record

SMALL = DrQConfig(batch_size=16, learning_starts=10, hidden_size=32, channels=8, feature_size=8, buffer_capacity=60)


def make_model(config: DrQConfig = SMALL, demos: int = 3, seed: int = 0) -> DrQ:
    model = DrQ("MultiInputPolicy", Reach(), config=config, seed=seed, device="cpu")
    model.add_demonstrations(record(demos))
    return model


def everything(model: DrQ) -> torch.Tensor:
    adam = [value for state in model.critic_optimizer.state.values() for value in state.values()]
    parts = [*model.policy.parameters(), model.log_ent_coef, *adam]
    return torch.cat([part.detach().float().flatten() for part in parts])


@pytest.fixture
def trained() -> DrQ:
    return make_model().learn(70)  # the memory holds 60 observations: some were evicted


def test_resumed_run_makes_bit_equal_updates(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    resumed = make_model(demos=0, seed=7)
    load_checkpoint(tmp_path / "last", resumed)
    assert torch.equal(everything(resumed), everything(trained))
    for _ in range(3):
        batches = [model.sample(16) for model in (trained, resumed)]
        assert torch.equal(batches[0].next_patches, batches[1].next_patches)
        trained.train(1)
        resumed.train(1)
    assert torch.equal(everything(resumed), everything(trained))
    assert resumed.n_updates == trained.n_updates
    observation, _ = Reach().reset(seed=0)
    np.testing.assert_array_equal(resumed.act(observation), trained.act(observation))


class Saving(BaseCallback):
    """Saves the run after some step, and notes weights and updates some steps later, before the learner is called."""

    def __init__(self, path: Path, *, saved: int, noted: int) -> None:
        super().__init__()
        self.path, self.saved, self.noted = path, saved, noted
        self.weights, self.updates = torch.zeros(0), 0

    def _on_step(self) -> bool:
        assert isinstance(self.model, DrQ)
        if self.num_timesteps == self.saved:
            save_checkpoint(self.path, self.model, {})
        if self.num_timesteps == self.noted:
            self.weights, self.updates = everything(self.model), self.model.n_updates
        return self.num_timesteps < self.noted


@pytest.mark.parametrize("overlaps", [False, True], ids=["one-core", "overlapped"])
@pytest.mark.parametrize(("every", "saved"), [(1, 40), (2, 40), (3, 42), (2, 41), (3, 40)])
def test_run_that_was_saved_before_its_updates_makes_them_first(every: int, saved: int, overlaps: bool, tmp_path: Path):
    """A run is saved within a step, before the learner's call for it: what was due then is not lost."""
    models = [make_model(dataclasses.replace(SMALL, train_freq=every), seed=seed) for seed in (0, 7)]
    noted = saved + 1 if saved % every == 0 else saved + every
    first, again = (Saving(tmp_path / name, saved=saved, noted=noted) for name in ("last", "again"))
    if overlaps:
        for model in models:
            model.learner = OverlappedLearner(model)
    models[0].learn(100, callback=first)
    load_checkpoint(tmp_path / "last", models[1])
    saved_weights = everything(models[1])
    models[1].learn(100, callback=again, reset_num_timesteps=False)
    assert again.updates == first.updates
    assert not torch.equal(again.weights, saved_weights)
    if saved % every == 0:  # else an update has seen a step since, which is another one: the environment begins anew
        assert torch.equal(again.weights, first.weights)


@pytest.mark.parametrize(("seed", "expected"), [(0, 8_010_000), (2**32 - 1, 8_009_999)])
def test_resumed_run_begins_rollouts_where_no_evaluation_does(seed: int, expected: int, tmp_path: Path):
    """10,000 control steps after seed 0 it began them at the starts of the learning curve."""
    models = [make_model(seed=seed) for _ in range(2)]
    models[0].num_timesteps = CURVE_SEED
    save_checkpoint(tmp_path / "last", models[0], {})
    load_checkpoint(tmp_path / "last", models[1])
    env = models[1].env
    assert env is not None
    env.reset()
    again, other = (Reach(), Reach())
    again.reset(seed=expected)
    other.reset(seed=CURVE_SEED)
    told = env.get_attr("goal")[0].tolist()
    assert told == again.goal.tolist() and told != other.goal.tolist()


class Saved(BaseCallback):
    """Saves the Stable-Baselines3 file after step 40, before the learner is called for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def _on_step(self) -> bool:
        if self.num_timesteps == 40:
            self.model.save(self.path)
        return True


@pytest.mark.parametrize("threaded", [False, True])
def test_policy_that_was_saved_within_a_step_learns_on_from_new_experience_alone(threaded: bool, tmp_path: Path):
    """Its memory is not in the file, and what was due was to be learned from that."""
    model = make_model()
    model.learn(60, callback=Saved(tmp_path / "policy.zip"))
    loaded = DrQ.load(tmp_path / "policy.zip", env=Reach())
    if threaded:
        loaded.learner = ThreadedLearner(loaded)
    loaded.updates_owed = 40.0
    before = loaded.n_updates
    with pytest.warns(UserWarning, match="its memory is empty"):
        loaded.learn(30, reset_num_timesteps=False)
    assert threaded or loaded.n_updates - before == 15


def test_learning_anew_owes_nothing_of_before():
    model = make_model()
    model.learn(60)
    model.steps_due, model.updates_owed = 1, 40.0
    model.learn(40)
    assert (model.steps_due, model.updates_owed) == (0, 0.0)


def test_collecting_leaves_what_is_due(tmp_path: Path):
    model = make_model()
    model.learn(60)
    model.steps_due, updates = 2, model.n_updates
    model.collect(10, reset_num_timesteps=False)
    assert (model.steps_due, model.n_updates) == (2, updates)


def test_older_checkpoint_in_a_used_model_owes_nothing(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", make_model(), {})
    trained.steps_due, trained.updates_owed = 1, 9.0
    load_checkpoint(tmp_path / "last", trained)
    assert (trained.steps_due, trained.updates_owed) == (0, 0.0)


@pytest.mark.parametrize(("n_envs", "every"), [(2, 3), (3, 2), (4, 1)])
def test_several_environments_make_as_many_updates_when_they_are_resumed(n_envs: int, every: int, tmp_path: Path):
    def several(seed: int) -> DrQ:
        env = DummyVecEnv([Reach] * n_envs)
        config = dataclasses.replace(SMALL, train_freq=every, buffer_capacity=1_000)
        return DrQ("MultiInputPolicy", env, config=config, seed=seed, device="cpu")

    first, again = (Saving(tmp_path / name, saved=36, noted=60) for name in ("last", "again"))
    models = [several(0), several(7)]
    models[0].learn(200, callback=first)
    load_checkpoint(tmp_path / "last", models[1])
    models[1].learn(200, callback=again, reset_num_timesteps=False)
    assert again.updates == first.updates > 0


def test_resumed_run_goes_on(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    resumed = make_model(demos=0)
    load_checkpoint(tmp_path / "last", resumed)
    resumed.learn(20, reset_num_timesteps=False)
    assert resumed.num_timesteps == 90
    assert resumed.n_updates > trained.n_updates


def test_run_that_ended_before_its_first_unaided_rollout_goes_on(tmp_path: Path):
    """What was never counted is not in the file of Stable-Baselines3."""
    save_checkpoint(tmp_path / "last", make_model(), {})
    resumed = make_model(demos=0)
    load_checkpoint(tmp_path / "last", resumed)
    assert (resumed.success_alone, resumed.num_timesteps) == (0.0, 0)


@pytest.mark.parametrize("state", [[1], {"x": 1}, None])
def test_state_of_something_else_is_refused(state: object, trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    torch.save(state, tmp_path / "last" / "state.pt")
    manifest = json.loads((tmp_path / "last" / MANIFEST).read_text())
    manifest["files"]["state.pt"] = (tmp_path / "last" / "state.pt").stat().st_size
    (tmp_path / "last" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="is damaged, or of another version"):
        load_checkpoint(tmp_path / "last", make_model(demos=0))
    with pytest.raises(ConfigError, match="is damaged, or of another version"):
        recorded_episodes(tmp_path / "last")


def test_checkpoint_of_another_task_is_refused_and_one_that_says_nothing_is_not(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {}, about={"task": "ring_on_peg"})
    check_about(tmp_path / "last", {"task": "ring_on_peg"})
    with pytest.raises(ConfigError, match="is of task ring_on_peg, not usb_insertion"):
        check_about(tmp_path / "last", {"task": "usb_insertion"})
    save_checkpoint(tmp_path / "last", trained, {})
    check_about(tmp_path / "last", {"task": "usb_insertion"})


def test_state_of_others_comes_back(trained: DrQ, tmp_path: Path):
    extra = {"supervisor": {"triggers": 3, "index": np.arange(4.0), "names": ["a"]}}
    save_checkpoint(tmp_path / "last", trained, extra)
    loaded = load_checkpoint(tmp_path / "last", make_model(demos=0))
    assert loaded["supervisor"]["triggers"] == 3
    np.testing.assert_array_equal(loaded["supervisor"]["index"], np.arange(4.0))


def test_policy_of_a_checkpoint_loads_alone(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    policy = DrQ.load(tmp_path / "last" / "algorithm.zip", device="cpu")
    observation, _ = Reach().reset(seed=0)
    np.testing.assert_array_equal(
        policy.predict(observation, deterministic=True)[0], trained.predict(observation, deterministic=True)[0]
    )


def test_manifest_names_the_algorithm(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    assert isinstance(load_policy(tmp_path / "last"), DrQ)
    change_setup(tmp_path / "last", algorithm="tabular")
    with pytest.raises(ConfigError, match="Unknown algorithm 'tabular'; known: .*drq"):
        load_policy(tmp_path / "last")
    with pytest.raises(ConfigError, match="algorithm = tabular, not drq"):
        load_checkpoint(tmp_path / "last", make_model(demos=0))


def test_checkpoint_that_names_neither_algorithm_nor_newer_settings_is_of_drq(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {"try": 1})
    change_setup(tmp_path / "last", algorithm=None, bc_weight=None)  # settings that are at their default
    assert isinstance(load_policy(tmp_path / "last"), DrQ)
    assert load_checkpoint(tmp_path / "last", make_model(demos=0)) == {"try": 1}


def change_setup(folder: Path, **changes: object) -> None:
    """Write other values into a manifest; None removes the entry."""
    manifest = json.loads((folder / MANIFEST).read_text())
    setup = {**manifest["setup"], **changes}
    manifest["setup"] = {key: value for key, value in setup.items() if value is not None or key not in changes}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_only_new_episodes_are_written(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    before = {file.name: file.stat().st_ino for file in (tmp_path / "last" / "episodes").iterdir()}
    trained.learn(15, reset_num_timesteps=False)
    save_checkpoint(tmp_path / "last", trained, {})
    after = {file.name: file.stat().st_ino for file in (tmp_path / "last" / "episodes").iterdir()}
    kept = before.keys() & after.keys()
    assert len(kept) >= 3
    assert all(before[name] == after[name] for name in kept)
    assert after.keys() - before.keys()


@pytest.mark.parametrize("held", ["update", "memory"])
def test_update_that_hangs_keeps_nobody_waiting_for_ever(
    held: str, trained: DrQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save_checkpoint(tmp_path / "c", trained, {"n": 1})
    monkeypatch.setattr("rl.algorithm.UPDATE_S", 0.2)
    holds, release = threading.Event(), threading.Event()

    def hang() -> None:
        with trained.update_lock if held == "update" else trained.store.lock:
            holds.set()
            release.wait(60)

    thread = threading.Thread(target=hang)
    thread.start()
    assert holds.wait(60)
    try:
        with pytest.raises(AgpsError, match="an update has been under way for more than 0 s; an earlier checkpoint"):
            save_checkpoint(tmp_path / "c", trained, {"n": 2})
        with (
            pytest.raises(AgpsError, match="Cannot save the weights that acted: an update has been under way"),
            trained.acting_by(trained.policy),
        ):
            pass
    finally:
        release.set()
        thread.join()
    assert load_checkpoint(tmp_path / "c", trained) == {"n": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    save_checkpoint(tmp_path / "c", trained, {"n": 3})
    assert load_checkpoint(tmp_path / "c", trained) == {"n": 3}


def test_file_that_was_cut_off_while_it_was_written_is_none(
    trained: DrQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file of an episode is shared by checkpoints: what stands under its name is taken as whole."""
    (tmp_path / "episode").write_bytes(b"whole")

    def lose_power(fd: int) -> None:
        raise OSError("no power")

    monkeypatch.setattr("os.fsync", lose_power)
    with pytest.raises(OSError, match="no power"):
        checkpoint._write(tmp_path / "episode", lambda file: file.write(b"half"))
    assert (tmp_path / "episode").read_bytes() == b"whole"


def test_full_disk_leaves_the_earlier_checkpoint(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {"try": 1})
    trained.train(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(AgpsError, match="the earlier checkpoint is kept"):
            save_checkpoint(tmp_path / "last", trained, {"try": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert load_checkpoint(tmp_path / "last", make_model(demos=0)) == {"try": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_truncated_checkpoint_is_refused(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    file = tmp_path / "last" / "algorithm.zip"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="incomplete: algorithm.zip has 1000 of"):
        load_checkpoint(tmp_path / "last", make_model(demos=0))


def test_damaged_checkpoint_is_refused(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    file = tmp_path / "last" / "state.pt"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(ConfigError, match="damaged"):
        load_checkpoint(tmp_path / "last", make_model(demos=0))


def test_missing_checkpoint_is_said(tmp_path: Path):
    with pytest.raises(ConfigError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "last", make_model(demos=0))
    with pytest.raises(ConfigError, match="no checkpoint in"):
        latest_checkpoint(tmp_path)


def test_checkpoint_of_another_configuration_is_refused(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    other = DrQConfig(**{**vars(SMALL), "gamma": 0.5})
    with pytest.raises(ConfigError, match="gamma = 0.92, not 0.5"):
        load_checkpoint(tmp_path / "last", make_model(config=other, demos=0))


def test_crash_between_the_renames_loses_nothing(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {"try": 1})
    (tmp_path / "last").rename(tmp_path / ".last.previous")
    assert load_checkpoint(latest_checkpoint(tmp_path), make_model(demos=0)) == {"try": 1}
    assert load_checkpoint(tmp_path / "last", make_model(demos=0)) == {"try": 1}


# --- which one is the newest --------------------------------------------------------------------------------


def zipped(folder: Path, copy: Path) -> None:
    shutil.unpack_archive(shutil.make_archive(str(copy), "zip", folder), copy)


def untarred_without_times(folder: Path, copy: Path) -> None:
    copy.mkdir()
    subprocess.run(["tar", "-cf", f"{copy}.tar", "-C", folder, "."], check=True)
    subprocess.run(["tar", "-xmf", f"{copy}.tar", "-C", copy], check=True)


def copied_newest_first(folder: Path, copy: Path) -> None:
    for name in ("last", "best", "pretrained"):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, copy / name, copy_function=shutil.copyfile)
            time.sleep(0.02)


def copied_by_cp(folder: Path, copy: Path) -> None:
    subprocess.run(["cp", "-r", folder, copy], check=True)


def with_the_clock_set_back(folder: Path, copy: Path) -> None:
    shutil.copytree(folder, copy)
    for file in copy.rglob("*"):
        os.utime(file, (1, 1))
    os.utime(copy / "best" / MANIFEST, (2, 2))


EACH_COPY = pytest.mark.parametrize(
    "make_copy", [zipped, untarred_without_times, copied_newest_first, copied_by_cp, with_the_clock_set_back]
)


@EACH_COPY
@pytest.mark.parametrize("order", [("pretrained", "best", "last"), ("pretrained", "last", "best"), ("last", "best")])
def test_newest_checkpoint_of_a_copy_is_the_one_saved_last(
    trained: DrQ, make_copy: Callable[[Path, Path], None], order: tuple[str, ...], tmp_path: Path
):
    for name in order:
        save_checkpoint(tmp_path / "run" / name, trained, {})
    make_copy(tmp_path / "run", tmp_path / "copy")
    assert latest_checkpoint(tmp_path / "run").name == order[-1]
    assert latest_checkpoint(tmp_path / "copy") == tmp_path / "copy" / order[-1]


def test_checkpoint_that_is_renewed_is_the_newest_again(trained: DrQ, tmp_path: Path):
    for name in ("last", "best", "last", "best", "last"):
        save_checkpoint(tmp_path / name, trained, {})
        assert latest_checkpoint(tmp_path) == tmp_path / name


@EACH_COPY
def test_older_checkpoints_are_ordered_by_steps_then_by_name(
    trained: DrQ, make_copy: Callable[[Path, Path], None], tmp_path: Path
):
    for name in ("pretrained", "last", "best"):
        save_checkpoint(tmp_path / "run" / name, trained, {})
        forget_order(tmp_path / "run" / name)
    make_copy(tmp_path / "run", tmp_path / "copy")
    assert latest_checkpoint(tmp_path / "copy").name == "last"
    trained.num_timesteps += 1
    save_checkpoint(tmp_path / "copy" / "best", trained, {})
    forget_order(tmp_path / "copy" / "best")
    assert latest_checkpoint(tmp_path / "copy").name == "best"
    save_checkpoint(tmp_path / "copy" / "pretrained", trained, {})  # by a version that counts
    assert latest_checkpoint(tmp_path / "copy").name == "pretrained"


def forget_order(folder: Path) -> None:
    """Make a checkpoint one of the time when saves were not counted."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["saved"]
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_crash_between_the_renames_leaves_the_newer_one(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {"try": 1})
    (tmp_path / "last").rename(tmp_path / ".last.previous")
    save_checkpoint(tmp_path / "last", trained, {"try": 2})
    (tmp_path / "last").rename(tmp_path / ".last.new")
    assert latest_checkpoint(tmp_path) == tmp_path / ".last.new"


@pytest.mark.parametrize("setup", [None, [], "drq"])
def test_manifest_that_does_not_say_what_was_trained_is_refused(trained: DrQ, setup: object, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    manifest = json.loads((tmp_path / "last" / MANIFEST).read_text())
    (tmp_path / "last" / MANIFEST).write_text(json.dumps({**manifest, "setup": setup}))
    with pytest.raises(ConfigError, match=r"incomplete: manifest.json does not say what was trained\."):
        check_checkpoint(tmp_path / "last")


def test_checkpoint_whose_file_was_cut_short_is_refused_before_anything_is_built(trained: DrQ, tmp_path: Path):
    save_checkpoint(tmp_path / "last", trained, {})
    check_checkpoint(tmp_path / "last")
    file = tmp_path / "last" / "algorithm.zip"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="incomplete: algorithm.zip has 1000 of"):
        check_checkpoint(tmp_path / "last")


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_damaged_manifest_is_named_and_stops_no_other_checkpoint(trained: DrQ, content: str, tmp_path: Path):
    save_checkpoint(tmp_path / "best", trained, {})
    (tmp_path / "best" / MANIFEST).write_text(content)
    save_checkpoint(tmp_path / "last", trained, {"try": 1})
    with pytest.raises(ConfigError, match=r"best is incomplete: manifest.json is not readable; delete it"):
        latest_checkpoint(tmp_path)
    assert load_checkpoint(tmp_path / "last", make_model(demos=0)) == {"try": 1}
