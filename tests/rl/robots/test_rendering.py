import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rl.errors import HardwareFault
from rl.robots.mujoco import MujocoBackend
from rl.tasks import UsbInsertion
from rl.transforms import invert

TASK = UsbInsertion()


@pytest.fixture(scope="module")
def backend():
    backend = MujocoBackend(TASK)
    backend.reset(TASK.home, np.random.default_rng(0))
    yield backend
    backend.close()


def _pixel(frame, point):
    """Return the pixel (u, v) and the depth of a base-frame point."""
    p_cam = (invert(frame.T_base_cam) @ [*point, 1.0])[:3]
    u, v, _ = frame.K @ p_cam / p_cam[2]
    return u, v, p_cam[2]


def test_agent_pictures_and_policy_images_do_not_disturb_each_other(backend):
    before = backend.policy_images(64)
    frame = backend.capture(["side"])[0]
    after = backend.policy_images(64)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    np.testing.assert_array_equal(backend.capture(["side"])[0].rgb, frame.rgb)


def test_images_are_right_after_another_simulation_was_collected(backend):
    expected = backend.policy_images(64)["wrist_1"]
    for _ in range(2):
        other = MujocoBackend(TASK)
        other.reset(TASK.home, np.random.default_rng(0))
        np.testing.assert_array_equal(other.policy_images(64)["wrist_1"], expected)
        del other
        gc.collect()
    np.testing.assert_array_equal(backend.policy_images(64)["wrist_1"], expected)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_policy_images_have_the_asked_size_and_are_not_flat(backend, size):
    images = backend.policy_images(size)
    assert list(images) == ["wrist_1", "wrist_2"]
    for image in images.values():
        assert image.shape == (size, size, 3)
        assert image.std() > 20


def test_depth_at_the_rim_gives_the_rim_back(backend):
    for frame in backend.capture():
        for name in ("port_left", "port_right"):
            point = TASK.landmarks[name]
            u, v, z = _pixel(frame, point)
            u, v = round(u), round(v)
            if not (0 <= u < 640 and 0 <= v < 480):
                assert frame.name != "side"
                continue
            depth = frame.depth_m[v, u]
            p_cam = depth * np.linalg.inv(frame.K) @ [u, v, 1.0]
            found = (frame.T_base_cam @ [*p_cam, 1.0])[:3]
            np.testing.assert_allclose(found, point, atol=1e-3)
            assert depth == pytest.approx(z, abs=1e-3)


def test_sky_has_no_depth(backend):
    frame = backend.capture(["side"])[0]
    assert frame.depth_m[0, 0] == 0.0
    assert 0.1 < frame.depth_m[frame.depth_m > 0].min()
    assert frame.depth_m.max() <= 3.0


def test_rim_is_bright_and_the_opening_is_dark(backend):
    frame = backend.capture(["side"])[0]

    def brightness(point):
        u, v, _ = _pixel(frame, point)
        return frame.rgb[round(v), round(u)].mean()

    assert brightness(TASK.landmarks["port"]) < 40
    assert brightness(TASK.landmarks["port_left"]) > 120
    assert brightness(TASK.landmarks["port_right"]) > 120


def test_side_camera_resolves_the_port_and_names_left_as_it_sees_it(backend):
    frame = backend.capture(["side"])[0]
    left, right = (_pixel(frame, TASK.landmarks[name]) for name in ("port_left", "port_right"))
    assert left[0] < right[0]
    metres_per_pixel = np.linalg.norm(TASK.landmarks["port_left"] - TASK.landmarks["port_right"]) / (right[0] - left[0])
    assert metres_per_pixel < 0.00065


def test_side_camera_sees_port_and_plug_over_the_whole_start_region(backend):
    frame = backend.capture(["side"])[0]
    spread = np.array([TASK.start_xy_m, TASK.start_xy_m, TASK.start_z_m])
    for corner in np.ndindex(2, 2, 2):
        tcp = TASK.home[:3, 3] + (2 * np.array(corner) - 1) * spread
        for point in (tcp, tcp - [0, 0, TASK.p_tcp_tool[2]]):
            u, v, _ = _pixel(frame, point)
            assert 10 < u < 630
            assert 10 < v < 470


def test_any_thread_may_render(backend):
    expected = backend.policy_images(64)["wrist_1"]
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(backend.policy_images, 64).result()["wrist_1"]
    np.testing.assert_array_equal(elsewhere, expected)
    np.testing.assert_array_equal(backend.policy_images(64)["wrist_1"], expected)


def test_flat_image_is_a_fault():
    task = UsbInsertion()
    backend = MujocoBackend(task)
    backend.reset(task.home, np.random.default_rng(0))
    camera = backend.model.camera("wrist_1").id
    backend.model.cam_pos[camera] = [0.25, 0.2, 0.1]
    backend.model.cam_quat[camera] = [0.0, 1.0, 0.0, 0.0]  # straight down, at a speck of the table
    backend.model.cam_fovy[camera] = 0.01
    backend.command(task.home, 0.2)
    with pytest.raises(HardwareFault, match="wrist_1"):
        backend.policy_images(64)
