"""The emulated station, seen through the unmodified client of the arm and through its sockets."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

franky = pytest.importorskip("franky", reason="needs the extra robot")
pytest.importorskip("franky_sim", reason="needs the extra emulator")

from rl.errors import ConfigError, HardwareFault  # noqa: E402
from rl.robots.cameras.calibration import CameraCalibration  # noqa: E402
from rl.robots.clock import Clock  # noqa: E402
from rl.robots.emulator.cameras import Lens  # noqa: E402
from rl.robots.emulator.client import EmulatorClient  # noqa: E402
from rl.robots.emulator.profiles import CameraProfile  # noqa: E402
from rl.robots.emulator.server import Emulator  # noqa: E402
from rl.robots.mujoco import MujocoBackend  # noqa: E402
from rl.robots.rendering import Renderer, intrinsics  # noqa: E402
from rl.robots.station import load_station  # noqa: E402
from rl.tasks import get_task  # noqa: E402
from rl.types import FloatArray  # noqa: E402
from tests.clocks import until  # noqa: E402

pytestmark = pytest.mark.emulated

TASK = get_task("usb_insertion")
DOWN = [1.0, 0.0, 0.0, 0.0]
"""Gripper down, quaternion x, y, z, w."""


def connect(emulator: Emulator) -> Any:
    robot = franky.Robot(emulator.ip, realtime_config=franky.RealtimeConfig.Ignore, relative_dynamics_factor=0.3)
    robot.recover_from_errors()
    return robot


def tracker(robot: Any, *, max_force_N: float = 20.0) -> Any:
    return franky.CartesianImpedanceTracker(
        robot,
        gains=franky.CartesianImpedanceGains.diagonal([2000.0] * 3 + [150.0] * 3, [89.0] * 3 + [7.0] * 3),
        translational_error_clip=np.full(3, max_force_N / 2000.0),
        rotational_error_clip=np.full(3, 0.02),
        period=0.1,
    )


def track(tracking: Any, position: FloatArray, ticks: int) -> int:
    """Hold a position for a number of ticks and return how many went by before control was lost."""
    for tick in range(ticks):
        if tracking.tick() is None:
            return tick
        tracking.set_target(franky.Affine(position, DOWN))
    return ticks


def go(robot: Any, tracking: Any, position: FloatArray) -> None:
    """Track a position until the arm is there."""
    for _ in range(400):
        assert track(tracking, position, 1) == 1
        if np.abs(np.array(robot.state.O_T_EE.translation) - position).max() < 0.002:
            return
    raise AssertionError(f"the arm did not reach {position}")


class Viewer:
    """What a camera client does."""

    def __init__(self, port: int, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120.0)
        self.socket.sendall(f"CAMERA {name}\n".encode())
        self.file = self.socket.makefile("rb")
        self.header = json.loads(self.file.readline())

    def frame(self) -> tuple[int, float, Any, Any]:
        number, time_s = struct.unpack("<Qd", self.file.read(16))
        width, height = self.header["width"], self.header["height"]
        rgb = np.frombuffer(self.file.read(width * height * 3), np.uint8).reshape(height, width, 3)
        depth = np.frombuffer(self.file.read(width * height * 2), np.uint16).reshape(height, width)
        return number, time_s, rgb, depth * self.header["depth_unit_m"]

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def home(emulator: Emulator) -> Iterator[Any]:
    """A connected robot that is at the task's home, and goes back there."""
    robot = connect(emulator)
    home_q = [float(angle) for angle in load_station(emulator.station).arm.home_q]
    robot.move(franky.JointMotion(home_q))
    yield robot
    robot.recover_from_errors()
    robot.move(franky.JointMotion(home_q))


def settled(robot: Any) -> Any:
    """Return the state half a second of the arm's own time later."""
    settled_s = robot.state.time.to_sec() + 0.5
    until(lambda: robot.state.time.to_sec() > settled_s)
    return robot.state


def pass_time(emulator: Emulator, duration_s: float) -> None:
    """Wait for as much of the arm's own time, [s]."""
    end_s = emulator.clocks_s()[0] + duration_s
    until(lambda: emulator.clocks_s()[0] > end_s)


def test_client_measures_the_pose_of_the_simulation(home: Any, emulator: Emulator) -> None:
    T = np.array(settled(home).O_T_EE.matrix)
    np.testing.assert_allclose(T, TASK.home, atol=1e-4)
    tip = T[:3, 3] + T[:3, :3] @ TASK.p_tcp_tool
    np.testing.assert_allclose(tip, emulator.truth()["plug_tip"], atol=1e-4)


def test_arm_at_rest_measures_no_force(home: Any) -> None:
    state = settled(home)
    np.testing.assert_allclose(state.O_F_ext_hat_K, 0.0, atol=0.01)
    np.testing.assert_allclose(state.tau_ext_hat_filtered, 0.0, atol=0.01)


def test_impedance_follows_targets_while_all_cameras_are_watched(home: Any, emulator: Emulator) -> None:
    viewers = [Viewer(emulator.port, camera.name) for camera in emulator.cameras]
    watching = threading.Event()
    watching.set()

    def watch(viewer: Viewer) -> None:
        while watching.is_set():
            viewer.frame()

    threads = [threading.Thread(target=watch, args=(viewer,)) for viewer in viewers]
    for thread in threads:
        thread.start()
    tracking = tracker(home)
    started_s, before = time.monotonic(), emulator.clocks_s()
    position = TASK.home[:3, 3].copy()
    for _ in range(50):
        position += [0.0008, 0.0004, 0.0]
        assert track(tracking, position, 1) == 1
    elapsed_s, after = time.monotonic() - started_s, emulator.clocks_s()
    go(home, tracking, position)
    tracking.stop()
    watching.clear()
    for thread, viewer in zip(threads, viewers, strict=True):
        thread.join()
        viewer.close()
    arm_s, arm_cpu_s, camera_cpu_s = np.subtract(after, before)
    busy = (arm_cpu_s + camera_cpu_s) / arm_s
    print(f"\narm's clock: {arm_s / elapsed_s:.2f} of real time, {busy:.2f} of a core per second of it")


@pytest.mark.parametrize("max_force_N", [5.0, 20.0])
def test_pressing_measures_what_the_impedance_exerts(home: Any, max_force_N: float) -> None:
    tracking = tracker(home, max_force_N=max_force_N)
    beside = TASK.home[:3, 3] + [0.03, 0.0, 0.0]
    go(home, tracking, beside)
    deep = beside - [0.0, 0.0, 0.12]
    for _ in range(400):  # the arm's clock is late where cores are slow
        assert track(tracking, deep, 3) == 3
        state = home.state
        if state.O_F_ext_hat_K[2] < -1.0 and np.abs(state.dq).max() < 1e-4:
            break
    go(home, tracking, beside)
    tracking.stop()
    # The robot pushes the world down, and the stiffness frame points down.
    np.testing.assert_allclose(state.O_F_ext_hat_K[2], -max_force_N, rtol=0.1)
    np.testing.assert_allclose(state.K_F_ext_hat_K[2], max_force_N, rtol=0.1)


def test_gripper_closes_on_what_it_holds(emulator: Emulator) -> None:
    gripper = franky.Gripper(emulator.ip)
    assert gripper.grasp(0.0, 0.1, 40.0, epsilon_outer=1.0)
    assert gripper.width == pytest.approx(0.016, abs=1e-3)
    assert gripper.is_grasped


def test_policy_camera_sees_what_the_simulation_draws(home: Any, emulator: Emulator) -> None:
    settled(home)
    viewer, began_s = Viewer(emulator.port, "wrist_1"), emulator.clock.now()
    for _ in range(3):
        _, time_s, rgb, _ = viewer.frame()
    viewer.close()
    assert began_s <= time_s <= emulator.clock.now()
    height, width = rgb.shape[:2]
    backend = MujocoBackend(TASK)
    backend.reset(TASK.home, np.random.default_rng(0))
    expected = backend.policy_images(height)["wrist_1"]
    backend.close()
    left = (width - height) // 2
    difference = np.abs(rgb[:, left : left + height].astype(float) - expected)
    assert difference.mean() < 0.5  # an edge may move by a fraction of a pixel


def test_frames_come_in_order_with_a_calibrated_pose(emulator: Emulator) -> None:
    viewer = Viewer(emulator.port, "side")
    numbers = [viewer.frame()[0] for _ in range(4)]
    viewer.close()
    assert all(later > earlier for earlier, later in zip(numbers[:-1], numbers[1:], strict=True))
    camera = load_station(emulator.station).camera("side")
    assert camera.calibration is not None
    calibration = CameraCalibration.load(camera.calibration)
    assert calibration.mount == viewer.header["mount"] == camera.mount == "world"
    np.testing.assert_allclose(calibration.T, viewer.header["T_mount_cam"])
    # The port's landmark lies where the calibration says that it does.
    port = np.linalg.inv(calibration.T) @ [*emulator.truth()["port"], 1.0]
    pixel = np.array(viewer.header["K"]) @ (port[:3] / port[2])
    assert 0 <= pixel[0] < camera.width and 0 <= pixel[1] < camera.height


def test_unknown_requests_are_refused_in_one_sentence(emulator: Emulator) -> None:
    client = EmulatorClient(emulator.url)
    with pytest.raises(HardwareFault, match="there is no fault tsunami"):
        client.fault("tsunami")
    with pytest.raises(HardwareFault, match="slow needs a number"):
        client.fault("slow", "down")
    client.close()


def test_second_client_is_turned_away(home: Any, emulator: Emulator) -> None:
    with pytest.raises(franky.NetworkException):
        franky.Robot(emulator.ip, realtime_config=franky.RealtimeConfig.Ignore)
    assert settled(home).O_T_EE is not None


def test_reflex_aborts_the_motion_until_it_is_recovered_from(fresh_emulator: Emulator) -> None:
    robot = connect(fresh_emulator)
    tracking = tracker(robot)
    until(lambda: str(robot.state.robot_mode).endswith("Move"))
    fresh_emulator.fault("reflex")
    assert track(tracking, TASK.home[:3, 3], 600) < 600
    with pytest.raises(franky.ControlException, match="cartesian_reflex"):
        tracking.stop()
    with pytest.raises(franky.CommandException, match="Reflex"):
        robot.move(franky.JointMotion([float(angle) for angle in robot.state.q]))
    assert robot.recover_from_errors()
    again = tracker(robot)
    assert track(again, TASK.home[:3, 3], 3) == 3
    again.stop()


def test_frozen_server_and_dead_server_end_control(fresh_emulator: Emulator) -> None:
    robot = connect(fresh_emulator)
    tracking = tracker(robot)
    assert track(tracking, TASK.home[:3, 3], 3) == 3
    fresh_emulator.fault("freeze")
    assert track(tracking, TASK.home[:3, 3], 600) < 600
    with pytest.raises(franky.NetworkException):
        tracking.stop()
    np.testing.assert_allclose(fresh_emulator.truth()["plug_tip"], [0.5, 0.0, 0.13], atol=0.002)
    fresh_emulator.fault("clear")
    robot = connect(fresh_emulator)
    tracking = tracker(robot)
    assert track(tracking, TASK.home[:3, 3], 3) == 3
    fresh_emulator.fault("die")
    assert track(tracking, TASK.home[:3, 3], 600) < 600
    with pytest.raises(HardwareFault, match="has ended"):
        fresh_emulator.reset(1)


def test_force_gripper_and_camera_faults(fresh_emulator: Emulator) -> None:
    robot = connect(fresh_emulator)
    gripper = franky.Gripper(fresh_emulator.ip)
    fresh_emulator.fault("force", 60)
    assert settled(robot).O_F_ext_hat_K[2] == pytest.approx(-60.0, abs=0.1)
    fresh_emulator.fault("gripper", "fail")
    with pytest.raises(franky.CommandException):
        gripper.grasp(0.0, 0.1, 40.0, epsilon_outer=1.0)
    fresh_emulator.fault("gripper", "hang")
    hanging = gripper.grasp_async(0.0, 0.1, 40.0, epsilon_outer=1.0)
    assert not hanging.wait(0.5)
    gripper.stop()
    assert hanging.wait(60.0)
    viewer = Viewer(fresh_emulator.port, "wrist_1")
    viewer.frame()
    fresh_emulator.fault("camera_stall", "wrist_1")
    viewer.socket.settimeout(fresh_emulator.clock.host_s(2.0))
    with pytest.raises(TimeoutError):
        for _ in range(1_000):  # what was under way still comes
            viewer.frame()
    viewer.close()
    fresh_emulator.fault("clear")
    assert settled(robot).O_F_ext_hat_K[2] == pytest.approx(0.0, abs=0.1)


def test_stopped_client_ends_in_a_hold(fresh_emulator: Emulator) -> None:
    script = (
        "import sys, time, franky, numpy as np\n"
        "robot = franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)\n"
        "t = franky.CartesianImpedanceTracker(robot, translational_error_clip=np.full(3, .01), period=.1)\n"
        "t.set_target(franky.Affine([.5, 0., .4], [1., 0., 0., 0.]))\n"
        "time.sleep(.2); print('moving', flush=True); time.sleep(600)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", script, fresh_emulator.ip], stdout=subprocess.PIPE)
    assert client.stdout is not None and client.stdout.readline() == b"moving\n"
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    client.stdout.close()
    pass_time(fresh_emulator, 1.0)
    before = fresh_emulator.truth()["plug_tip"]
    pass_time(fresh_emulator, 0.5)
    np.testing.assert_allclose(fresh_emulator.truth()["plug_tip"], before, atol=1e-4)
    assert before[2] < 0.33  # the target was 24 cm up


def test_lens_bends_colour_and_depth_alike(clock: Clock) -> None:
    bent = CameraProfile(name="side", width=320, height=240, distortion=(-0.3, 0.1, 0.001, -0.002, 0.0))
    with Emulator(TASK, cameras=[bent], slowdown=clock.slowdown) as emulator:
        viewer = Viewer(emulator.port, "side")
        _, _, rgb, depth_m = viewer.frame()
        viewer.close()
    backend = MujocoBackend(TASK)
    backend.reset(TASK.home, np.random.default_rng(0))
    renderer = Renderer(backend.model, width=320, height=240, geom_groups=(0, 1), samples=0)
    straight_rgb, straight_m = renderer.render(backend.data, backend.model.camera("side").id, depth=True)
    renderer.close()
    K = np.array(viewer.header["K"])
    maps = cv2.initUndistortRectifyMap(K, np.array(bent.distortion), None, K, (320, 240), cv2.CV_32FC1)
    inside = np.s_[20:-20, 20:-20]  # the straight image sees more at its edges
    seen = straight_m[inside] > 0.0

    def away(colour: Any, depth: Any) -> tuple[float, float]:
        near = np.abs(depth[inside] - straight_m[inside])[seen] < 0.005
        return float(np.abs(colour[inside].astype(float) - straight_rgb[inside]).mean()), 1.0 - float(near.mean())

    colour, depth = away(cv2.remap(rgb, *maps, cv2.INTER_LINEAR), cv2.remap(depth_m, *maps, cv2.INTER_NEAREST))
    colour_bent, depth_bent = away(rgb, depth_m)
    assert colour < 0.5 * colour_bent
    assert depth < 0.5 * depth_bent
    assert depth < 0.06  # what remains are edges, and slopes between two nearest pixels


def test_lens_looks_where_the_distortion_model_says() -> None:
    K, distortion = intrinsics(width=848, height=480, fovy_deg=42.0), np.array([-0.05, 0.06, 0.0004, -0.001, -0.02])
    lens = Lens(K, distortion, 848, 480)
    wide = intrinsics(width=lens.width, height=lens.height, fovy_deg=lens.fovy_deg)
    columns = np.broadcast_to(np.arange(lens.width, dtype=np.float32), (lens.height, lens.width)).copy()
    for point in ([0.0, 0.0, 1.0], [0.5, 0.2, 1.0], [-0.4, -0.3, 0.9]):
        pixel, _ = cv2.projectPoints(np.array([[point]]), np.zeros(3), np.zeros(3), K, distortion)
        u, v = np.rint(pixel.ravel()).astype(int)
        _, looked_at = lens.draw(np.zeros((lens.height, lens.width, 3), np.uint8), columns)
        expected = (wide @ point)[0] / point[2]
        assert abs(looked_at[v, u] - expected) < 1.5  # half a pixel here, half a pixel there, and some bending


def test_moved_port_is_reported_and_written(clock: Clock) -> None:
    task = get_task("usb_insertion", port_jitter_m=0.01)
    with Emulator(task, slowdown=clock.slowdown) as emulator:
        emulator.reset(5)
        expected = task.sample_scene(np.random.default_rng(5)).moved["port"][0]
        until(lambda: np.allclose(emulator.truth()["port"], expected, atol=1e-6))
        assert load_station(emulator.station).task == {"port_jitter_m": 0.01, "rim_step_m": 0.003}


def test_emulator_ends_with_its_owner(tmp_path: Path) -> None:
    script = (
        "import sys, time; from rl.robots.emulator.server import Emulator; from rl.tasks import get_task\n"
        "e = Emulator(get_task('usb_insertion')).start(); print(e.url, flush=True); time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    client = EmulatorClient(url)
    assert "plug_tip" in client.truth()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with pytest.raises(HardwareFault):
        for _ in range(1_000):
            client.truth()
            time.sleep(0.1)
    client.close()


def test_command_prints_how_to_train_and_ends_when_told_to(tmp_path: Path) -> None:
    arguments = ["emulate", "usb_insertion", "--station", str(tmp_path / "station.toml"), "--image-size", "320x240"]
    arguments += ["--slowdown", "2.5"]
    command = subprocess.Popen([sys.executable, "-m", "agps_agent.cli", *arguments], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    lines = [command.stdout.readline() for _ in range(6)]
    command.send_signal(signal.SIGTERM)
    assert command.wait(timeout=300) == 0
    command.stdout.close()
    assert any("agps train usb_insertion --robot franka" in line for line in lines)
    station = load_station(tmp_path / "station.toml")
    assert lines[2] == "clock: 1 s of the station takes 2.5 s, as asked for\n" and station.clock == Clock(2.5)
    assert {camera.width for camera in station.cameras} == {320}
    assert station.arm.ip in lines[0]


def test_missing_camera_is_refused() -> None:
    with pytest.raises(ConfigError, match="no camera 'wrist_9'"):
        Emulator(TASK, cameras=[CameraProfile(name="wrist_9")])


@pytest.mark.parametrize("slowdown", [0.5, 21.0, float("nan")])
def test_clock_that_no_station_can_have_is_refused_before_anything_is_started(slowdown: float) -> None:
    with pytest.raises(ConfigError, match="ask for 1"):
        Emulator(TASK, slowdown=slowdown)


def test_slow_station_is_slow_throughout() -> None:
    """Three seconds of the host are at most one of the arm and of its frames."""
    with Emulator(TASK, slowdown=3.0, image_size=(64, 64)) as emulator:
        assert load_station(emulator.station).clock == emulator.clock == Clock(3.0)
        viewer = Viewer(emulator.port, "wrist_1")
        first = viewer.frame()
        began_s = time.monotonic()
        arm_s = -emulator.clocks_s()[0]
        frames = [viewer.frame() for _ in range(10)]
        arm_s += emulator.clocks_s()[0]
        host_s = time.monotonic() - began_s
        viewer.close()
    assert 0.0 < arm_s <= host_s / 3.0 + 0.06  # when it is late, but for less than 50 ms, it catches up
    assert frames[-1][1] - first[1] > 0.5  # ten periods of 0.1 s of its clock, not of the host's
