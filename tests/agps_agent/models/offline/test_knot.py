import cv2
import numpy as np
import pytest

from agps_agent.models.offline.knot import find_knot
from rl.types import ByteArray

TOP = np.array([320.0, 260.0])


def draw(*, lean: float = 0.0, knots: int = 1, lump: bool = True) -> ByteArray:
    """A loop of cord on a pale ground, with a diamond and a tassel below, that lean by an angle about the loop."""
    image = np.full((480, 640, 3), (150, 150, 150), np.uint8)
    turn = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    for number in range(knots):
        top = TOP + [120 * number, 0]

        def at(*offset: float, top: np.ndarray = top) -> list[int]:
            return np.round(top + turn @ np.array(offset)).astype(int).tolist()

        cv2.ellipse(image, (int(top[0]), int(top[1]) - 70), (18, 70), 0, 0, 360, (205, 12, 18), 5, cv2.LINE_AA)
        if lump:
            diamond = np.array([at(0, 0), at(20, 20), at(0, 40), at(-20, 20)])
            cv2.fillConvexPoly(image, diamond, (205, 16, 20), cv2.LINE_AA)
        cv2.line(image, at(0, 44), at(0, 78), (205, 16, 20), 9, cv2.LINE_AA)
    return image


@pytest.mark.parametrize("lean", [-0.4, 0.0, 0.3])
def test_top_of_the_knot_is_found_also_when_it_swings(lean: float) -> None:
    found = find_knot(draw(lean=lean))
    assert found is not None
    np.testing.assert_allclose(found.points["knot"], TOP, atol=4.0)


def test_cord_and_tassel_alone_are_no_knot() -> None:
    assert find_knot(draw(lump=False)) is None


def test_two_knots_are_not_told_apart() -> None:
    assert find_knot(draw(knots=2)) is None


def test_red_wall_is_no_knot() -> None:
    assert find_knot(np.full((480, 640, 3), (200, 10, 10), np.uint8)) is None
