import numpy as np
import pytest

from rl.episodes import check_episode
from rl.errors import ConfigError

SHAPES = {"side": (4, 4, 3)}
STEPS = 3


def recorded(steps: int = STEPS) -> dict[str, np.ndarray]:
    """An episode of `steps` steps with one camera, three state and two action components."""
    return {
        "side": np.zeros((steps + 1, 4, 4, 3), np.uint8),
        "state": np.zeros((steps + 1, 3), np.float32),
        "action": np.zeros((steps, 2), np.float32),
        "reward": np.zeros(steps, np.float32),
        "terminated": np.arange(steps) == steps - 1,
        "truncated": np.zeros(steps, bool),
        "guided": np.zeros(steps, bool),
    }


def check(episode: dict[str, np.ndarray]) -> None:
    check_episode(episode, SHAPES, 3, 2, where="demo_7.npz")


def test_sound_episodes_are_taken():
    check(recorded())
    check(recorded(1))
    check({key: value for key, value in recorded().items() if key != "guided"})
    rounded = np.full((STEPS, 2), np.float32(1.0) + np.finfo(np.float32).eps)
    check({**recorded(), "action": rounded, "reward": np.array([0, 0, 1]), "state": np.zeros((STEPS + 1, 3))})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("key", "at"), [("action", (1, 0)), ("state", (3, 2)), ("reward", (2,))])
def test_values_that_are_no_finite_numbers_are_refused_with_key_and_place(key: str, at: tuple[int, ...], value: float):
    episode = recorded()
    episode[key][at] = value
    with pytest.raises(ConfigError, match=rf"{key}\[{', '.join(map(str, at))}\] of demo_7.npz is -?(nan|inf)"):
        check(episode)


def test_number_too_large_for_what_is_stored_is_refused():
    episode = {**recorded(), "state": np.full((STEPS + 1, 3), 1e39)}  # float32 ends at 3.4e38
    with pytest.raises(ConfigError, match=r"state\[0, 0\] of demo_7.npz"):
        check(episode)


@pytest.mark.parametrize("value", [5.0, -1.001, 127.0])
def test_action_beyond_its_limit_is_refused(value: float):
    episode = recorded()
    episode["action"][2, 1] = value
    with pytest.raises(ConfigError, match=rf"action\[2, 1\] of demo_7.npz is {value:g}, outside \[-1, 1\]"):
        check(episode)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("side", np.float32),  # 0 to 1: would all become black
        ("side", np.int64),
        ("state", np.complex64),
        ("action", np.str_),
        ("reward", np.bool_),
        ("terminated", np.float32),
        ("truncated", np.int64),
        ("guided", np.float32),
    ],
)
def test_other_types_are_refused(key: str, kind: type):
    episode = recorded()
    with pytest.raises(ConfigError, match=f"'{key}' of demo_7.npz is of type"):
        check({**episode, key: episode[key].astype(kind)})


def test_episode_without_steps_is_refused():
    with pytest.raises(ConfigError, match="no steps in demo_7.npz"):
        check(recorded(0))


@pytest.mark.parametrize("key", ["terminated", "truncated"])
def test_episode_that_goes_on_after_its_end_is_refused(key: str):
    episode = recorded()
    episode[key][0] = True
    with pytest.raises(ConfigError, match="at step 0 of demo_7.npz, which has 3"):
        check(episode)


@pytest.mark.parametrize(("key", "shape"), [("action", ()), ("guided", (2,)), ("side", (4, 3, 4, 4))])
def test_other_shapes_are_refused(key: str, shape: tuple[int, ...]):
    with pytest.raises(ConfigError, match=f"'{key}' of demo_7.npz has shape"):
        check({**recorded(), key: np.zeros(shape, recorded()[key].dtype)})
