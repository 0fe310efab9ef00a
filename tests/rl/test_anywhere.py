"""The algorithms in environments as Stable-Baselines3's own take them: any names, images, limits and rewards."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from rl.algorithm import GuidedAlgorithm
from rl.drq import DrQ
from rl.errors import ConfigError
from rl.reading import Reading
from tests.rl.counting import ALGORITHMS, Counting, Helper, make_model

each_algorithm = pytest.mark.parametrize("kind", ALGORITHMS)
TINY: dict[str, Any] = {"channels": 8, "feature_size": 8, "shift_pad": 1, "batch_size": 4}


def pixels(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


def numbers(*shape: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


class Foreign(gym.Env[Any, np.ndarray]):
    """Shows samples of a space; each step costs 1; the actions that it got are kept. Episodes of 5 steps."""

    def __init__(self, space: spaces.Space[Any], actions: spaces.Box | None = None, cost: float = 1.0) -> None:
        self.observation_space, self.cost = space, cost
        self.action_space = actions or spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.taken: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.taken.append(action)
        self.t += 1
        return self.observation_space.sample(), -self.cost, False, self.t == 5, {}


SPACES = {
    "other names": spaces.Dict({"agent_pos": numbers(3), "goal": numbers(2), "view": pixels(84, 84, 3)}),
    "channels first": spaces.Dict({"view": pixels(3, 84, 84), "state": numbers(3)}),
    "two sizes and ratios": spaces.Dict({"wide": pixels(48, 64, 3), "tall": pixels(32, 24, 3), "q": numbers(4)}),
    "images alone": spaces.Dict({"left": pixels(40, 60, 3), "right": pixels(40, 60, 3)}),
    "image, last": pixels(84, 84, 3),
    "image, first": pixels(3, 84, 60),
    "stack of grey": pixels(84, 84, 4),
    "numbers": numbers(5),
    "a choice": spaces.Dict({"button": spaces.Discrete(3), "view": pixels(16, 16, 1)}),
    "name of ours": spaces.Dict({"reward": pixels(16, 16, 3), "state": pixels(16, 16, 3)}),
}


@each_algorithm
@pytest.mark.parametrize("name", SPACES)
def test_any_observation_is_learned_from_and_predicted_for(kind: type[GuidedAlgorithm], name: str, tmp_path: Path):
    env = Foreign(SPACES[name])
    model = make_model(kind, env, clip_target=None, **TINY).learn(14)
    assert model.n_updates == 2
    model.save(tmp_path / "model")
    loaded = kind.load(tmp_path / "model", env=env, device="cpu")
    assert evaluate_policy(loaded, env, n_eval_episodes=1, warn=False)[0] == -5.0
    seen, _ = env.reset(seed=0)
    np.testing.assert_allclose(loaded.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0])


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("other names", {"view": (84, 84, 3), "state": (5,)}),
        ("channels first", {"view": (84, 84, 3), "state": (3,)}),
        ("two sizes and ratios", {"wide": (48, 64, 3), "tall": (48, 64, 3), "state": (4,)}),
        ("image, first", {"observation": (84, 60, 3), "state": (0,)}),
        ("a choice", {"view": (16, 16, 1), "state": (3,)}),
        ("name of ours", {"reward.image": (16, 16, 3), "state.image": (16, 16, 3), "state": (0,)}),
    ],
)
def test_images_keep_size_and_ratio_unless_they_differ(name: str, shapes: dict[str, tuple[int, ...]]):
    reading = Reading(SPACES[name], spaces.Box(-1.0, 1.0, (2,)))
    seen = reading.observation(SPACES[name].sample())
    assert {key: value.shape for key, value in seen.items()} == shapes == {k: s.shape for k, s in reading.seen.items()}


def test_channels_first_and_last_are_the_same_picture():
    image = np.random.default_rng(0).integers(0, 256, (84, 60, 3), np.uint8)
    actions = spaces.Box(-1.0, 1.0, (1,))
    last = Reading(pixels(84, 60, 3), actions).observation(image)
    first = Reading(pixels(3, 84, 60), actions).observation(np.moveaxis(image, -1, 0))
    np.testing.assert_array_equal(first["observation"], image)
    np.testing.assert_array_equal(last["observation"], image)


# --- actions ------------------------------------------------------------------------------------------------


@each_algorithm
def test_actions_reach_the_environment_in_its_own_limits_and_are_learned_in_ours(kind: type[GuidedAlgorithm]):
    env = Foreign(numbers(2), spaces.Box(np.array([0.0, -3.0], np.float32), np.array([2.0, 5.0], np.float32)))
    model = make_model(kind, env, clip_target=None).learn(12)
    stored = model.store.actions(model.online.slots)
    np.testing.assert_allclose(np.stack(env.taken), [1.0, 1.0] + stored * [1.0, 4.0], atol=1e-5)


def test_actions_without_limits_are_refused():
    actions = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    with pytest.raises(ConfigError, match="must have limits.*RescaleAction"):
        Reading(numbers(2), actions)


@each_algorithm
def test_demonstrations_are_given_in_the_environments_own_spaces(kind: type[GuidedAlgorithm]):
    env = Foreign(SPACES["channels first"], spaces.Box(0.0, 4.0, (2,), np.float32))
    model = make_model(kind, env, **TINY)
    shown = [env.observation_space.sample() for _ in range(3)]
    ends = np.array([False, True])
    episode = {key: np.stack([one[key] for one in shown]) for key in shown[0]}
    episode |= {"action": np.array([[0.0, 4.0], [2.0, 1.0]], np.float32), "reward": ends.astype(np.float32)}
    assert model.add_demonstrations([{**episode, "terminated": ends, "truncated": ~ends & False}]) == 2
    np.testing.assert_allclose(model.store.actions(model.demo.slots), [[-1.0, 1.0], [0.0, -0.5]])
    np.testing.assert_array_equal(model.store.images("view", model.demo.slots)[1], np.moveaxis(shown[1]["view"], 0, -1))


# --- rewards ------------------------------------------------------------------------------------------------


def test_default_limits_of_the_target_are_off_after_a_reward_beyond_them():
    model = make_model(DrQ, Foreign(numbers(2)))
    with pytest.warns(UserWarning, match="returns from -1 to -1, outside of 0 to 1.*no longer clamped") as caught:
        model.learn(40)
    assert len(caught) == 1 and model.clip_target is None and model.train_metrics["target_mean"] < -0.5


def test_limits_that_were_chosen_stay():
    model = make_model(DrQ, Foreign(numbers(2)), clip_target=(-0.5, 0.5))
    with pytest.warns(UserWarning, match="set clip_target to the range"):
        model.learn(20)
    assert model.clip_target == (-0.5, 0.5) and model.train_metrics["target_mean"] == pytest.approx(-0.5)


# --- saving -------------------------------------------------------------------------------------------------


@each_algorithm
def test_training_goes_on_from_what_the_checkpoint_callback_wrote(kind: type[GuidedAlgorithm], tmp_path: Path):
    env = Foreign(SPACES["other names"])
    saving = CheckpointCallback(20, str(tmp_path), name_prefix="m", save_replay_buffer=True)
    model = make_model(kind, env, clip_target=None, **TINY).learn(20, callback=saving)
    loaded = kind.load(tmp_path / "m_20_steps.zip", env=env, device="cpu")
    loaded.load_replay_buffer(tmp_path / "m_replay_buffer_20_steps.pkl")
    first, second = (np.sort(one.store.states(one.online.slots), axis=0) for one in (model, loaded))
    np.testing.assert_array_equal(first, second)
    loaded.learn(10, reset_num_timesteps=False)
    assert (loaded.num_timesteps, len(loaded.online)) == (30, 30) and loaded.n_updates > model.n_updates


# --- several environments -----------------------------------------------------------------------------------


@each_algorithm
@pytest.mark.parametrize("vector", [DummyVecEnv, SubprocVecEnv])
def test_several_environments_have_episodes_of_their_own(kind: type[GuidedAlgorithm], vector: type[Any]):
    envs = make_vec_env(Counting, 3, env_kwargs={"horizon": 7}, vec_env_cls=vector)
    model = make_model(kind, envs).learn(60)
    assert model.num_timesteps == len(model.online) == 60
    before = model.store.states(model.online.slots)
    after = model.store.states(model.store.n_step(model.online.slots, n=1, gamma=0.9).last)
    np.testing.assert_array_equal(after - before, np.tile([0.0, 1.0], (60, 1)))
    per_step = (60 - model.learning_starts) * model.updates_per_step
    assert model.n_updates == pytest.approx(per_step, abs=3)  # as many per step as with one
    envs.close()


def test_several_environments_of_images_fill_the_memory_and_make_room():
    envs = make_vec_env(lambda: Foreign(pixels(16, 16, 3), cost=0.0), 4)
    model = make_model(DrQ, envs, buffer_capacity=40, **TINY).learn(100)
    assert model.num_timesteps == 100 and model.store.observations <= 40
    assert model.predict(envs.reset())[0].shape == (4, 2)


def test_supervisor_of_several_environments_is_refused_in_one_sentence():
    model = make_model(DrQ, make_vec_env(Counting, 2), supervisor=Helper())
    with pytest.raises(ConfigError, match="A supervisor watches one robot, and there are 2 environments; pass one"):
        model.learn(10)


def test_what_an_optimizer_loads_is_loaded_before_an_environment_can_render() -> None:
    """Triton 3.8 crashed where Mesa's renderer had come first."""
    told = "import sys; from rl.drq import DrQ; print('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout == "True\n"
