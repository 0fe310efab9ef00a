"""Every kind of camera keeps one contract; what is wrong with a camera is said in one sentence, in time."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pyrealsense2", reason="needs the extra realsense")

import pyrealsense2 as rs

from rl.errors import ConfigError, HardwareFault
from rl.robots.cameras import CameraDriver, open_camera
from rl.robots.cameras.realsense import ATTEMPTS, set_exposure, start_with_reset, warn_of_slow_usb
from rl.robots.cameras.recording import Recording, record
from rl.robots.cameras.rendered import RenderedCamera
from rl.robots.cameras.sdk import load_sdk, opencv_distortion, pinhole
from rl.robots.cameras.software import make_device
from rl.robots.cameras.streaming import StreamingCamera
from rl.robots.mujoco import MujocoBackend
from rl.tasks import get_task
from tests.clocks import until
from tests.hardware.cameras import INFO, CameraServer, config, gradient

pytestmark = pytest.mark.emulated


@pytest.fixture
def server() -> Iterator[CameraServer]:
    camera = CameraServer(INFO, gradient(INFO))
    yield camera
    camera.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the gradient."""
    path = tmp_path_factory.mktemp("recording") / "wrist_1.db3"
    render = gradient(INFO)
    with Recording(path, INFO) as file:
        for number in range(1, 61):
            file.write_raw(*render(number), time_s=number / INFO.fps)
    return path


def software_camera() -> tuple[CameraDriver, Callable[[], None]]:
    """A software device that is fed at 30 Hz until the returned function is called."""
    device = make_device(INFO)
    device.start()
    ended = threading.Event()
    render = gradient(INFO)

    def feed() -> None:
        number = 0
        while not ended.wait(1 / 30):
            number += 1
            device.push(*render(number), number=number)

    thread = threading.Thread(target=feed)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()

    return StreamingCamera(config("software"), device), end


@pytest.fixture(params=["rendered", "software", "socket", "recording"])
def camera(request: pytest.FixtureRequest) -> Iterator[CameraDriver]:
    """One opened camera of each kind."""
    end: Callable[[], None] = lambda: None  # noqa: E731
    opened: CameraDriver
    if request.param == "rendered":
        backend = MujocoBackend(get_task("usb_insertion"), shadows=False)
        backend.reset(get_task("usb_insertion").home, np.random.default_rng(0))
        opened, end = RenderedCamera(config("rendered"), backend), backend.close
    elif request.param == "software":
        opened, end = software_camera()
    elif request.param == "socket":
        served = request.getfixturevalue("server")
        opened = open_camera(config(served.device))
    else:
        opened = open_camera(config(str(request.getfixturevalue("recording"))))
    yield opened
    if request.param == "software":
        end()
    opened.close()
    if request.param == "rendered":
        end()


class TestContract:
    def test_info_describes_the_frames(self, camera: CameraDriver) -> None:
        info, frame = camera.info, camera.latest()
        assert frame.rgb.shape == (info.height, info.width, 3)
        assert frame.rgb.dtype == np.uint8
        assert frame.depth_m.shape == (info.height, info.width)
        assert frame.depth_m.dtype == np.float32
        assert 0.0 < info.depth_unit_m <= 0.001
        assert info.K.shape == (3, 3)
        assert info.distortion.shape == (5,)
        assert info.serial

    def test_depth_is_in_metres(self, camera: CameraDriver) -> None:
        depth_m = camera.latest().depth_m
        assert 0.05 < np.median(depth_m[depth_m > 0.0]) < 1.5

    def test_depth_can_be_left_out(self, camera: CameraDriver) -> None:
        frame = camera.latest(depth=False)
        assert frame.depth_m.size == 0
        assert camera.latest().depth_m.size > 0

    def test_frames_have_host_times_and_new_numbers(self, camera: CameraDriver) -> None:
        first = camera.latest()
        second = camera.wait_newer(first.time_s)
        assert first.time_s < second.time_s <= time.monotonic()
        assert second.number != first.number

    def test_frame_after_a_moment_is_of_after_it(self, camera: CameraDriver) -> None:
        now = time.monotonic()
        assert camera.wait_newer(now).time_s > now

    def test_frame_that_does_not_come_is_a_fault(self, camera: CameraDriver) -> None:
        with pytest.raises(HardwareFault, match="wrist_1"):
            camera.wait_newer(time.monotonic() + 1e6, timeout_s=0.2)

    def test_closed_camera_says_so(self, camera: CameraDriver) -> None:
        camera.close()
        with pytest.raises(HardwareFault, match=r"wrist_1 .* is closed"):
            camera.latest()


class TestSdk:
    def test_recording_tells_what_the_camera_told(self, recording: Path) -> None:
        camera = open_camera(config(str(recording)))
        camera.close()
        assert camera.info.serial == INFO.serial
        assert INFO.model in camera.info.model  # SDK 2.54 puts "Software-Device" before it
        assert camera.info.depth_unit_m == INFO.depth_unit_m
        np.testing.assert_allclose(camera.info.K, INFO.K, atol=1e-4)
        np.testing.assert_allclose(camera.info.distortion, INFO.distortion, atol=1e-6)

    def test_playback_gives_whole_pairs_once_and_again_from_the_start(self, recording: Path) -> None:
        """The SDK plays each image twice, once with the other stream's last one; red and depth tell the number."""
        camera = open_camera(config(str(recording)))
        numbers, time_s = [], 0.0
        while len(numbers) < 90:
            frame = camera.wait_newer(time_s)
            assert round(float(frame.depth_m[240, 320]) * 1e4) == 5000 + int(frame.rgb[0, 0, 0])
            numbers.append(frame.number)
            time_s = frame.time_s
        camera.close()
        assert all(a != b for a, b in zip(numbers, numbers[1:], strict=False))
        assert any(b < a for a, b in zip(numbers, numbers[1:], strict=False))

    def test_any_camera_can_be_recorded(self, server: CameraServer, tmp_path: Path) -> None:
        path = tmp_path / "copy.db3"
        live = open_camera(config(server.device))
        count = record(live, path, seconds=1.0)
        live.close()
        played = open_camera(config(str(path)))
        frame = played.latest()
        played.close()
        assert 1 <= count <= 32
        assert round(float(frame.depth_m[240, 320]) * 1e4) == 5000 + int(frame.rgb[0, 0, 0])

    def test_long_streams_stay_paired(self) -> None:
        """With time stamps that do not fit the frame numbers, the SDK's syncer stops to pair after 24 frames."""
        device = make_device(INFO)
        device.start()
        pairs = 0
        for number in range(500, 600):
            device.push(*gradient(INFO)(number), number=number)
            frames = device.wait(0.5)
            pairs += bool(frames and frames.get_color_frame() and frames.get_depth_frame())
        device.close()
        assert pairs >= 98

    @pytest.mark.parametrize("model", ["brown_conrady", "inverse_brown_conrady"])
    def test_lens_is_opencvs_whatever_the_sdk_calls_it(self, model: str) -> None:
        intrinsics = rs.intrinsics()
        intrinsics.width, intrinsics.height = 848, 480
        intrinsics.fx, intrinsics.fy, intrinsics.ppx, intrinsics.ppy = 610.0, 609.0, 421.0, 243.0
        intrinsics.model = getattr(rs.distortion, model)
        intrinsics.coeffs = [-0.056, 0.066, 0.0007, -0.0004, -0.021]
        pixels = np.array([[20.0, 20.0], [830.0, 30.0], [421.0, 243.0], [600.0, 460.0]])
        rays = cv2.undistortPoints(pixels[:, None], pinhole(intrinsics), opencv_distortion(rs, intrinsics))[:, 0]
        sdk = [rs.rs2_deproject_pixel_to_point(intrinsics, list(pixel), 1.0)[:2] for pixel in pixels]
        np.testing.assert_allclose(rays, sdk, atol=0.25 / 610.0)


class TestExposure:
    """On software sensors: the options and limits of a D435's colour sensor and of a D405's stereo module."""

    def device(self, *, color_in_stereo_module: bool) -> tuple[Any, Any]:
        device = rs.software_device()
        sensors = {"Stereo Module": device.add_sensor("Stereo Module")}
        sensors["Stereo Module"].add_read_only_option(rs.option.depth_units, 0.0001)
        name = "Stereo Module" if color_in_stereo_module else "RGB Camera"
        if name not in sensors:
            sensors[name] = device.add_sensor(name)
        color = rs.video_stream()
        color.type, color.index, color.uid, color.fmt, color.bpp = rs.stream.color, 0, 1, rs.format.rgb8, 3
        color.width, color.height, color.fps = 640, 480, 30
        sensors[name].add_video_stream(color)
        limits = rs.option_range()
        for sensor in sensors.values():
            limits.min, limits.max, limits.step, limits.default = 0.0, 1.0, 1.0, 1.0
            sensor.add_option(rs.option.enable_auto_exposure, limits, True)
            limits.min, limits.max, limits.default = 1.0, 165000.0 if sensor.is_depth_sensor() else 10000.0, 156.0
            sensor.add_option(rs.option.exposure, limits, True)
        return device, sensors

    @pytest.mark.parametrize(("in_stereo_module", "value"), [(True, 10500.0), (False, 105.0)])
    def test_exposure_is_set_where_the_colour_is(self, in_stereo_module: bool, value: float) -> None:
        device, sensors = self.device(color_in_stereo_module=in_stereo_module)
        set_exposure(rs, device, config("1", exposure_us=10500.0))
        color = sensors["Stereo Module" if in_stereo_module else "RGB Camera"]
        assert color.get_option(rs.option.exposure) == value
        assert color.get_option(rs.option.enable_auto_exposure) == 0.0

    def test_no_exposure_leaves_it_to_the_camera(self) -> None:
        device, sensors = self.device(color_in_stereo_module=False)
        sensors["RGB Camera"].set_option(rs.option.enable_auto_exposure, 0.0)
        set_exposure(rs, device, config("1"))
        assert sensors["RGB Camera"].get_option(rs.option.enable_auto_exposure) == 1.0

    def test_impossible_exposure_is_refused_with_the_limits(self) -> None:
        device, _ = self.device(color_in_stereo_module=True)
        with pytest.raises(ConfigError, match=r"exposure_us is 200000; the sensor can 1 to 165000"):
            set_exposure(rs, device, config("1", exposure_us=200000.0))

    def test_sensor_without_the_option_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="leave out exposure_us"):
            set_exposure(rs, make_device(INFO).device, config("1", exposure_us=10500.0))


class TestFaults:
    def test_stalled_camera_is_named_once_past_its_age_limit(self, server: CameraServer) -> None:
        camera = open_camera(config(server.device, max_age_s=0.15))
        server.stall()
        with pytest.raises(HardwareFault, match=r"wrist_1 .* is \d+\.\d+ s old, 0\.15 s is the limit") as fault:
            until(lambda: camera.latest() is None)
        late_s = time.monotonic() - server.stalled_at_s
        camera.close()
        print(f"\nstall to error: {late_s:.3f} s: {fault.value}")  # noqa: T201  # the time is asked for

    def test_lost_connection_is_named_at_once(self, server: CameraServer) -> None:
        camera = open_camera(config(server.device, max_age_s=1e6))
        server.stall()
        server.disconnect()
        with pytest.raises(HardwareFault, match="wrist_1 .* the other end closed the connection") as fault:
            until(lambda: camera.latest() is None)
        late_s = time.monotonic() - server.stalled_at_s
        camera.close()
        print(f"\nlost connection to error: {late_s:.3f} s: {fault.value}")  # noqa: T201  # the time is asked for

    def test_device_that_never_streams_is_a_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rl.robots.cameras.streaming.START_TIMEOUT_S", 0.3)
        device = make_device(INFO)
        device.start()
        with pytest.raises(HardwareFault, match="sent no complete frame"):
            StreamingCamera(config("218622270001"), device)

    def test_missing_serial_is_said_at_once_with_what_is_there(self) -> None:
        begin = time.monotonic()
        with pytest.raises(ConfigError, match=r"'999' is connected; connected: .*L515 needs pyrealsense2 2\.54\.2"):
            open_camera(config("999"))
        print(f"\nwrong serial to error: {time.monotonic() - begin:.3f} s")  # noqa: T201  # the time is asked for

    def test_impossible_profile_lists_the_possible_ones(self, recording: Path, server: CameraServer) -> None:
        with pytest.raises(ConfigError, match=r"848x480 at 30 Hz; it has: colour 640x480 at 30 Hz; depth 640x480"):
            open_camera(config(str(recording), width=848))
        with pytest.raises(ConfigError, match=r"848x480; it has: 640x480 at 30 Hz"):
            open_camera(config(server.device, width=848))

    @pytest.mark.parametrize(
        ("device", "message"),
        [
            ("", "has no device"),
            ("/nowhere/wrist_1.db3", "there is no recording"),
            ("emulator://nowhere", "write emulator://HOST:PORT/CAMERA"),
            ("emulator://127.0.0.1:9/wrist_1", r"nothing answers at 127\.0\.0\.1:9"),
        ],
    )
    def test_wrong_devices_are_told_apart(self, device: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            open_camera(config(device))

    def test_age_limit_below_the_frame_rate_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"max_age_s is 0\.15, but at 6 Hz .* 0\.33 s old"):
            open_camera(config("218622270001", fps=6, max_age_s=0.15))

    def test_damaged_recording_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "broken.db3").write_text("not a recording")
        with pytest.raises(ConfigError, match="no recording that this SDK can play"):
            open_camera(config(str(tmp_path / "broken.db3")))

    def test_unknown_camera_of_an_emulator_is_refused(self, server: CameraServer) -> None:
        with pytest.raises(ConfigError, match="has no camera 'side'"):
            open_camera(config(server.device.replace("wrist_1", "side")))

    def test_camera_that_does_not_stream_is_reset_before_the_last_attempt(self) -> None:
        calls: list[str] = []

        def start() -> str:
            calls.append("start")
            if calls.count("start") < ATTEMPTS:
                raise HardwareFault("no frames")
            return "streams"

        assert start_with_reset(start, lambda: calls.append("reset")) == "streams"
        assert calls == ["start", "start", "reset", "start"]

    @pytest.mark.parametrize(
        ("module", "message"),
        [
            (None, "pip install 'agps"),
            ("raise ImportError('libusb-1.0.so.0: cannot open shared object file')", "apt install libusb-1.0-0"),
            ("raise ImportError('undefined symbol')", "does not load"),
            ("", "is not the SDK"),
        ],
        ids=["missing", "libusb", "broken", "other"],
    )
    def test_broken_installations_are_told_apart(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str | None, message: str
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyrealsense2", None)
        if module is not None:
            (tmp_path / "pyrealsense2").mkdir()
            (tmp_path / "pyrealsense2" / "__init__.py").write_text(module)
            monkeypatch.syspath_prepend(tmp_path)
            monkeypatch.delitem(sys.modules, "pyrealsense2")
        with pytest.raises(ConfigError, match=message):
            load_sdk()

    def test_slow_usb_is_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        device = rs.software_device()
        device.register_info(rs.camera_info.usb_type_descriptor, "2.1")
        warn_of_slow_usb(rs, device, config("1"))
        assert "wrist_1 is connected with USB 2.1" in caplog.text
