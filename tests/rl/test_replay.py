"""Replay memory and saved policies as Stable-Baselines3's users handle them."""

import logging
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import CheckpointCallback

from rl.algorithm import GuidedAlgorithm
from rl.conrft import ConRFT
from rl.drq import DrQ
from rl.errors import ConfigError
from tests.rl.counting import ALGORITHMS, DEMONSTRATION, Helper, Watched, demonstration, make_model
from tests.rl.drq.reach import Reach, record

each_algorithm = pytest.mark.parametrize("kind", ALGORITHMS)


def trained(kind: type[GuidedAlgorithm]) -> GuidedAlgorithm:
    """A model with two demonstrations, 50 steps of its own in a memory of 60, and guided episodes."""
    model = make_model(kind, Watched(horizon=4), buffer_capacity=60, supervisor=Helper(every=2))
    model.add_demonstrations([demonstration(), demonstration()])
    return model.learn(50)


def weights(model: GuidedAlgorithm) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.policy.parameters()])


@each_algorithm
def test_saved_memory_comes_back_whole(kind: type[GuidedAlgorithm], tmp_path: Path):
    model = trained(kind)
    model.save_replay_buffer(tmp_path / "memory")
    other = make_model(kind, Watched(horizon=4), buffer_capacity=60)
    other.load_replay_buffer(tmp_path / "memory")
    for name in ("online", "demo"):
        slots, copies = getattr(model, name).slots, getattr(other, name).slots
        for read in ("states", "actions", "rewards", "guided"):
            np.testing.assert_array_equal(getattr(other.store, read)(copies), getattr(model.store, read)(slots))
    assert other.store.kept == model.store.kept == (0, 1)
    assert other.replay_buffer.size() == model.replay_buffer.size() == len(model.online) + 12


@each_algorithm
def test_loaded_policy_and_memory_go_on_as_if_they_had_never_been_saved(kind: type[GuidedAlgorithm], tmp_path: Path):
    model = trained(kind)
    model.save(tmp_path / "policy.zip")
    model.save_replay_buffer(tmp_path / "memory.pkl")
    loaded = kind.load(tmp_path / "policy.zip", env=Watched(horizon=4), device="cpu")
    loaded.load_replay_buffer(tmp_path / "memory.pkl")
    loaded.set_random_states(model.random_states())
    for algorithm in (model, loaded):
        algorithm.train(5)
    assert torch.equal(weights(loaded), weights(model))


@each_algorithm
def test_checkpoint_callback_saves_the_memory_beside_the_policy(kind: type[GuidedAlgorithm], tmp_path: Path):
    model = make_model(kind)
    model.learn(40, callback=CheckpointCallback(20, str(tmp_path), "x", save_replay_buffer=True))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "x_20_steps.zip",
        "x_40_steps.zip",
        "x_replay_buffer_20_steps.pkl",
        "x_replay_buffer_40_steps.pkl",
    ]
    other = make_model(kind)
    other.load_replay_buffer(tmp_path / "x_replay_buffer_20_steps.pkl")
    assert len(other.online) == 20


@each_algorithm
def test_loaded_policy_without_its_memory_warns_in_one_sentence_and_takes_demonstrations_again(
    kind: type[GuidedAlgorithm], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    trained(kind).save(tmp_path / "policy.zip")
    loaded = kind.load(tmp_path / "policy.zip", env=Watched(horizon=4), device="cpu")
    with pytest.warns(UserWarning, match="its memory is empty.*demonstrations or load_replay_buffer"):
        loaded.learn(4, reset_num_timesteps=False)
    assert "its memory is empty" in caplog.text
    loaded = kind.load(tmp_path / "policy.zip", env=Watched(horizon=4), device="cpu")
    loaded.add_demonstrations([demonstration()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.learn(30, reset_num_timesteps=False)
    assert (loaded.store.states(loaded.demo.slots)[:, 0] == DEMONSTRATION).sum() == 6
    assert loaded.num_timesteps == 80


@each_algorithm
def test_new_model_is_not_warned_about(kind: type[GuidedAlgorithm], caplog: pytest.LogCaptureFixture):
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        make_model(kind).learn(30).learn(30)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no replay buffer"),
        (b"", "damaged"),
        (b"not a pickle", "damaged"),
        (pickle.dumps([1, 2]), "holds a list, not what"),
        (pickle.dumps({"episodes": {}}), "holds a dict, not what"),
    ],
)
def test_file_that_is_no_memory_is_refused_and_the_memory_stays(content: bytes | None, message: str, tmp_path: Path):
    model = make_model(DrQ)
    model.add_demonstrations([demonstration()])
    if content is not None:
        (tmp_path / "memory.pkl").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        model.load_replay_buffer(tmp_path / "memory.pkl")
    assert len(model.demo) == 6


def test_memory_of_other_observations_is_refused_and_the_memory_stays(tmp_path: Path):
    make_model(DrQ).learn(20).save_replay_buffer(tmp_path / "memory.pkl")
    model = make_model(DrQ, Reach())
    model.add_demonstrations(record(1))
    before = len(model.demo)
    with pytest.raises(ConfigError, match=r"no 'left' in episode 0 of .*memory\.pkl"):
        model.load_replay_buffer(tmp_path / "memory.pkl")
    assert len(model.demo) == before


def test_memory_that_is_too_large_is_refused(tmp_path: Path):
    make_model(DrQ).learn(60).save_replay_buffer(tmp_path / "memory.pkl")
    with pytest.raises(ConfigError, match="63 observations, more than the memory's 50; .*buffer_capacity"):
        make_model(DrQ, buffer_capacity=50).load_replay_buffer(tmp_path / "memory.pkl")


@pytest.mark.parametrize(("name", "at"), [("online", (7, 0)), ("demo", (0, 20)), ("demo", (0, -1))])
def test_memory_that_names_a_transition_which_it_does_not_hold_is_refused(name, at, tmp_path: Path):
    make_model(DrQ).learn(20).save_replay_buffer(tmp_path / "memory.pkl")
    saved = pickle.loads((tmp_path / "memory.pkl").read_bytes())
    saved[name] = tuple(np.append(part, one) for part, one in zip(saved[name], at, strict=True))
    (tmp_path / "memory.pkl").write_bytes(pickle.dumps(saved))
    model = make_model(DrQ)
    model.add_demonstrations([demonstration()])
    with pytest.raises(ConfigError, match=rf"memory\.pkl is damaged \(step {at[1]} of episode {at[0]} is in {name}"):
        model.load_replay_buffer(tmp_path / "memory.pkl")
    assert len(model.demo) == 6


def test_batch_of_nothing_is_refused():
    model = make_model(DrQ)
    model.add_demonstrations([demonstration()])
    with pytest.raises(ConfigError, match="at least one transition, not 0"):
        model.replay_buffer.draw(0, model.sampling_rng)


def test_features_of_a_backbone_come_back_with_the_memory(tmp_path: Path):
    class Sums:
        name, feature_size = "sums", 1
        asked = 0

        def encode(self, images: dict[str, np.ndarray]) -> torch.Tensor:
            self.asked += len(images["left"])
            return torch.from_numpy(images["left"].sum((1, 2, 3), keepdims=True)[:, :, 0, 0]).float()

    model = ConRFT("MultiInputPolicy", Reach(), backbone=Sums(), seed=0, device="cpu")
    model.learn(8)
    model.cache.features(model.online.slots)
    model.save_replay_buffer(tmp_path / "memory.pkl")
    other = ConRFT("MultiInputPolicy", Reach(), backbone=Sums(), seed=0, device="cpu")
    other.load_replay_buffer(tmp_path / "memory.pkl")
    np.testing.assert_array_equal(other.cache.features(other.online.slots), model.cache.features(model.online.slots))
    assert other.backbone.asked == 0
