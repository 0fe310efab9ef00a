"""A camera half a metre above a plane, with 500 px of focal length: a pixel is a millimetre there."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rl.types import FloatArray, RGBDFrame
from tools.memory.look import Drawn, Patch, correlation, cut_patch, look_around, look_at

PORT = np.array([0.5, 0.0, 0.0])
SIDE = 30


def view(
    *, right: int = 0, down: int = 0, port: bool = True, size: tuple[int, int] = (14, 22), depth_m: float = 0.5
) -> RGBDFrame:
    """A bright port with a dark opening on a grey plane, moved by pixels of 1 mm; the nominal port is in the middle."""
    grey = np.full((480, 640), 60, np.uint8)
    (h, w), (v, u) = size, (240 + down, 320 + right)
    if port:
        cv2.rectangle(grey, (u - w // 2, v - h // 2), (u + w // 2, v + h // 2), 200, -1)
        cv2.rectangle(grey, (u - w // 4, v - h // 4), (u + w // 4, v + h // 4), 5, -1)
    T = np.eye(4)
    T[:3, :3] = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # image right is base -y
    T[:3, 3] = PORT + [0.0, 0.0, depth_m]
    K = np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]])
    depth = np.full(grey.shape, depth_m, np.float32)
    return RGBDFrame(name="side", rgb=np.dstack([grey] * 3), depth_m=depth, K=K, T_base_cam=T)


def covered(frame: RGBDFrame, columns: slice, nearer_m: float) -> RGBDFrame:
    """Something white before some columns of the image, nearer to the camera; further for a negative distance."""
    rgb, depth = frame.rgb.copy(), frame.depth_m.copy()
    rgb[:, columns], depth[:, columns] = 255, depth[:, columns] - nearer_m
    return replace(frame, rgb=rgb, depth_m=depth)


@pytest.fixture
def patch() -> Patch:
    cut = cut_patch(view(), PORT)
    assert cut is not None
    return cut


def test_patch_is_three_centimetres_around_the_point(patch: Patch):
    assert patch.grey.shape == patch.depth_m.shape == (SIDE, SIDE)
    assert patch.corner == (320 - SIDE // 2, 240 - SIDE // 2)
    np.testing.assert_allclose(patch.points[0], PORT + [0.015, 0.015, 0.0], atol=1e-9)


def test_place_is_unmoved_in_other_light_and_with_noise(patch: Patch, rng: np.random.Generator):
    for gain, offset, noise in ((1.0, 0, 0.0), (0.5, 0, 0.0), (1.2, 10, 0.0), (1.0, 0, 12.0)):
        frame = view()
        rgb = frame.rgb * gain + offset + rng.normal(0.0, noise, frame.rgb.shape)
        look = look_at(patch, replace(frame, rgb=np.clip(rgb, 0, 255).astype(np.uint8)))
        assert (look.verdict, look.why) == ("unmoved", "")


@pytest.mark.parametrize(("right", "down", "mm"), [(3, 0, 3), (0, -3, 3), (3, 4, 5), (-6, 0, 6)])
def test_place_that_was_shifted_has_moved_by_as_much(patch: Patch, right: int, down: int, mm: int):
    look = look_at(patch, view(right=right, down=down))
    assert (look.verdict, look.why) == ("moved", f"has moved by about {mm} mm")


@pytest.mark.parametrize("right", [10, 30, 300])
def test_place_that_went_far_away_does_not_look_as_it_did(patch: Patch, right: int):
    look = look_at(patch, view(right=right))
    assert look.verdict == "moved" and look.why.startswith("does not look as it did")


def test_shift_that_help_forgives_is_none(patch: Patch):
    assert look_at(patch, view(right=2)).verdict == "unmoved"


def test_what_stands_before_a_place_hides_it_and_a_little_of_it_does_not(patch: Patch):
    assert look_at(patch, covered(view(), slice(0, 322), 0.1)).verdict == "hidden"  # 17 of 30 columns
    assert look_at(patch, covered(view(), slice(0, 312), 0.1)).verdict == "unmoved"  # 7 of 30
    assert look_at(patch, covered(view(right=4), slice(0, 312), 0.1)).verdict == "moved"


def test_camera_that_sees_behind_a_place_sees_that_it_is_gone(patch: Patch):
    frame = view()
    look = look_at(patch, replace(frame, depth_m=frame.depth_m + np.float32(0.02)))
    assert (look.verdict, look.why) == ("moved", "is gone")
    assert look_at(patch, replace(frame, depth_m=frame.depth_m + np.float32(0.005))).verdict == "unmoved"


def test_image_without_depth_is_compared_by_its_grey_values(patch: Patch):
    blind = np.zeros_like(view().depth_m)
    assert look_at(patch, replace(view(), depth_m=blind)).verdict == "unmoved"
    assert look_at(patch, replace(view(right=4), depth_m=blind)).verdict == "moved"


def test_camera_on_the_hand_finds_the_place_from_elsewhere(patch: Patch):
    """It has moved 20 mm to the right and 20 mm up: the port is 19 px to the left, and 4 % smaller."""
    frame = view(right=-19, size=(13, 21), depth_m=0.52)
    T = frame.T_base_cam.copy()
    T[1, 3] -= 0.02
    assert look_at(patch, replace(frame, T_base_cam=T)).verdict == "unmoved"
    moved = view(right=-19 + 5, size=(13, 21), depth_m=0.52)
    assert look_at(patch, replace(moved, T_base_cam=T)).verdict == "moved"


def test_camera_that_looks_elsewhere_does_not_see_the_place(patch: Patch):
    frame = view()
    for shift in ([0.0, 2.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, -0.49]):
        T = frame.T_base_cam.copy()
        T[:3, 3] += shift
        assert look_at(patch, replace(frame, T_base_cam=T)).verdict == "hidden"


def edge() -> RGBDFrame:
    """A grey plane, bright on the right."""
    frame = view(port=False)
    rgb = frame.rgb.copy()
    rgb[:, 320:] = 200
    return replace(frame, rgb=rgb)


@pytest.mark.parametrize("frame", [view(port=False), edge()], ids=["plain", "edge"])
def test_nothing_is_kept_of_what_looks_the_same_from_a_little_beside(frame: RGBDFrame):
    assert cut_patch(frame, PORT) is None


@pytest.mark.parametrize("xyz", [[0.5, 2.0, 0.0], [0.5, 0.0, 1.0]], ids=["beside the image", "behind the camera"])
def test_nothing_is_kept_of_what_the_camera_does_not_show(xyz: list[float]):
    assert cut_patch(view(), np.array(xyz)) is None


def test_nothing_is_kept_of_a_point_that_something_hides():
    assert cut_patch(covered(view(), slice(0, 325), 0.1), PORT) is None
    assert cut_patch(replace(view(), depth_m=np.zeros_like(view().depth_m)), PORT) is None


def test_patch_near_the_edge_of_the_image_stays_inside():
    point: FloatArray = PORT + [0.235, 0.0, 0.0]  # 5 px below the upper edge
    cut = cut_patch(view(down=-235), point)
    assert cut is not None and cut.corner == (320 - SIDE // 2, 0)
    assert look_at(cut, view(down=-235)).verdict == "unmoved"


def test_look_around_names_the_first_place_that_is_not_where_it_was(patch: Patch):
    here, there = {"side": view()}, {"side": view(right=4)}
    assert look_around({"port": patch}, here).verdict == look_around({}, there).verdict == "unmoved"
    assert look_around({"port": patch}, there).why == "port has moved by about 4 mm"
    assert look_around({"port": None}, here).why == "nothing was kept of how port looks"
    assert look_around({"port": patch}, {}).why == "there is no camera side to look at port"


def test_correlation_worked_by_hand():
    """Of (0, 100, 0, 100) with itself twice as bright: 10,000 squared over that plus the noise of 4 x 2^2."""
    then = np.array([0, 100, 0, 100], np.float32)
    now = np.stack([then * 2 + 10, 200 - then, np.full(4, 80, np.float32)])
    seen = np.ones((3, 4), bool)
    brighter = 20_000 / np.sqrt((10_000 + 16) * (40_000 + 16))
    reversed_ = -10_000 / (10_000 + 16)
    np.testing.assert_allclose(correlation(then, now, seen), [brighter, reversed_, 0.0], atol=1e-6)
    seen[:, 2:] = False  # two pixels: half of the squares, half of the noise
    now[:, 2:] = 255
    np.testing.assert_allclose(correlation(then, now, seen), [brighter, reversed_, 0.0], atol=1e-6)


def two_shifts(second: FloatArray, seen: list[bool]) -> Drawn:
    """An image of four pixels at no shift, as the patch of `small` but for one, and at another shift."""
    return Drawn(
        grey=np.array([[0, 10, 90, 200], second], np.float32),
        seen=np.array([[True] * 4, seen]),
        distances_m=np.array([0.0, 0.005]),
        pixel_m=0.001,
        gone=0.0,
    )


@pytest.mark.parametrize(("second", "as_alike"), [(8, True), (10, True), (20, False)])
def test_two_shifts_are_compared_by_what_is_seen_at_both(patch: Patch, second: int, as_alike: bool):
    """Of four pixels the arm hides two at the second shift.

    At the first the others are (0, 10), as in the patch: 50 / (50 + 8) = 0.86. At the second (0, 8): 40 / sqrt(58 * 40)
    = 0.83; (0, 20): 100 / sqrt(58 * 208) = 0.91.
    """
    small = replace(patch, grey=np.array([[0, 10], [20, 200]], np.uint8))
    drawn = two_shifts(np.array([0, second, 20, 200]), [True, True, False, False])
    assert drawn.is_as_alike(small, 0, np.array([False, True])) == as_alike
    assert drawn.is_as_alike(small, 0, np.array([True, True])) == as_alike


def test_two_shifts_at_which_nothing_is_seen_together_are_not_alike(patch: Patch):
    small = replace(patch, grey=np.array([[0, 10], [20, 200]], np.uint8))
    drawn = replace(two_shifts(np.array([0, 8, 20, 200]), [True] * 4), seen=np.eye(2, 4, dtype=bool))
    assert not drawn.is_as_alike(small, 0, np.array([False, True]))
