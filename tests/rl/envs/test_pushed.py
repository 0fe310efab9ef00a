import numpy as np
import pytest

from rl.envs.factory import make_env
from rl.envs.pushed import Push, PushedEnv
from rl.errors import ConfigError
from rl.types import FloatArray

STILL = np.zeros(6, np.float32)


def positions(push: Push | None, *, seed: int = 3, steps: int = 8, **options: float) -> FloatArray:
    """Where the TCP of an arm that obeys at once is, at reset and after each control step without an action."""
    env = make_env("usb_insertion", robot="fake", **options)
    pushed = env if push is None else PushedEnv(env, push)
    pushed.reset(seed=seed)
    way = [env.robot.T_base_tcp[:3, 3]]
    for _ in range(steps):
        pushed.step(STILL)
        way.append(env.robot.T_base_tcp[:3, 3])
    return np.array(way)


def test_push_moves_the_tcp_sideways_by_its_distance_in_steps_of_the_task() -> None:
    way = positions(Push(distance_m=0.025, step=2))
    moved = np.linalg.norm(np.diff(way, axis=0), axis=1)
    # 25 mm in steps of at most 10 mm: three steps of 8.33 mm, after two without it.
    np.testing.assert_allclose(moved, [0, 0, 0.025 / 3, 0.025 / 3, 0.025 / 3, 0, 0, 0], atol=1e-6)
    assert np.linalg.norm(way[-1] - way[0]) == pytest.approx(0.025, abs=1e-6)
    assert np.ptp(way[:, 2]) == pytest.approx(0.0, abs=1e-9)


def test_push_changes_no_start_and_has_its_direction_from_the_seed() -> None:
    push = Push(distance_m=0.02, step=0)
    one, again, other = positions(push), positions(push), positions(push, seed=4)
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one[0], positions(None)[0])
    assert abs((one[-1] - one[0]) @ (other[-1] - other[0])) < 0.02**2 * 0.999


def test_whoever_acts_is_not_asked_while_the_push_lasts() -> None:
    env = PushedEnv(make_env("usb_insertion", robot="fake"), Push(distance_m=0.02, step=1))
    env.reset(seed=0)
    executed = [env.step(np.array([0, 0, -1, 0, 0, 0], np.float32))[4]["executed_action"] for _ in range(4)]
    assert [float(action[2]) for action in executed] == pytest.approx([-1.0, 0.0, 0.0, -1.0], abs=1e-5)


def test_guard_keeps_a_push_within_the_workspace() -> None:
    push = Push(distance_m=0.2, step=0)
    env = make_env("usb_insertion", robot="fake")
    for seed in range(4):
        assert all(env.workspace.contains(place) for place in positions(push, seed=seed, steps=22))


@pytest.mark.parametrize(("distance_m", "step"), [(0.0, 3), (-0.01, 3), (float("nan"), 3), (0.01, -1)])
def test_what_is_no_push_is_refused(distance_m: float, step: int) -> None:
    with pytest.raises(ConfigError, match="is none; ask for more than 0 m"):
        Push(distance_m=distance_m, step=step)
