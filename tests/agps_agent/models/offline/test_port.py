import cv2
import numpy as np
import pytest

from agps_agent.models.offline.port import find_port
from rl.types import ByteArray
from tests.agps_agent.scenes import LEFT, PORT, RIGHT, camera, draw, project


@pytest.mark.parametrize("azimuth_rad", [-0.3, -0.1, 0.0, 0.15, 0.3])
def test_port_is_found_to_half_a_pixel(azimuth_rad: float) -> None:
    frame = draw(camera(azimuth_rad))
    found = find_port(frame.rgb)
    assert found is not None
    expected = project(frame, np.array([LEFT, RIGHT]))
    np.testing.assert_allclose([found.points["port_left"], found.points["port_right"]], expected, atol=0.5)


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.3])
def test_brightness_does_not_matter(gain: float) -> None:
    frame = draw(camera())
    found = find_port(np.clip(frame.rgb * gain, 0, 255).astype(np.uint8))
    assert found is not None
    np.testing.assert_allclose(found.points["port_left"], project(frame, LEFT[np.newaxis])[0], atol=0.5)


def test_shadow_across_the_frame_does_not_move_it() -> None:
    frame = draw(camera())
    shaded = frame.rgb.copy()
    centre = project(frame, PORT[np.newaxis])[0]
    shaded[: round(centre[1])] = shaded[: round(centre[1])] * 0.55
    found = find_port(shaded)
    assert found is not None
    np.testing.assert_allclose(found.points["port_right"], project(frame, RIGHT[np.newaxis])[0], atol=0.6)


def test_half_hidden_port_is_not_guessed() -> None:
    assert find_port(draw(camera(), cover=PORT + [0.012, 0.015, 0.012]).rgb) is None


def _nothing() -> ByteArray:
    return np.full((480, 640, 3), 90, np.uint8)


def _noise() -> ByteArray:
    return np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)


def _window_frame() -> ByteArray:
    """A pale frame around a dark opening, of other proportions."""
    image = np.full((480, 640, 3), 20, np.uint8)
    cv2.rectangle(image, (280, 220), (360, 262), (220, 220, 220), -1)
    cv2.rectangle(image, (285, 225), (355, 257), (5, 5, 5), -1)
    return image


@pytest.mark.parametrize("image", [_nothing(), _noise(), _window_frame(), draw(camera(), with_port=False).rgb])
def test_no_port_is_seen_where_there_is_none(image: ByteArray) -> None:
    assert find_port(image) is None
