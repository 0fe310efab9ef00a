import cv2
import numpy as np
import pytest

from rl.transforms import invert, pose, rotvec_to_matrix
from tests.tools.scenes import T_BASE_CAM, K, scene
from tools.errors import ToolFailed, ToolRetry
from tools.perception import annotate, deproject, depth_at, locate_keypoint


def test_deprojection_worked_by_hand():
    # camera: ((420 - 320) / 500, (190 - 240) / 500, 1) * 2 = (0.4, -0.2, 2); base: (0.2, -0.4, -2) + (0.5, 0, 2.5)
    np.testing.assert_allclose(deproject([[420, 190]], [2.0], K, T_BASE_CAM), [[0.7, -0.4, 0.5]], atol=1e-12)


def test_transform_is_the_camera_in_the_base_not_its_inverse():
    np.testing.assert_allclose(deproject([[320, 240]], [1e-9], K, T_BASE_CAM), [[0.5, 0.0, 2.5]], atol=1e-6)
    inverse = invert(T_BASE_CAM)
    assert not np.allclose(deproject([[420, 190]], [2.0], K, inverse), [[0.7, -0.4, 0.5]], atol=0.1)


def test_deprojection_undoes_projection(rng: np.random.Generator):
    T_base_cam = pose(rng.normal(size=3), rotvec_to_matrix(rng.normal(size=3)))
    p_cam = rng.uniform([-1, -1, 0.5], [1, 1, 3], (50, 3))
    uv = p_cam @ K.T / p_cam[:, 2:]
    p_base = p_cam @ T_base_cam[:3, :3].T + T_base_cam[:3, 3]
    np.testing.assert_allclose(deproject(uv[:, :2], p_cam[:, 2], K, T_base_cam), p_base, atol=1e-9)


def test_distortion_is_undone(rng: np.random.Generator):
    coefficients = np.array([-0.05, 0.01, 0.001, -0.0005, 0.0])
    p_cam = rng.uniform([-0.3, -0.3, 1.0], [0.3, 0.3, 2.0], (20, 3))
    uv, _ = cv2.projectPoints(p_cam, np.zeros(3), np.zeros(3), K, coefficients)
    found = deproject(uv[:, 0], p_cam[:, 2], K, np.eye(4), distortion=coefficients)
    np.testing.assert_allclose(found, p_cam, atol=1e-4)


def test_one_pixel_gives_one_point_and_a_depth_image_is_looked_up():
    assert deproject((420, 190), 2.0, K, T_BASE_CAM).shape == (3,)
    looked_up = deproject([[420, 190], [320, 240]], np.full((480, 640), 2.0), K, T_BASE_CAM)
    np.testing.assert_allclose(looked_up, [[0.7, -0.4, 0.5], [0.5, 0, 0.5]], atol=1e-12)


@pytest.mark.parametrize("depth", [0.0, -1.0, np.nan, np.inf])
def test_depth_without_data_is_refused(depth: float):
    with pytest.raises(ToolFailed, match="no data"):
        deproject([[420, 190]], [depth], K, T_BASE_CAM)


def test_depth_is_the_median_of_valid_pixels():
    depth = np.zeros((100, 100), np.float32)
    depth[50, 50:53] = [1.0, 2.0, 9.0]
    depth[51, 50] = np.nan
    assert depth_at(depth, (50, 50)) == 2.0


def test_patch_without_depth_is_refused_and_a_pixel_outside_can_be_fixed():
    with pytest.raises(ToolFailed, match="No depth within 3 px") as failed:
        depth_at(np.zeros((480, 640)), (10, 10))
    assert failed.value.reason == "no_depth"
    for uv in [(640, 10), (-1, 10), (10, 480), (np.nan, 5)]:
        with pytest.raises(ToolRetry, match="outside of the 640x480 image") as retry:
            depth_at(np.ones((480, 640)), uv)
        assert retry.value.reason == "outside_image"


def test_patch_is_cut_at_the_border():
    assert depth_at(np.ones((480, 640)), (639.4, 479.4)) == 1.0
    assert depth_at(np.ones((480, 640)), (0, 0)) == 1.0


def test_keypoint_on_a_rim_takes_the_rims_depth_not_the_holes():
    here = scene()
    depth = here.frames["side"].depth_m
    depth[:, 320:] = 2.05  # the hole takes 3 of 5 columns of the patch around column 320
    point = locate_keypoint(here, "side", "port_left", (320, 240))
    np.testing.assert_allclose(point.xyz, [0.5, 0.0, 0.5], atol=1e-6)
    np.testing.assert_allclose(point.depth_spread_m, 0.05, atol=1e-6)


def test_refusal_names_the_keypoint_and_the_known_cameras():
    with pytest.raises(ToolRetry, match="port_left: Pixel"):
        locate_keypoint(scene(), "side", "port_left", (900, 3))
    with pytest.raises(ToolRetry, match="choose one of side"):
        locate_keypoint(scene(), "front", "port_left", (9, 3))


def test_annotation_marks_a_copy_and_leaves_out_what_is_outside():
    rgb = np.full((480, 640, 3), 90, np.uint8)
    marked = annotate(rgb, {"a": (100, 100), "beyond": (700, 100)})
    assert (rgb == 90).all()
    assert (marked[97:104, 97:104] != 90).any()
    assert (marked[:, 400:] == 90).all()


def test_labels_of_close_keypoints_do_not_cover_each_other():
    rgb = np.zeros((480, 640, 3), np.uint8)
    points = {"port_left": (305, 357), "port_right": (333, 357), "port": (319, 357)}
    together = annotate(rgb, points)
    for index, (label, colour) in enumerate(
        {"port_left": (255, 64, 64), "port_right": (64, 200, 255), "port": (255, 200, 0)}.items()
    ):
        inked = int((together == colour).all(axis=2).sum())
        alone = annotate(rgb, {f"other{i}": (5.0 + 90 * i, 5.0) for i in range(index)} | {label: (305, 157)})
        assert inked > 0.8 * int((alone == colour).all(axis=2).sum())
