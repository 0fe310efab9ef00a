"""The arm that obeys at once: what tests of everything else rely on."""

import numpy as np
import pytest

from rl.robots.base import CONTROL_RATE_HZ
from rl.robots.fake import FakeBackend
from rl.tasks import get_task
from rl.transforms import apply_delta, pose
from rl.types import FloatArray

TASKS = ("usb_insertion", "towel_folding", "knot_hanging")


def started(task: str) -> FakeBackend:
    backend = FakeBackend(get_task(task))
    backend.reset(get_task(task).home, np.random.default_rng(0))
    return backend


def move(
    backend: FakeBackend, T: FloatArray, x: float, y: float = 0.0, z: float = 0.0, *, opening: float
) -> FloatArray:
    T_next = apply_delta(T, np.array([x, y, z, 0.0, 0.0, 0.0]))
    backend.command(T_next, opening)
    return T_next


@pytest.mark.parametrize("task", TASKS)
def test_arm_is_where_it_was_commanded_at_the_speed_that_took_it_there(task: str) -> None:
    backend, home = started(task), get_task(task).home
    state = backend.command(apply_delta(home, np.array([0.004, 0, -0.002, 0, 0, 0.01])), 0.0)
    np.testing.assert_allclose(state.T_base_tcp[:3, 3], home[:3, 3] + [0.004, 0.0, -0.002])
    np.testing.assert_allclose(state.twist, CONTROL_RATE_HZ * np.array([0.004, 0, -0.002, 0, 0, 0.01]), atol=1e-9)
    np.testing.assert_array_equal(state.wrench, np.zeros(6))


@pytest.mark.parametrize("task", TASKS)
def test_reset_forgets_everything(task: str) -> None:
    backend, T = started(task), get_task(task).home
    truth = backend.truth()
    for opening in (0.0, 1.0):
        move(backend, T, 0.03, opening=opening)
    state = backend.reset(T, np.random.default_rng(1))
    np.testing.assert_array_equal(state.T_base_tcp, T)
    assert state.gripper_opening == get_task(task).gripper_opening
    assert backend.truth().keys() == truth.keys()
    for name, point in backend.truth().items():
        np.testing.assert_array_equal(point, truth[name])


def test_measurement_is_a_copy() -> None:
    backend = started("usb_insertion")
    state = backend.command(get_task("usb_insertion").home, 0.0)
    state.T_base_tcp[:] = 9.0
    assert backend.command(get_task("usb_insertion").home, 0.0).T_base_tcp[0, 3] < 1.0


def test_held_plug_follows_the_hand_and_the_port_stays() -> None:
    backend, home = started("usb_insertion"), get_task("usb_insertion").home
    before = backend.truth()
    move(backend, home, 0.01, -0.02, 0.03, opening=0.0)
    moved = {name: backend.truth()[name] - before[name] for name in before}
    follows = [name for name, way in moved.items() if np.allclose(way, [0.01, -0.02, 0.03])]
    stays = [name for name, way in moved.items() if np.allclose(way, 0.0)]
    assert follows and stays and len(follows) + len(stays) == len(before)


def test_fingers_hold_what_is_in_reach_until_they_open_again() -> None:
    """A corner of the towel is lifted by 50 mm and falls back to the table where it is let go."""
    task = get_task("towel_folding")
    backend, loose = started("towel_folding"), None
    truth = backend.truth()
    for name in sorted(truth):
        T = pose(truth[name], task.home[:3, :3])
        backend.reset(task.home, np.random.default_rng(0))
        backend.command(T, 1.0)
        T = move(backend, T, 0.0, opening=0.0)
        T = move(backend, T, 0.02, 0.0, 0.05, opening=0.0)
        way = backend.truth()[name] - truth[name]
        if np.allclose(way, [0.02, 0.0, 0.05]):
            loose = name
            break
    assert loose is not None
    move(backend, T, 0.0, opening=1.0)
    np.testing.assert_allclose(backend.truth()[loose] - truth[loose], [0.02, 0.0, 0.0], atol=1e-9)
    move(backend, T, 0.0, 0.0, 0.1, opening=1.0)
    np.testing.assert_allclose(backend.truth()[loose] - truth[loose], [0.02, 0.0, 0.0], atol=1e-9)


def test_fingers_that_close_far_away_hold_nothing() -> None:
    backend, home = started("towel_folding"), get_task("towel_folding").home
    truth = backend.truth()
    T = move(backend, home, 0.0, 0.0, 0.2, opening=1.0)
    T = move(backend, T, 0.0, opening=0.0)
    move(backend, T, 0.05, opening=0.0)
    for name, point in backend.truth().items():
        np.testing.assert_array_equal(point, truth[name])


@pytest.mark.parametrize("task", TASKS)
def test_snapshot_goes_back_to_where_it_was_taken(task: str) -> None:
    backend, T = started(task), get_task(task).home
    T = move(backend, T, 0.01, opening=0.0)
    truth, saved = backend.truth(), backend.snapshot()
    images = backend.policy_images(8)
    move(backend, T, 0.05, 0.03, opening=1.0)
    backend.restore(saved)
    for name, point in backend.truth().items():
        np.testing.assert_array_equal(point, truth[name])
    for name, image in backend.policy_images(8).items():
        np.testing.assert_array_equal(image, images[name])


def test_images_are_one_colour_that_tells_the_position_in_millimetres() -> None:
    backend = FakeBackend(get_task("usb_insertion"))
    backend.reset(pose(np.array([0.300, 0.017, 0.256])), np.random.default_rng(0))
    for image in backend.policy_images(16).values():
        assert image.shape == (16, 16, 3) and image.dtype == np.uint8
        np.testing.assert_array_equal(np.unique(image.reshape(-1, 3), axis=0), [[300 - 256, 17, 0]])


def test_agents_cameras_are_those_that_were_asked_for() -> None:
    backend = started("usb_insertion")
    names = [frame.name for frame in backend.capture()]
    assert names and [frame.name for frame in backend.capture(names[:1])] == names[:1]
    assert backend.capture(()) == ()
    frame = backend.capture()[0]
    assert frame.rgb.shape == (480, 640, 3) and frame.depth_m.shape == (480, 640) and (frame.depth_m == 0.5).all()
