from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from agps_agent.measure.landscape import Plane, goal_pose, value_map
from rl.envs.factory import make_env
from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError
from rl.types import FloatArray

PLANE = Plane(y_m=np.array([-0.02, 0.0, 0.02, 0.04]), z_m=np.array([0.01, 0.04, 0.07]))


@pytest.fixture
def env() -> Iterator[ManipulationEnv]:
    with closing(make_env("usb_insertion", robot="fake", image_size=64)) as made:
        yield made


def test_highest_value_is_where_the_critic_says(env: ManipulationEnv) -> None:
    """A critic made by hand: minus the distance to the point 20 mm beside and 40 mm above the goal."""
    best = goal_pose(env, goal="port", seed=0)[:3, 3] + [0.0, 0.02, 0.04]

    def value(seen: Mapping[str, FloatArray]) -> FloatArray:
        tcp = env.task.home[:3, 3] + 0.1 * np.asarray(seen["state"])[:, :3]
        return -np.linalg.norm(tcp - best, axis=1)

    values = value_map(env, value, PLANE, goal="port", seed=0)
    assert values.shape == (3, 4) and np.unravel_index(values.argmax(), values.shape) == (1, 2)
    assert values[1, 2] == pytest.approx(0.0, abs=1e-6)
    assert values[0, 0] == pytest.approx(-np.hypot(0.04, 0.03), abs=1e-6)


def test_goal_is_where_the_tip_is_at_the_point(env: ManipulationEnv) -> None:
    T_base_goal = goal_pose(env, goal="port", seed=0)
    tip = T_base_goal[:3, 3] + T_base_goal[:3, :3] @ env.p_tcp_tool
    np.testing.assert_allclose(tip, env.truth()["port"], atol=1e-12)


def test_each_point_is_seen_anew_with_the_arm_at_rest(env: ManipulationEnv) -> None:
    seen: list[Mapping[str, Any]] = []

    def value(observations: Mapping[str, Any]) -> FloatArray:
        seen.append(observations)
        return np.zeros(len(observations["state"]))

    value_map(env, value, PLANE, goal="port", seed=0)
    (batch,) = seen
    colours = batch["wrist_1"][:, 0, 0].astype(int)  # the fake cameras show the position in millimetres
    assert len(np.unique(colours, axis=0)) == 12
    assert (np.diff(colours[:4, 1]) % 256).tolist() == [20, 20, 20]
    np.testing.assert_allclose(batch["state"][:, 6:12], 0.0, atol=1e-9)


def test_scene_is_that_of_an_episode_of_the_seed() -> None:
    """A port that moves is where it is after a reset with the seed, at each point of the plane."""
    with closing(make_env("usb_insertion", port_jitter_m=0.02)) as env:
        env.reset(seed=7)
        port = env.truth()["port"]
        ports = []

        def value(observations: Mapping[str, Any]) -> FloatArray:
            ports.append(env.truth()["port"])
            return np.zeros(len(observations["state"]))

        value_map(env, value, Plane(y_m=np.array([0.0]), z_m=np.array([0.05])), goal="port", seed=7)
    np.testing.assert_allclose(ports[0], port, atol=1e-9)


@pytest.mark.parametrize(
    ("goal", "top_m", "words"), [("socket", 0.05, "usb_insertion has no point 'socket'"), ("port", 0.5, "outside the")]
)
def test_plane_that_cannot_be_is_refused(goal: str, top_m: float, words: str, env: ManipulationEnv) -> None:
    plane = Plane(y_m=np.array([0.0]), z_m=np.array([0.01, top_m]))
    with pytest.raises(ConfigError, match=words):
        value_map(env, lambda seen: np.zeros(len(seen["state"])), plane, goal=goal, seed=0)
