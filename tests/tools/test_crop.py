import numpy as np
import pytest

from tools.crop import LARGEST_ZOOM, SMALLEST, Crop, crop_around

WIDTH, HEIGHT = 640, 480


def around(*pixels: tuple[float, float], margin_px: float = 50.0) -> Crop:
    return crop_around(pixels, width=WIDTH, height=HEIGHT, margin_px=margin_px)


def test_way_back_worked_by_hand():
    crop = Crop(left=100, top=200, width=160, height=120, zoom=4.0)
    # The first pixel of the part covers the first quarter of pixel (100, 200): its centre is 3/8 before that one's.
    assert crop.to_whole((0.0, 0.0)) == (99.625, 199.625)
    assert crop.to_whole((1.5, 1.5)) == (100.0, 200.0)
    assert crop.to_part((100.0, 200.0)) == (1.5, 1.5)


def test_way_back_undoes_the_way_there(rng: np.random.Generator):
    for _ in range(50):
        pixels = rng.uniform((0, 0), (WIDTH - 1, HEIGHT - 1), size=(2, 2))
        crop = around(*(tuple(p) for p in pixels))
        for pixel in pixels:
            np.testing.assert_allclose(crop.to_whole(crop.to_part(tuple(pixel))), pixel, atol=1e-9)


@pytest.mark.parametrize("where", [(320.0, 240.0), (17.3, 460.8), (639.0, 0.0), (100.25, 99.75)])
def test_dot_that_is_seen_in_the_part_is_where_it_was_drawn(where: tuple[float, float]):
    """Within half a pixel; the centre of gravity of the dot is found in the part alone."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    dot = 255 * np.exp(-((u - where[0]) ** 2 + (v - where[1]) ** 2) / (2 * 2.0**2))
    crop = around(where, (where[0] + 3, where[1] - 2))
    part = crop.cut(np.repeat(dot.astype(np.uint8)[..., np.newaxis], 3, axis=2))[..., 0].astype(float)
    peak = np.unravel_index(np.argmax(part), part.shape)
    np.testing.assert_allclose(crop.to_whole((float(peak[1]), float(peak[0]))), where, atol=0.5)


@pytest.mark.parametrize("pixels", [[(0.0, 0.0)], [(639.0, 479.0)], [(5.0, 5.0), (630.0, 470.0)]])
def test_part_lies_in_the_image_and_holds_the_pixels(pixels: list[tuple[float, float]]):
    crop = around(*pixels)
    assert crop.left >= 0 and crop.left + crop.width <= WIDTH
    assert crop.top >= 0 and crop.top + crop.height <= HEIGHT
    for u, v in pixels:
        assert crop.left <= u < crop.left + crop.width and crop.top <= v < crop.top + crop.height


def test_part_is_enlarged_to_the_images_size_but_not_beyond_what_it_shows():
    near, wide = around((320.0, 240.0), margin_px=1.0), around((100.0, 100.0), (500.0, 300.0))
    assert near.zoom == LARGEST_ZOOM and near.width == round(SMALLEST * WIDTH)
    assert wide.cut(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).shape[1] == pytest.approx(WIDTH, abs=2)
