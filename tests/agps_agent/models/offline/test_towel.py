"""A towel drawn in perspective, whole, in the hand, folded, or taken away."""

import cv2
import numpy as np
import pytest

from agps_agent.models.offline.towel import find_towel
from rl.types import ByteArray, FloatArray

CORNERS = {
    "corner_left": (215.0, 195.0),
    "corner_grasp": (435.0, 190.0),
    "corner_right": (480.0, 385.0),
    "corner_goal": (170.0, 390.0),
}
SIZE = 192


def towel() -> ByteArray:
    """The cloth from above, its corners in the order of CORNERS."""
    row, column = np.mgrid[:SIZE, :SIZE]
    image = np.full((SIZE, SIZE, 3), (226, 219, 202), np.uint8)
    border = np.minimum(np.minimum(row, column), SIZE - 1 - np.maximum(row, column))
    image[border < 7] = (178, 160, 128)
    image[row + (SIZE - 1 - column) < 44] = (186, 44, 40)
    image[(SIZE - 1 - row) + column < 44] = (44, 78, 168)
    image[border < 3] = (178, 160, 128)
    return image


def draw(*, present: bool = True, gain: float = 1.0, tint: tuple[float, float, float] = (1, 1, 1)) -> ByteArray:
    image = np.full((480, 640, 3), (60, 72, 69), np.uint8)
    if present:
        corners = np.array([(0, 0), (SIZE - 1, 0), (SIZE - 1, SIZE - 1), (0, SIZE - 1)], np.float32)
        view = cv2.getPerspectiveTransform(corners, np.array(list(CORNERS.values()), np.float32))
        cloth = cv2.warpPerspective((towel() * np.array(tint)).clip(0, 255).astype(np.uint8), view, (640, 480))
        where = cv2.warpPerspective(np.ones((SIZE, SIZE), np.uint8), view, (640, 480)) > 0
        image[where] = cloth[where]
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def cover(image: ByteArray, centre: tuple[float, float], half: int, colour: tuple[int, int, int]) -> ByteArray:
    u, v = round(centre[0]), round(centre[1])
    cv2.rectangle(image, (u - half, v - half), (u + half, v + half), colour, -1)
    return image


def fold(image: ByteArray) -> ByteArray:
    """Lay the half with the red corner on the other: its back is as pale, the fold has no hem."""
    outline = np.array([CORNERS["corner_left"], CORNERS["corner_grasp"], CORNERS["corner_right"]])
    return cv2.fillConvexPoly(image, np.round(outline).astype(np.int32), (60, 72, 69))


@pytest.mark.parametrize("gain", [0.55, 1.0, 1.1])
@pytest.mark.parametrize("tint", [(1, 1, 1), (0.75, 1.1, 0.9)])
def test_four_corners_are_found_to_three_pixels(gain: float, tint: tuple[float, float, float]) -> None:
    found = find_towel(draw(gain=gain, tint=tint))
    assert found is not None
    assert set(found.points) == set(CORNERS)
    for name, corner in CORNERS.items():
        np.testing.assert_allclose(found.points[name], corner, atol=3.0, err_msg=name)


@pytest.mark.parametrize("name", CORNERS)
def test_corner_under_the_fingers_is_not_guessed(name: str) -> None:
    found = find_towel(cover(draw(), CORNERS[name], 14, (30, 30, 35)))
    assert found is not None
    assert set(found.points) == set(CORNERS) - {name}


def test_ends_of_a_fold_are_no_corners_where_they_show_no_hem() -> None:
    found = find_towel(fold(draw()))
    assert found is not None
    assert set(found.points) == {"corner_goal"}


def point_errors(image: ByteArray) -> FloatArray:
    found = find_towel(image)
    assert found is not None
    return np.array([np.linalg.norm(np.subtract(found.points[n], c)) for n, c in CORNERS.items() if n in found.points])


def test_shadow_over_the_towel_does_not_move_its_corners() -> None:
    image = draw()
    image[:, 330:400] = (image[:, 330:400] * 0.55).astype(np.uint8)
    assert point_errors(image).max() < 3.0


@pytest.mark.parametrize(
    "image",
    [
        draw(present=False),
        np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8),
        np.full((480, 640, 3), (190, 40, 40), np.uint8),
    ],
)
def test_no_towel_is_seen_where_there_is_none(image: ByteArray) -> None:
    assert find_towel(image) is None
