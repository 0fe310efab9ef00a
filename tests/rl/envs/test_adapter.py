from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_checker import check_env

from examples.extend_environment import Hover
from rl.drq import DrQ, DrQConfig
from rl.envs.adapter import adapt
from rl.envs.opening import open_env
from rl.envs.options import AdapterOptions, short_name
from rl.envs.watchable import Watched
from rl.errors import ConfigError, EnvironmentFailed
from rl.evaluation import evaluate
from tests.rl.envs.foreign import Picture, SevenJoints

FOREIGN: list[Callable[[], gymnasium.Env[Any, Any]]] = [
    SevenJoints,
    Picture,
    Hover,
    lambda: gymnasium.make("Pendulum-v1"),
]
each = pytest.mark.parametrize("make", FOREIGN)


class Shaped(gymnasium.Env[Any, Any]):
    """An environment of which only the spaces are looked at."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}


def picture_of(shape: tuple[int, ...], image: np.ndarray, **options: Any) -> dict[str, np.ndarray]:
    """What becomes of an image that is all there is to see."""
    env = Shaped(spaces.Box(0, 255, shape, np.uint8), spaces.Box(-1, 1, (1,)))
    env.reset = lambda *, seed=None, options=None: (image, {})  # type: ignore[method-assign]
    return adapt(env, AdapterOptions(**options), image_size=shape[-2] if shape[0] > 4 else shape[-1]).reset()[0]


# --- contract -----------------------------------------------------------------------------------------------


@each
def test_adapted_environment_is_sound(make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
    check_env(adapt(make(), image_size=32), warn=False, skip_render_check=True)


@each
def test_observations_are_in_the_space_that_is_promised(make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
    env = adapt(make(), image_size=40)
    env.action_space.seed(0)
    seen = [env.reset(seed=0)[0], *(env.step(env.action_space.sample())[0] for _ in range(5))]
    for obs in seen:
        assert obs.keys() == env.observation_space.spaces.keys()
        assert all(env.observation_space[key].contains(value) for key, value in obs.items())
        assert all(obs[camera].shape[:2] == (40, 40) for camera in env.cameras)


@each
def test_info_says_success_and_what_was_executed(make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
    env = adapt(make(), image_size=32)
    assert env.reset(seed=0)[1]["is_success"] is False
    action = np.full(env.action_space.shape, 0.25, np.float32)
    info = env.step(action)[4]
    assert (type(info["is_success"]), info["episode_step"]) == (bool, 1)
    np.testing.assert_array_equal(info["executed_action"], action)


@each
def test_episode_ends_by_itself_or_by_its_horizon(make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
    env = adapt(make(), AdapterOptions(horizon=10), image_size=32)
    env.reset(seed=0)
    ends = [env.step(np.zeros(env.action_space.shape, np.float32))[2:4] for _ in range(10)]
    assert env.horizon == 10 and ends[-1] == (False, True)
    assert not any(truncated for _, truncated in ends[:-1])


@each
def test_same_seed_gives_the_same_episode(make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
    states = []
    for _ in range(2):
        env = adapt(make(), image_size=32)
        env.reset(seed=5)
        states.append([env.step(np.full(env.action_space.shape, 0.5, np.float32))[0]["state"] for _ in range(4)])
    np.testing.assert_array_equal(*states)


@each
def test_drq_learns_in_it_and_is_evaluated(make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
    env = adapt(make(), AdapterOptions(horizon=10), image_size=32)
    small = DrQConfig(
        batch_size=8,
        learning_starts=10,
        hidden_size=16,
        channels=8,
        feature_size=8,
        buffer_capacity=200,
        clip_target=None,
    )
    model = DrQ("MultiInputPolicy", env, config=small, seed=0, device="cpu").learn(30)
    assert model.n_updates == 10 and model.policy.gripper is None
    assert evaluate(model, env, episodes=2, seed=0).steps <= (10, 10)


# --- images -------------------------------------------------------------------------------------------------


def test_images_are_found_by_their_shape_and_the_rest_is_state() -> None:
    env = adapt(SevenJoints(), image_size=32)
    assert env.cameras == ("cameras.depth", "cameras.front")
    assert env.observation_space["state"].shape == (7 + 3,)  # joints, and the phase as one of three
    obs, _ = env.reset(seed=0)
    np.testing.assert_allclose(obs["state"][:7], env.unwrapped.joints, atol=1e-6)
    np.testing.assert_array_equal(obs["state"][7:], [1.0, 0.0, 0.0])


def test_channels_first_become_channels_last_and_grey_becomes_equal_channels() -> None:
    env = adapt(SevenJoints(goal=1.0), image_size=37)
    obs, _ = env.reset(seed=0)
    obs = env.step(np.zeros(7, np.float32))[0]
    assert obs["cameras.front"][36, :, 1].min() == 255 and obs["cameras.front"][:30, :, 1].max() == 0
    assert np.all(obs["cameras.depth"] == 10)


def test_floats_become_bytes() -> None:
    obs, _ = adapt(Picture(), image_size=47).reset(seed=0)
    assert obs["observation"].dtype == np.uint8 and obs["observation"].max() == 255


def test_image_is_squeezed_to_a_square_and_keeps_its_brightness() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:20] = 200
    obs = picture_of((40, 80, 3), image)["observation"]
    assert obs.shape == (80, 80, 3) and np.all(obs[:38] == 200) and np.all(obs[42:] == 0)


@pytest.mark.parametrize(
    ("shape", "pictures"),
    [
        ((16, 16), 1),
        ((16, 16, 1), 1),
        ((16, 16, 4), 1),
        ((1, 16, 16), 1),
        ((4, 16, 16), 1),
        ((9, 16, 16), 3),
        ((16, 16, 2), 2),
        ((16, 16, 6), 2),
        ((3, 16, 16, 3), 3),
        ((2, 3, 16, 16), 2),
    ],
)
def test_several_frames_become_several_images(shape: tuple[int, ...], pictures: int) -> None:
    image = np.zeros(shape, np.uint8)
    assert len(picture_of(shape, image)) == pictures + 1  # beside the state, which is empty


def test_stacked_frames_keep_their_order() -> None:
    stack = np.stack([np.full((16, 16, 3), 10 * n, np.uint8) for n in range(3)])
    obs = picture_of(stack.shape, stack)
    assert [obs[f"observation.{n}"].max() for n in range(3)] == [0, 10, 20]
    assert [obs[f"observation.{n}"].min() for n in range(3)] == [0, 10, 20]


def test_frame_with_alpha_beside_one_without_makes_both_equal() -> None:
    images = {"a": spaces.Box(0, 255, (16, 16, 4), np.uint8), "b": spaces.Box(0, 255, (16, 16, 3), np.uint8)}
    env = adapt(Shaped(spaces.Dict(images), spaces.Box(-1, 1, (1,))), image_size=16)
    assert env.observation_space["a"].shape == env.observation_space["b"].shape == (16, 16, 4)
    assert np.all(env.reset()[0]["b"][..., 3] == 255)


@pytest.mark.parametrize(("channels", "axis"), [("first", 0), ("last", 2)])
def test_channels_that_could_be_either_are_told(channels: str, axis: int) -> None:
    image = np.moveaxis(np.broadcast_to(np.arange(16, dtype=np.uint8), (16, 16, 16)), -1, axis)
    obs = picture_of((16, 16, 16), image, channels=channels)
    assert [obs[f"observation.{n}"].mean() for n in range(16)] == list(range(16))


def test_matrix_of_floats_and_small_arrays_are_state() -> None:
    parts = {"pose": spaces.Box(-1, 1, (4, 4)), "cells": spaces.Box(0, 255, (5, 5, 3), np.uint8)}
    env = adapt(Shaped(spaces.Dict(parts), spaces.Box(-1, 1, (1,))))
    assert env.cameras == () and env.observation_space["state"].shape == (16 + 75,)


def test_entries_can_be_named() -> None:
    options = AdapterOptions(image_keys=("cameras.front",), state_keys=("robot.joints",))
    env = adapt(SevenJoints(), options, image_size=32)
    assert env.cameras == ("cameras.front",) and env.observation_space["state"].shape == (7,)


def test_what_render_shows_can_be_the_image() -> None:
    pytest.importorskip("pygame", reason="Pendulum draws with it; it comes with the extra teleop")
    env = open_env("Pendulum-v1", AdapterOptions(render=True), image_size=48)
    obs, _ = env.reset(seed=0)
    assert env.cameras == ("render",) and obs["render"].shape == (48, 48, 3) and obs["render"].std() > 5
    assert obs["state"].shape == (3,)


def test_plain_rendering_leaves_out_shadows_and_smooth_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")  # there is no screen
    env = open_env("InvertedPendulum-v5", AdapterOptions(render=True, plain_rendering=True), image_size=48)
    quality = env.unwrapped.model.vis.quality
    assert (quality.shadowsize, quality.offsamples) == (0, 0)
    assert env.reset(seed=0)[0]["render"].std() > 5


# --- actions ------------------------------------------------------------------------------------------------


def test_minus_one_is_the_lower_bound_and_one_the_upper() -> None:
    env = adapt(Picture(), image_size=32)
    for action, moved in (([-1.0, 1.0], [-0.1, 0.1]), ([0.0, 0.0], [0.0, 0.0]), ([3.0, -3.0], [0.1, -0.1])):
        env.reset(seed=1)
        before = env.unwrapped.dot.copy()
        env.step(np.array(action, np.float32))
        np.testing.assert_allclose(env.unwrapped.dot, np.clip(before + moved, 0.0, 1.0), atol=1e-9)


def test_dict_of_boxes_and_whole_numbers_are_one_action() -> None:
    parts = {"arm": spaces.Box(-2.0, 2.0, (2,)), "mode": spaces.Box(0, 4, (1,), np.int64)}
    env = Shaped(spaces.Box(0, 1, (2,)), spaces.Dict(parts))
    given: list[Any] = []
    env.step = lambda action: (given.append(action), (np.zeros(2), 0.0, False, False, {}))[1]  # type: ignore[assignment]
    adapted = adapt(env)
    adapted.reset()
    adapted.step(np.array([1.0, -0.5, 0.3], np.float32))
    np.testing.assert_allclose(given[0]["arm"], [2.0, -1.0])
    assert given[0]["mode"].dtype == np.int64 and given[0]["mode"] == [3]  # 2.6 of 4, rounded


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Discrete(3), r"Shaped wants actions in Discrete\(3\); the learners here act in a Box"),
        (spaces.Box(-np.inf, np.inf, (2,)), "Shaped has actions without bounds"),
    ],
)
def test_actions_that_cannot_be_scaled_are_refused(space: spaces.Space[Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        adapt(Shaped(spaces.Box(0, 1, (2,)), space))


def test_rewards_of_repeated_actions_are_added() -> None:
    env = adapt(Picture(), AdapterOptions(action_repeat=3), image_size=32)
    env.reset(seed=0)
    env.unwrapped.dot = np.zeros(2)
    assert env.step(np.zeros(2, np.float32))[1] == -3.0
    assert env.unwrapped.steps == 3


class Breaking(SevenJoints):
    """Breaks in one of its parts, as somebody else's code may."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part

    def reset(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.part == "reset":
            raise ValueError("no start")
        return super().reset(**options)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        if self.part == "step":
            raise ZeroDivisionError("division by zero")
        seen, *rest = super().step(action)
        return (seen if self.part != "observation" else {"cameras": {}}), *rest


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("reset", r"Breaking failed in its reset \(ValueError: no start\)"),
        ("step", r"Breaking failed in its step \(ZeroDivisionError: division by zero\)"),
        ("observation", r"Breaking failed in its observation \(KeyError: 'depth'\)"),
    ],
)
def test_error_of_the_environment_is_said_to_be_its_own(part: str, words: str) -> None:
    env = adapt(Breaking(part), image_size=32)
    with pytest.raises(EnvironmentFailed, match=words):
        env.reset(seed=0)
        env.step(np.zeros(7, np.float32))


# --- success ------------------------------------------------------------------------------------------------


class Ending(gymnasium.Env[Any, Any]):
    """Ends at once, with an info and a reward that are told."""

    def __init__(self, info: dict[str, Any], reward: float, terminated: bool) -> None:
        self.observation_space, self.action_space = spaces.Box(0, 1, (2,)), spaces.Box(-1, 1, (1,))
        self.end = (np.zeros(2, np.float32), reward, terminated, not terminated, info)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.end[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.end


@pytest.mark.parametrize(
    ("info", "reward", "terminated", "options", "success"),
    [
        ({"is_success": np.float32(1.0)}, 0.0, False, {}, True),
        ({"is_success": False, "success": True}, 1.0, True, {}, False),
        ({"success": 1}, -1.0, False, {}, True),
        ({"succeed": False}, 1.0, True, {}, False),
        ({}, 1.0, True, {}, True),
        ({}, 0.0, True, {}, False),
        ({}, 5.0, False, {}, False),
        ({"won": True}, 0.0, False, {"success_key": "won"}, True),
        ({}, 5.0, False, {"success_reward": 5.0}, True),
        ({"success": True}, 4.0, True, {"success_reward": 5.0}, False),
    ],
)
def test_success_is_what_the_info_says_else_an_end_with_reward(
    info: dict[str, Any], reward: float, terminated: bool, options: dict[str, Any], success: bool
) -> None:
    env = adapt(Ending(info, reward, terminated), AdapterOptions(**options))
    env.reset()
    assert env.step(np.zeros(1, np.float32))[4]["is_success"] is success


def test_success_key_that_is_not_there_is_named() -> None:
    env = adapt(Ending({"a": 1, "b": 2}, 0.0, False), AdapterOptions(success_key="won"))
    env.reset()
    with pytest.raises(ConfigError, match="the info of Ending has no 'won'; it has a, b"):
        env.step(np.zeros(1, np.float32))


# --- names --------------------------------------------------------------------------------------------------

MODULE = "tests.rl.envs.foreign"


@pytest.mark.parametrize(
    ("name", "short", "horizon"),
    [
        ("Pendulum-v1", "Pendulum-v1", 200),
        (f"{MODULE}:foreign/SevenJoints-v0", "SevenJoints-v0", 12),
        (f"{MODULE}:Picture", "Picture", 1000),
        ("tests/rl/envs/foreign.py:Picture", "Picture", 1000),
    ],
)
def test_environment_is_named_by_id_class_or_file(name: str, short: str, horizon: int) -> None:
    env = open_env(name, image_size=32)
    assert (env.task.name, short_name(name), env.horizon) == (short, short, horizon)


def test_arguments_reach_the_environment() -> None:
    assert open_env(f"{MODULE}:SevenJoints", arguments={"goal": 0.25}).unwrapped.goal == 0.25


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("Pendulum-v9", {}, r"make the environment 'Pendulum-v9' \(VersionNotFound.*\. Name an id that Gymnasium has"),
        ("nowhere:a/B-v0", {}, r"make the environment 'nowhere:a/B-v0' \(ModuleNotFoundError.*\. Install nowhere, or"),
        (f"{MODULE}:Nothing", {}, "has no attribute 'Nothing'"),
        ("builtins:dict", {}, "builtins:dict makes a dict, not a gymnasium.Env"),
        (f"{MODULE}:SevenJoints", {"gaol": 1}, "unexpected keyword argument 'gaol'"),
        ("CartPole-v1", {}, r"CartPole-v1 wants actions in Discrete\(2\)"),
    ],
)
def test_environment_that_cannot_be_made_says_why(name: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_env(name, arguments=arguments)


def wordless() -> gymnasium.Env[Any, Any]:
    raise AssertionError


def sightless() -> gymnasium.Env[Any, Any]:
    raise RuntimeError("an OpenGL platform library has not been loaded")


def test_error_without_words_says_where_it_was_raised() -> None:
    line = wordless.__code__.co_firstlineno + 1
    with pytest.raises(ConfigError, match=rf"\(AssertionError in test_adapter.py, line {line}\)\.$"):
        open_env(f"{__name__}:wordless")


def test_environment_that_needs_a_screen_says_how_to_do_without() -> None:
    with pytest.raises(ConfigError, match=r"has not been loaded\)\. Without a screen, set MUJOCO_GL=egl\.$"):
        open_env(f"{__name__}:sightless")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"image_keys": ("cameras.back",)},
            "observes no 'cameras.back'; it observes cameras.depth, cameras.front, robot",
        ),
        ({"image_keys": ("robot.joints",)}, "image_keys: robot.joints of SevenJoints is Box.*no image"),
        ({"state_keys": ("robot",)}, "state_keys: SevenJoints observes no 'robot'"),
        ({"render": True}, "SevenJoints renders None; make it with render_mode='rgb_array'"),
        ({"plain_rendering": True}, "plain_rendering: SevenJoints has no MuJoCo `model`"),
        ({"horizon": 0}, "horizon is 0; ask for at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        adapt(SevenJoints(), AdapterOptions(**options))


# --- supervision --------------------------------------------------------------------------------------------


def test_environment_that_offers_what_watchable_names_is_watched() -> None:
    env = adapt(Hover(), image_size=32)
    _, info = env.reset(seed=0)
    position = env.unwrapped.tcp.copy()
    observation = info["observation"]
    np.testing.assert_array_equal(observation.robot.T_base_tcp[:3, 3], position)
    np.testing.assert_array_equal(observation.T_base_ref, observation.robot.T_base_tcp)
    assert observation.images.keys() == {"top"} and observation.step == 0
    watched = Watched(env)
    assert [frame.name for frame in watched.capture()] == ["top"]
    assert [frame.name for frame in watched.capture(["top"], shadows=False)] == ["top"]  # it knows of no shadows
    assert watched.truth() == {} and watched.p_tcp_tool.tolist() == [0.0, 0.0, 0.0]


def test_what_is_missing_is_named_all_at_once() -> None:
    env = adapt(Picture(), image_size=32)
    assert env.watched is None and "observation" not in env.reset(seed=0)[1]
    words = r"Picture cannot be watched, as it lacks robot, action_scale, workspace, capture, an action of 6 or 7 "
    with pytest.raises(ConfigError, match=words + r"components \(it has 2\)"):
        Watched(env)
