"""The arm and its gripper, through the unmodified client, on the emulated table."""

import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("franky", reason="needs the extra robot")
pytest.importorskip("franky_sim", reason="needs the extra emulator")

from rl.errors import ConfigError, HardwareFault  # noqa: E402
from rl.robots import panda  # noqa: E402
from rl.robots.emulator.server import Emulator  # noqa: E402
from rl.robots.franka.arm import FrankaArm  # noqa: E402
from rl.robots.franka.config import ArmConfig, GripperConfig  # noqa: E402
from rl.robots.franka.gripper import FrankaGripper  # noqa: E402
from rl.robots.station import load_station  # noqa: E402
from rl.tasks import get_task  # noqa: E402
from rl.tasks.base import TOOL_DOWN  # noqa: E402
from rl.transforms import apply_delta, pose, pose_difference  # noqa: E402
from rl.types import Box, FloatArray  # noqa: E402
from tests.clocks import until  # noqa: E402

pytestmark = pytest.mark.emulated

TASK = get_task("usb_insertion")
ROOM = Box(lower=np.array([0.39, -0.11, 0.01]), upper=np.array([0.61, 0.11, 0.26]))
"""The task's workspace, and the table below it."""
BESIDE = pose(np.array([0.42, 0.09, 0.05]), TOOL_DOWN)
"""Above the bare table, beside the housing."""


def arm_on(emulator: Emulator, **changes: float) -> FrankaArm:
    return FrankaArm(replace(load_station(emulator.station).arm, **changes), ROOM, clock=emulator.clock)


@pytest.fixture
def arm(emulator: Emulator) -> Iterator[FrankaArm]:
    """The arm, tracking at the task's home, tared."""
    with arm_on(emulator) as arm:
        arm.start()
        arm.move_to(TASK.home, speed_m_s=0.2)
        arm.tare()
        yield arm


def rest(arm: FrankaArm, seconds: float) -> None:
    """Wait by the arm's own clock, which is slow where cores are busy."""
    until_s = arm.measure().robot_time_s + seconds
    until(lambda: arm.measure().robot_time_s >= until_s)


def test_arm_tracks_a_target_ten_times_a_second(arm: FrankaArm):
    target = TASK.home
    for _ in range(10):
        target = apply_delta(target, np.array([0.004, -0.004, 0.002, 0, 0, 0.01]))
        np.testing.assert_allclose(arm.command(target), target, atol=1e-6)
        rest(arm, 0.1)
    rest(arm, 0.5)
    error = pose_difference(arm.measure().T_base_tcp, target)
    assert np.linalg.norm(error[:3]) < 0.003
    assert np.linalg.norm(error[3:]) < 0.02


def test_twist_is_how_the_pose_changes(arm: FrankaArm):
    target, step = TASK.home, np.array([0.004, 0.003, -0.002, 0.0, 0.0, 0.02])
    for _ in range(8):
        target = apply_delta(target, step)
        arm.command(target)
        rest(arm, 0.1)
    first = arm.measure()
    rest(arm, 0.01)
    last = arm.measure()
    change = pose_difference(first.T_base_tcp, last.T_base_tcp) / (last.robot_time_s - first.robot_time_s)
    twist = 0.5 * (first.twist + last.twist)
    assert np.linalg.norm(twist[:3]) > 0.02
    np.testing.assert_allclose(twist[:3], change[:3], atol=0.01)
    np.testing.assert_allclose(twist[3:], change[3:], atol=0.05)


def test_hold_stays_where_the_arm_is(arm: FrankaArm):
    arm.command(apply_delta(TASK.home, np.array([0.0, 0.03, 0.0, 0, 0, 0])))
    rest(arm, 0.1)
    arm.hold()
    here = arm.measure().T_base_tcp
    rest(arm, 0.5)
    assert np.linalg.norm(arm.measure().T_base_tcp[:3, 3] - here[:3, 3]) < 0.01
    assert arm.tracking


def test_stop_ends_the_motion_and_can_be_repeated(arm: FrankaArm):
    arm.command(apply_delta(TASK.home, np.array([0.04, 0.0, 0.0, 0, 0, 0])))
    rest(arm, 0.1)
    arm.stop()
    arm.stop()
    assert not arm.tracking
    assert np.linalg.norm(arm.measure().twist[:3]) < 0.02
    with pytest.raises(HardwareFault, match="follows no targets"):
        arm.command(TASK.home)
    arm.hold()  # nothing to do, and no error


def test_stop_from_another_thread_ends_a_line(arm: FrankaArm):
    stopped_at = []

    def stop() -> None:
        until(lambda: arm.measure().T_base_tcp[0, 3] > TASK.home[0, 3] + 0.01)
        arm.stop()
        stopped_at.append(arm.measure().T_base_tcp)

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(HardwareFault, match="follows no targets"):
        for x in (0.1, 0.0) * 50:
            arm.move_to(apply_delta(TASK.home, np.array([x, 0, 0, 0, 0, 0])), speed_m_s=0.05)
    stopping.join()
    rest(arm, 0.3)
    assert np.linalg.norm(arm.measure().T_base_tcp[:3, 3] - stopped_at[0][:3, 3]) < 0.005


def test_line_arrives_straight(arm: FrankaArm):
    goal = apply_delta(TASK.home, np.array([0.06, 0.08, 0.02, 0, 0, 0.2]))
    way = goal[:3, 3] - TASK.home[:3, 3]
    off_m = []

    def look() -> None:
        while not done.wait(0.05):
            step = arm.measure().T_base_tcp[:3, 3] - TASK.home[:3, 3]
            off_m.append(np.linalg.norm(np.cross(step, way)) / np.linalg.norm(way))

    done = threading.Event()
    looking = threading.Thread(target=look)
    looking.start()
    arm.move_to(goal)
    done.set()
    looking.join()
    assert max(off_m) < 0.008
    error = pose_difference(arm.measure().T_base_tcp, goal)
    assert np.linalg.norm(error[:3]) < 0.004
    assert np.linalg.norm(error[3:]) < 0.03


def test_no_target_is_commanded_outside_the_workspace(arm: FrankaArm):
    target = TASK.home
    for _ in range(5):
        target = arm.command(apply_delta(target, np.array([0.04, 0.0, 0.0, 0, 0, 0])))
        assert ROOM.contains(target[:3, 3])
        time.sleep(0.05)
    with pytest.raises(ConfigError, match="outside the workspace"):
        arm.move_to(pose(np.array([0.7, 0.0, 0.2]), TOOL_DOWN))
    assert arm.tracking


def test_target_that_is_not_finite_is_the_measured_pose(arm: FrankaArm):
    target = arm.command(np.full((4, 4), np.nan))
    np.testing.assert_allclose(target, arm.measure().T_base_tcp, atol=2e-3)


def test_joint_motion_goes_only_where_the_way_is_known(arm: FrankaArm):
    q = panda.inverse_kinematics(apply_delta(TASK.home, np.array([0, 0.03, 0.02, 0, 0, 0])), arm.measure().q)
    arm.move_joints(q)
    np.testing.assert_allclose(arm.measure().q, q, atol=0.01)
    assert not arm.tracking
    for wrong in (np.array(panda.HOME_Q), np.full(7, np.nan), q[:6], q + [0, 0, 0, 0, 0, 0, 9]):
        with pytest.raises(ConfigError):
            arm.move_joints(wrong)
    arm.start()
    assert arm.tracking


def test_poses_of_the_last_seconds_are_remembered(arm: FrankaArm):
    began = arm.measure()
    arm.move_to(apply_delta(TASK.home, np.array([0.03, 0, 0, 0, 0, 0])))
    assert np.linalg.norm(arm.pose_at(began.time_s)[:3, 3] - began.T_base_tcp[:3, 3]) < 0.003
    xs = [arm.pose_at(t)[0, 3] for t in np.linspace(began.time_s, arm.clock.now(), 20)]
    assert np.ptp(xs) > 0.025
    assert np.min(np.diff(xs)) > -0.003
    with pytest.raises(HardwareFault, match="Nobody remembers"):
        arm.pose_at(arm.clock.now() - 60.0)


def press(arm: FrankaArm, above: FloatArray) -> None:
    """Go down from above a place in the control loop's steps, until the target is 15 mm below the fingertips' hold."""
    target = above.copy()
    for _ in range(9):
        target[2, 3] = max(target[2, 3] - 0.005, arm.measure().T_base_tcp[2, 3] - 0.015, ROOM.lower[2])
        arm.command(target)
        rest(arm, 0.1)


@pytest.mark.parametrize("max_force_N", [8.0, 12.0, 20.0])
def test_arm_presses_with_the_force_that_it_is_allowed(
    emulator: Emulator, max_force_N: float, capsys: pytest.CaptureFixture[str]
):
    with arm_on(emulator, max_contact_force_N=max_force_N) as arm:
        arm.start()
        arm.move_to(pose(BESIDE[:3, 3] + [0.0, 0.0, 0.1], TOOL_DOWN), speed_m_s=0.2)
        arm.move_to(BESIDE, speed_m_s=0.2)
        arm.tare()
        press(arm, BESIDE)
        forces = []
        for _ in range(30):
            forces.append(arm.measure().wrench[:3])
            time.sleep(0.01)
        arm.move_to(BESIDE, speed_m_s=0.2)
        after = arm.measure().wrench[:3]
    x, y, z = np.mean(forces, axis=0)
    with capsys.disabled():
        sys.stdout.write(f"\nallowed {max_force_N:g} N: presses with {z:.2f} N\n")
    assert abs(z - max_force_N) < 0.1 * max_force_N  # the table pushes up
    assert np.hypot(x, y) < 0.3 * z
    assert np.linalg.norm(after) < 1.0


def test_arm_that_carries_what_it_does_not_know_is_refused(fresh_emulator: Emulator):
    with arm_on(fresh_emulator) as arm:
        arm.start()
        fresh_emulator.fault("force", 8)
        rest(arm, 0.1)
        with pytest.raises(HardwareFault, match=r"8.0 N at rest, more than 5 N"):
            arm.tare()
        assert not arm.tracking


def test_arm_outside_the_workspace_does_not_start(emulator: Emulator):
    elsewhere = Box(lower=np.array([0.5, 0.3, 0.1]), upper=np.array([0.6, 0.4, 0.2]))
    with FrankaArm(load_station(emulator.station).arm, elsewhere, clock=emulator.clock) as arm:
        with pytest.raises(HardwareFault, match="mm outside the workspace"):
            arm.start()


def test_every_method_tells_that_the_connection_was_closed(emulator: Emulator):
    arm = arm_on(emulator)
    arm.close()
    arm.close()
    arm.stop()
    arm.hold()
    q, T = np.zeros(7), TASK.home
    for call in (arm.measure, arm.start, arm.tare, arm.recover, lambda: arm.command(T), lambda: arm.move_to(T)):
        with pytest.raises(HardwareFault, match="closed"):
            call()
    with pytest.raises(HardwareFault, match="closed"):
        arm.move_joints(q)


@pytest.mark.skipif(Path("/sys/kernel/realtime").exists(), reason="this kernel is real-time")
def test_kernel_without_real_time_is_named(emulator: Emulator):
    with pytest.raises(ConfigError, match="PREEMPT_RT"):
        FrankaArm(ArmConfig(ip=emulator.ip, realtime="enforce"), ROOM)


def test_address_at_which_nobody_listens_is_named():
    with pytest.raises(ConfigError, match=r"127\.77\.77\.77 was refused; activate FCI"):
        FrankaArm(ArmConfig(ip="127.77.77.77", realtime="ignore"), ROOM)


def test_firmware_of_another_protocol_is_named():
    with socket.create_server(("127.77.77.78", 1337)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                command, number, _ = struct.unpack("<III", client.recv(16, socket.MSG_WAITALL)[:12])
                client.sendall(struct.pack("<IIIHH4x", command, number, 20, 1, 5))  # incompatible: version 5
                time.sleep(0.2)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(ConfigError, match="another protocol.*by-robot-server-version"):
            FrankaArm(ArmConfig(ip="127.77.77.78", realtime="ignore"), ROOM)
        thread.join(timeout=5.0)


def test_gripper_that_holds_the_plug_is_not_moved_again(emulator: Emulator):
    gripper = FrankaGripper(GripperConfig(), ArmConfig(ip=emulator.ip), clock=emulator.clock)
    try:
        gripper.command(0.2)
        gripper.wait()
        assert 0.1 < gripper.opening() < 0.3
    finally:
        gripper.close()


def test_gripper_opens_and_closes(fresh_emulator: Emulator):
    gripper = FrankaGripper(GripperConfig(debounce_s=0.2), ArmConfig(ip=fresh_emulator.ip), clock=fresh_emulator.clock)
    try:
        gripper.command(1.0)
        gripper.wait()
        until(lambda: gripper.opening() > 0.9)
        gripper.command(0.0)
        gripper.wait()
        until(lambda: gripper.opening() < 0.5)
    finally:
        gripper.close()
