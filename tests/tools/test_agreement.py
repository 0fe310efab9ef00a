from dataclasses import replace

import numpy as np
import pytest

from tests.agps_agent.scenes import LEFT, PORT, RIGHT, project, scene
from tools.agreement import disagreement_m
from tools.perception import Point, locate_keypoint


def seen(xyz: np.ndarray, camera: str = "side") -> Point:
    return Point(label="port_left", camera=camera, uv=np.zeros(2), xyz=np.asarray(xyz), depth_spread_m=0.0)


@pytest.mark.parametrize("xyz", [LEFT, RIGHT])
def test_cameras_agree_on_what_is_there(xyz: np.ndarray):
    at = scene(views=(0.0, 1.0, np.pi))
    (uv,) = project(at.frames["side"], xyz[np.newaxis])
    assert disagreement_m(at, locate_keypoint(at, "side", "port_left", uv)) < 0.002


def test_camera_that_sees_through_the_point_contradicts():
    """2 cm above the port there is air: the camera across sees the housing behind it."""
    at = scene(views=(0.0, np.pi))
    assert disagreement_m(at, seen(PORT + [0, 0, 0.02])) > 0.03


def test_camera_that_something_hides_the_point_from_says_nothing():
    at = scene(views=(0.0, np.pi))
    across = at.frames["view_1"]
    hidden = replace(across, depth_m=np.minimum(across.depth_m, 0.2).astype(np.float32))
    assert disagreement_m(replace(at, frames={**at.frames, "view_1": hidden}), seen(PORT + [0, 0, 0.02])) == 0.0


def test_camera_that_does_not_look_there_says_nothing():
    at = scene(views=(0.0, np.pi))
    blind = replace(at.frames["view_1"], depth_m=np.zeros_like(at.frames["view_1"].depth_m))
    assert disagreement_m(replace(at, frames={**at.frames, "view_1": blind}), seen(PORT + [0, 0, 0.02])) == 0.0
    assert disagreement_m(at, seen(PORT + [0, 0, 5.0])) == 0.0  # behind the cameras
    assert disagreement_m(at, seen(PORT + [0, 3.0, 0.0])) == 0.0  # beside their images


def test_point_is_not_checked_against_its_own_camera():
    assert disagreement_m(scene(), seen(PORT + [0, 0, 0.02])) == 0.0
