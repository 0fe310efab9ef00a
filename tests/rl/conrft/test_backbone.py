import copy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rl.buffers import FrameStore
from rl.conrft.backbone import EmbeddingCache, Frozen
from rl.errors import ConfigError

SPACE = spaces.Dict({"side": spaces.Box(0, 255, (4, 4, 3), np.uint8), "state": spaces.Box(-1.0, 1.0, (1,), np.float32)})


class SmallNet(torch.nn.Module):
    """A frozen network that counts the frames it is asked for."""

    name, feature_size = "small", 5

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = torch.nn.Sequential(torch.nn.Linear(48, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 5))
        self.asked = 0

    def encode(self, images: dict[str, np.ndarray]) -> torch.Tensor:
        self.asked += len(images["side"])
        pixels = torch.from_numpy(images["side"].reshape(len(images["side"]), -1).copy())
        features: torch.Tensor = self.layers(pixels.float() / 255.0)
        return features


def add_episode(store: FrameStore, rng: np.random.Generator, steps: int = 3) -> np.ndarray:
    return store.add_episode(
        {
            "side": rng.integers(0, 256, (steps + 1, 4, 4, 3), np.uint8),
            "state": np.zeros((steps + 1, 1), np.float32),
            "action": np.zeros((steps, 2), np.float32),
            "reward": np.zeros(steps, np.float32),
            "terminated": np.zeros(steps, bool),
            "truncated": np.arange(steps) == steps - 1,
        }
    )


def make_store(capacity: int = 8) -> FrameStore:
    return FrameStore(SPACE, 2, capacity=capacity, pad=1)


def test_cached_features_are_those_of_the_network(rng: np.random.Generator):
    store, frozen = make_store(), Frozen(SmallNet())
    slots, cache = add_episode(store, rng), EmbeddingCache(store, frozen)
    fresh = frozen.encode({"side": store.images("side", slots)})
    for _ in range(2):
        np.testing.assert_allclose(cache.features(slots), fresh, atol=1e-6)


def test_each_frame_is_embedded_once(rng: np.random.Generator):
    store, net = make_store(), SmallNet()
    slots, cache = add_episode(store, rng), EmbeddingCache(store, Frozen(net))
    cache.features(np.concatenate([slots, slots, slots[:1]]))
    cache.features(slots)
    assert net.asked == cache.held == len(slots)


def test_a_reused_slot_is_embedded_anew(rng: np.random.Generator):
    store, net = make_store(capacity=5), SmallNet()
    cache = EmbeddingCache(store, Frozen(net))
    old = add_episode(store, rng)
    before = cache.features(old)
    new = add_episode(store, rng)
    assert set(old) & set(new)
    assert cache.held == 0
    after = cache.features(new)
    np.testing.assert_allclose(after, Frozen(net).encode({"side": store.images("side", new)}), atol=1e-6)
    assert np.abs(after - before).max() > 1e-3


def test_saved_features_fit_the_slots_of_a_restored_store(rng: np.random.Generator):
    store, net = make_store(capacity=12), SmallNet()
    cache = EmbeddingCache(store, Frozen(net))
    add_episode(store, rng, steps=7)
    second = add_episode(store, rng, steps=4)  # evicts the first, whose slots it takes in another order
    assert store.episodes == (1,)
    expected, state = cache.features(second), cache.state_dict()
    restored = make_store(capacity=12)
    slots = restored.restore_episode(1, store.episode(1))
    again, asked = EmbeddingCache(restored, Frozen(net)), net.asked
    again.load_state_dict(state)
    np.testing.assert_array_equal(again.features(slots), expected)
    assert net.asked == asked


def test_frozen_means_no_dropout_no_gradient_no_copy(rng: np.random.Generator):
    net = SmallNet()
    frozen = Frozen(net)
    images = {"side": rng.integers(0, 256, (200, 4, 4, 3), np.uint8)}
    np.testing.assert_array_equal(frozen.encode(images), frozen.encode(images))
    assert not any(p.requires_grad for p in net.parameters())
    assert copy.deepcopy({"policy": frozen})["policy"].backbone is net


@pytest.mark.parametrize("bad", [torch.zeros(1, 4), torch.full((1, 5), torch.nan)])
def test_wrong_features_are_refused(bad: torch.Tensor):
    net = SmallNet()
    net.encode = lambda images: bad  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="Backbone 'small'"):
        Frozen(net).encode({"side": np.zeros((1, 4, 4, 3), np.uint8)})
