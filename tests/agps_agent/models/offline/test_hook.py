import cv2
import numpy as np
import pytest

from agps_agent.models.offline.hook import find_hook
from rl.types import ByteArray

TIP, BASE = np.array([300.0, 180.0]), np.array([360.0, 215.0])


def draw(
    *, ball: bool = True, collar: bool = True, rod: bool = True, strand_at: float | None = None, gain: float = 1.0
) -> ByteArray:
    """A pale rod on a dark post, with a blue ball and a yellow collar; a red strand hangs before it."""
    image = np.full((480, 640, 3), (150, 155, 165), np.uint8)
    cv2.rectangle(image, (0, 250), (640, 480), (140, 128, 112), -1)
    cv2.rectangle(image, (350, 190), (372, 460), (33, 36, 41), -1)
    if collar:
        cv2.circle(image, BASE.astype(int).tolist(), 9, (220, 165, 25), -1, cv2.LINE_AA)
    if rod:
        cv2.line(image, TIP.astype(int).tolist(), BASE.astype(int).tolist(), (205, 206, 210), 6, cv2.LINE_AA)
    if ball:
        cv2.circle(image, TIP.astype(int).tolist(), 7, (12, 75, 210), -1, cv2.LINE_AA)
    if strand_at is not None:
        u = round(strand_at)
        cv2.line(image, (u, 90), (u + 4, 260), (205, 12, 18), 5, cv2.LINE_AA)
    return np.clip(image * gain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("gain", [0.45, 1.0, 1.2])
def test_hook_is_found_to_two_pixels_in_any_light(gain: float) -> None:
    found = find_hook(draw(gain=gain))
    assert found is not None
    np.testing.assert_allclose(found.points["hook_tip"], TIP, atol=0.5)
    np.testing.assert_allclose(found.points["hook_base"], BASE, atol=2.0)


@pytest.mark.parametrize("strand_at", [299.0, 356.0])
def test_strand_before_ball_or_collar_does_not_hide_the_hook(strand_at: float) -> None:
    found = find_hook(draw(strand_at=strand_at))
    assert found is not None
    np.testing.assert_allclose(found.points["hook_tip"], TIP, atol=2.0)
    np.testing.assert_allclose(found.points["hook_base"], BASE, atol=3.0)


def test_base_that_is_hidden_is_not_guessed() -> None:
    found = find_hook(draw(collar=False))
    assert found is not None
    assert set(found.points) == {"hook_tip"}


def test_ball_and_collar_without_a_rod_are_no_hook() -> None:
    assert find_hook(draw(rod=False)) is None


def test_cord_from_ball_to_bead_is_no_rod() -> None:
    image = draw(rod=False)
    cv2.line(image, TIP.astype(int).tolist(), BASE.astype(int).tolist(), (205, 12, 18), 6, cv2.LINE_AA)
    assert find_hook(image) is None


@pytest.mark.parametrize(
    "image",
    [
        draw(ball=False, collar=False, rod=False),
        np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8),
        np.full((480, 640, 3), (20, 60, 200), np.uint8),
    ],
)
def test_no_hook_is_seen_where_there_is_none(image: ByteArray) -> None:
    assert find_hook(image) is None
