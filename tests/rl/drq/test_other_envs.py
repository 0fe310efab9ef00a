"""Environments that are not ours: other actions, other image sizes."""

import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from rl.algorithm import GuidedAlgorithm
from rl.drq import DrQ, DrQConfig, DrQPolicy
from rl.envs import make_env
from rl.errors import ConfigError
from tests.rl.counting import ALGORITHMS, SMALL
from tests.rl.drq.reach import ReachAndClose

each_algorithm = pytest.mark.parametrize("kind", ALGORITHMS)


class Still(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """Nothing happens, for 5 steps at a time."""

    def __init__(self, actions: int = 2, image: tuple[int, int] | None = None, *, gripper: bool | None = None) -> None:
        self.observation_space = spaces.Dict({"state": spaces.Box(-np.inf, np.inf, (3,), np.float32)})
        if image is not None:
            self.observation_space["front"] = spaces.Box(0, 255, (*image, 3), np.uint8)
        self.action_space = spaces.Box(-1.0, 1.0, (actions,), np.float32)
        if gripper is not None:
            self.metadata = {"render_modes": [], "gripper": gripper}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.observation_space.sample(), 0.0, False, self.t == 5, {}


def make_model(kind: type[GuidedAlgorithm], env: gym.Env[Any, Any] | DummyVecEnv, **changes: Any) -> GuidedAlgorithm:
    config = kind.config_class(**{**SMALL, "channels": 8, "feature_size": 8, **changes})
    return kind("MultiInputPolicy", env, config=config, seed=0, device="cpu")


# --- the gripper --------------------------------------------------------------------------------------------


@each_algorithm
@pytest.mark.parametrize("gripper", [None, False])
def test_seven_components_are_continuous_where_the_environment_names_no_gripper(
    kind: type[GuidedAlgorithm], gripper: bool | None
):
    model = make_model(kind, Still(7, gripper=gripper), gripper="discrete").learn(20)
    assert (model.policy.actor_size, model.policy.gripper) == (7, None)
    observation, _ = model.env.envs[0].reset(seed=0)
    seventh = {float(model.act(observation)[6]) for _ in range(5)}
    assert len(seventh) == 5 and not seventh & {-1.0, 0.0, 1.0}


@each_algorithm
@pytest.mark.parametrize("actions", [4, 7])
def test_last_component_is_a_discrete_command_where_the_environment_names_a_gripper(
    kind: type[GuidedAlgorithm], actions: int
):
    wrapped = gym.wrappers.TimeLimit(Still(actions, gripper=True), 4)
    model = make_model(kind, DummyVecEnv([lambda: wrapped]), gripper="discrete").learn(20)
    assert model.policy.actor_size == actions - 1
    observation, _ = wrapped.reset(seed=0)
    assert {float(model.act(observation)[-1]) for _ in range(5)} <= {-1.0, 0.0, 1.0}


@pytest.mark.parametrize(("task", "has_gripper"), [("usb_insertion", False), ("towel_folding", True)])
def test_our_environments_say_whether_they_have_a_gripper(task: str, has_gripper: bool):
    env = make_env(task, robot="fake")
    assert env.task.has_gripper is env.metadata["gripper"] is has_gripper
    assert (DrQ(env=env, config=DrQConfig(**SMALL), device="cpu").policy.gripper is not None) is has_gripper


@each_algorithm
def test_loaded_policy_has_the_gripper_that_it_was_trained_with(kind: type[GuidedAlgorithm], tmp_path: Path):
    for env, expected in ((Still(7), False), (ReachAndClose(), True)):
        model = make_model(kind, env, gripper="discrete")
        model.save(tmp_path / "policy.zip")
        loaded = kind.load(tmp_path / "policy.zip", device="cpu")
        assert (loaded.policy.gripper is not None) is expected
        observation, _ = env.reset(seed=1)
        np.testing.assert_array_equal(loaded.act(observation, True), model.act(observation, True))


def test_policy_alone_keeps_its_gripper(tmp_path: Path):
    policy = make_model(DrQ, ReachAndClose()).policy
    policy.save(tmp_path / "policy.pt")
    assert DrQPolicy.load(tmp_path / "policy.pt", device="cpu").gripper is not None


@each_algorithm
def test_older_file_of_seven_components_has_a_gripper(kind: type[GuidedAlgorithm], tmp_path: Path):
    model = make_model(kind, ReachAndClose(), gripper="discrete")
    model.save(tmp_path / "policy.zip")
    with zipfile.ZipFile(tmp_path / "policy.zip") as saved:
        entries = {name: saved.read(name) for name in saved.namelist()}
    data = json.loads(entries["data"])
    del data["has_gripper"]
    with zipfile.ZipFile(tmp_path / "older.zip", "w") as older:
        for name, content in {**entries, "data": json.dumps(data).encode()}.items():
            older.writestr(name, content)
    loaded = kind.load(tmp_path / "older.zip", device="cpu")
    assert torch.equal(loaded.policy.gripper.values.bias, model.policy.gripper.values.bias)


# --- image sizes --------------------------------------------------------------------------------------------


@each_algorithm
@pytest.mark.parametrize(
    ("size", "patch", "grid"),
    [
        ((64, 64), 4, (16, 16)),
        ((84, 84), 5, (17, 17)),
        ((100, 100), 6, (17, 17)),
        ((48, 64), 3, (16, 22)),
        ((64, 48), 4, (16, 12)),
        ((90, 120), 5, (18, 24)),
        ((120, 160), 7, (18, 23)),
        ((97, 61), 6, (17, 11)),
        ((16, 16), 2, (8, 8)),
        ((3, 5), 2, (2, 3)),
        ((1, 1), 2, (1, 1)),
    ],
)
def test_images_of_any_size_are_learned_from(
    kind: type[GuidedAlgorithm], size: tuple[int, int], patch: int, grid: tuple[int, int]
):
    model = make_model(kind, Still(image=size), shift_pad=1).learn(16)
    assert model.policy.patch_size == patch
    observation, _ = model.env.envs[0].reset(seed=0)
    patches = model.policy.obs_to_tensor(observation)[0]["patches"]
    assert patches.shape == (1, *grid, 3 * patch**2)
    assert model.n_updates == 3


@each_algorithm
@pytest.mark.parametrize(
    ("patch", "advice"),
    [(5, "patch_size is 5.*84 x 60 px; ask for 4"), (0, "ask for 1"), (-3, "ask for 1"), (200, "ask for 12")],
)
def test_patch_size_that_does_not_divide_is_refused_with_one_that_does(
    kind: type[GuidedAlgorithm], patch: int, advice: str
):
    with pytest.raises(ConfigError, match=f"{advice}, or for None"):
        make_model(kind, Still(image=(84, 60)), patch_size=patch)


def test_patch_size_that_divides_is_taken():
    assert make_model(DrQ, Still(image=(84, 60)), patch_size=6).policy.patch_size == 6
