"""The rig: crops for the policy, pinhole images with poses for the agent, and what it refuses."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyrealsense2", reason="needs the extra realsense")

from rl.errors import ConfigError, HardwareFault
from rl.robots.cameras import CameraDriver, CameraRig, open_camera
from rl.robots.cameras.calibration import CameraCalibration
from rl.robots.cameras.rendered import rendered_by
from rl.robots.mujoco import MujocoBackend
from rl.robots.station import CameraConfig, load_station
from rl.tasks import get_task
from tests.hardware.cameras import INFO, CameraServer, config, gradient
from tools.perception import deproject

pytestmark = pytest.mark.emulated


@pytest.fixture
def server() -> Iterator[CameraServer]:
    camera = CameraServer(INFO, gradient(INFO))
    yield camera
    camera.close()


def calibration(path: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "camera": "wrist_1",
        "serial": INFO.serial,
        "mount": "hand",
        "width": 640,
        "height": 480,
        "T_mount_cam": tuple(tuple(row) for row in np.eye(4).tolist()),
        "residual_mm": 0.1,
        "residual_deg": 0.01,
        "poses": 20,
        "date": "2026-11-21T00:00:00+00:00",
        "board": "charuco 8x6 25.00 mm",
    }
    CameraCalibration(**{**values, **changes}).save(path)
    return path


class TestRig:
    def test_policy_sees_crops_of_one_shared_device(self, server: CameraServer) -> None:
        first = config(server.device, crop=(0, 0, 320, 320))
        second = dataclasses.replace(first, name="wrist_2", crop=(320, 100, 200, 200))
        with CameraRig([first, second], get_task("usb_insertion")) as rig:
            images = rig.policy_images(64)
        assert list(images) == ["wrist_1", "wrist_2"]
        assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in images.values())
        assert (images["wrist_1"][..., 1] == 200).all()  # the gradient's left half
        assert (images["wrist_2"][..., 1] == 90).all()

    def test_agent_gets_poses_of_the_hand_at_the_frames_time(self, server: CameraServer, tmp_path: Path) -> None:
        file = calibration(tmp_path / "wrist_1.json", T_mount_cam=tuple(map(tuple, translation(0.07).tolist())))
        first = config(server.device, calibration=file)
        began_s, asked = time.monotonic(), list[float]()

        def pose_at(time_s: float) -> np.ndarray:
            asked.append(time_s)
            return translation(0.5)

        with CameraRig([first, dataclasses.replace(first, name="wrist_2", calibration=None)], task()) as rig:
            (frame,) = rig.capture(None, pose_at)
            assert rig.calibrated == ("wrist_1",)
            with pytest.raises(ConfigError, match="wrist_2 has no calibration"):
                rig.capture(["wrist_2"], pose_at)
            with pytest.raises(ConfigError, match="side is not in the station"):
                rig.capture(["side"], pose_at)
        np.testing.assert_allclose(frame.T_base_cam, translation(0.57))
        np.testing.assert_allclose(frame.K, INFO.K, atol=1e-4)
        assert frame.name == "wrist_1"
        assert began_s <= asked[0] <= time.monotonic()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"serial": "42"}, f"of camera 42, but camera wrist_1 is camera {INFO.serial}"),
            ({"width": 848}, "of profile 848x480, but camera wrist_1 is profile 640x480"),
            ({"mount": "world"}, "of mount world, but camera wrist_1 is mount hand"),
        ],
    )
    def test_calibration_of_something_else_is_refused(
        self, server: CameraServer, tmp_path: Path, changes: dict[str, Any], message: str
    ) -> None:
        file = calibration(tmp_path / "wrist_1.json", **changes)
        first = config(server.device, calibration=file)
        with pytest.raises(ConfigError, match=message):
            CameraRig([first, dataclasses.replace(first, name="wrist_2", calibration=None)], task())

    def test_all_are_closed_if_one_fails(self, server: CameraServer) -> None:
        opened: list[CameraDriver] = []

        def opening(chosen: CameraConfig) -> CameraDriver:
            opened.append(open_camera(chosen))
            return opened[-1]

        with pytest.raises(ConfigError, match="there is no recording"):
            CameraRig([config(server.device), config("gone.db3", name="wrist_2")], task(), open_camera=opening)
        with pytest.raises(HardwareFault, match="closed"):
            opened[0].latest()

    def test_camera_of_the_policy_has_to_be_there(self, server: CameraServer) -> None:
        with pytest.raises(ConfigError, match="sees through camera 'wrist_2'; the station has wrist_1"):
            CameraRig([config(server.device)], task())

    def test_crop_outside_of_the_image_is_refused(self, server: CameraServer) -> None:
        first = config(server.device, crop=(400, 0, 320, 320))
        with pytest.raises(ConfigError, match=r"crop \[400, 0, 320, 320\] .* 640x480"):
            CameraRig([first, dataclasses.replace(first, name="wrist_2")], task())

    def test_one_device_has_one_profile(self, server: CameraServer) -> None:
        first = config(server.device)
        with pytest.raises(ConfigError, match="are one device, .* differ in fps: 30 and 15"):
            CameraRig([first, dataclasses.replace(first, name="wrist_2", fps=15)], task())

    def test_cameras_of_two_kinds_are_two_whatever_each_kind_calls_its_own(self, server: CameraServer) -> None:
        first = config(server.device)
        second = dataclasses.replace(first, name="wrist_2", kind="another")
        kinds: list[str] = []
        driver = open_camera(first)

        def opening(chosen: CameraConfig) -> CameraDriver:
            kinds.append(chosen.kind)
            return driver

        with CameraRig([first, second], task(), open_camera=opening):
            assert kinds == [first.kind, "another"]

    def test_rendered_cameras_show_what_the_backend_shows(self, tmp_path: Path) -> None:
        backend = MujocoBackend(task(), shadows=False)
        backend.reset(task().home, np.random.default_rng(0))
        cameras = [config("rendered", name=name, mount="hand") for name in ("wrist_1", "wrist_2")]
        cameras = [dataclasses.replace(camera, device=camera.name) for camera in cameras]
        with CameraRig(cameras, task(), open_camera=rendered_by(backend)) as rig:
            images = rig.policy_images(128)
        small = backend.policy_images(128)
        backend.close()
        for name in images:
            assert np.abs(images[name].astype(float) - small[name]).mean() < 25.0  # other meshes, same view


def task() -> Any:
    return get_task("usb_insertion")


def translation(x: float) -> np.ndarray:
    T = np.eye(4)
    T[0, 3] = x
    return T


def test_rig_on_the_emulator_sees_the_port_where_it_is(emulator: Any) -> None:
    """A small image of a narrow rim: 5 mm, see test_perception for what a full image measures."""
    station = load_station(emulator.station)
    with CameraRig(station.cameras, task(), clock=station.clock) as rig:
        images = rig.policy_images(128)
        frame = rig.capture(["side"], lambda time_s: np.eye(4))[0]
    port = emulator.truth()["port_left"]
    p_cam = (np.linalg.inv(frame.T_base_cam) @ [*port, 1.0])[:3]
    measured = deproject((frame.K @ p_cam)[:2] / p_cam[2], frame.depth_m, frame.K, frame.T_base_cam)
    assert list(images) == ["wrist_1", "wrist_2"]
    assert np.linalg.norm(measured - port) < 0.005
