"""What goes wrong on a robot, planted in the emulator: the arm stops or holds, and the fault has a name and a time."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("franky", reason="needs the extra robot")
pytest.importorskip("franky_sim", reason="needs the extra emulator")

import rl.robots.franka.gripper as gripper_module  # noqa: E402
from rl.errors import HardwareFault  # noqa: E402
from rl.robots.clock import Clock  # noqa: E402
from rl.robots.emulator.server import Emulator  # noqa: E402
from rl.robots.franka.arm import FrankaArm  # noqa: E402
from rl.robots.franka.config import ArmConfig, GripperConfig  # noqa: E402
from rl.robots.franka.faults import ArmFault  # noqa: E402
from rl.robots.franka.gripper import FrankaGripper  # noqa: E402
from rl.robots.real.watchdog import Watchdog  # noqa: E402
from rl.robots.station import load_station  # noqa: E402
from rl.tasks import get_task  # noqa: E402
from rl.transforms import apply_delta  # noqa: E402
from tests.clocks import MovedClock, until  # noqa: E402

pytestmark = pytest.mark.emulated

TASK = get_task("usb_insertion")
REPOSITORY = Path(__file__).parents[2]
Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print although pytest captures."""

    def write(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}\n")

    return write


@pytest.fixture(scope="module")
def mended(clock: Clock) -> Iterator[Emulator]:
    """A station for faults that can be cleared again."""
    with Emulator(TASK, slowdown=clock.slowdown) as emulator:
        yield emulator


@pytest.fixture
def arm(mended: Emulator) -> Iterator[FrankaArm]:
    station = load_station(mended.station)
    mended.fault("clear")
    with FrankaArm(station.arm, station.workspace, clock=station.clock) as arm:
        arm.recover()  # what an earlier test has left behind
        arm.start()
        arm.move_to(TASK.home)
        arm.tare()
        arm._recoveries.clear()
        yield arm
    mended.fault("clear")


def swing(arm: FrankaArm) -> HardwareFault:
    """Move the arm back and forth until it fails, and return the fault."""
    began_s = arm.clock.now()
    while (now_s := arm.clock.now()) < began_s + 60.0:
        x = 0.02 * np.sin(3.0 * (now_s - began_s))
        try:
            arm.command(apply_delta(TASK.home, np.array([x, 0, 0, 0, 0, 0])))
        except HardwareFault as fault:
            return fault
        arm.clock.sleep(0.02)
    pytest.fail("nothing failed")


def is_still(arm: FrankaArm) -> bool:
    first = arm.measure().q
    arm.clock.sleep(0.2)
    return bool(np.max(np.abs(arm.measure().q - first)) < 2e-3)


def test_reflex_ends_control_and_is_recovered_once_asked(mended: Emulator, arm: FrankaArm, say: Say):
    fault_s = arm.clock.now()
    mended.fault("reflex")
    fault = swing(arm)
    say(f"reflex: told after {arm.clock.now() - fault_s:.2f} s: {fault}")
    assert "reflex" in str(fault)
    for refused in (arm.start, arm.measure, lambda: arm.command(TASK.home)):
        with pytest.raises(HardwareFault, match="reflex"):
            refused()
    arm.recover()
    assert is_still(arm)
    arm.start()
    arm.move_to(TASK.home)


def test_recoveries_are_counted_and_limited(mended: Emulator, arm: FrankaArm, say: Say):
    for _ in range(arm.config.max_recoveries_per_hour):
        mended.fault("reflex")
        swing(arm)
        arm.recover()
        arm.start()
        arm.clock.sleep(0.3)  # else it is the start that the reflex ends
    mended.fault("reflex")
    swing(arm)
    with pytest.raises(HardwareFault, match="recovered 3 times within an hour") as refused:
        arm.recover()
    say(f"fourth reflex: {refused.value}")
    with pytest.raises(HardwareFault, match="reflex"):
        arm.start()


def test_lasting_force_stops_the_arm(mended: Emulator, arm: FrankaArm, say: Say):
    fault_s = arm.clock.now()
    mended.fault("force", 60)
    fault = swing(arm)
    say(f"60 N: told after {arm.clock.now() - fault_s:.2f} s: {fault}")
    assert "above the limit of 40 N" in str(fault)
    assert isinstance(fault, ArmFault) and fault.force
    mended.fault("clear")
    arm.recover()
    assert is_still(arm)


def test_stops_at_the_force_limit_are_counted_apart(mended: Emulator, arm: FrankaArm, say: Say):
    """A night of exploring contact is not ended by its third hard touch; `max_force_stops_per_hour` ends it."""
    arm.config = replace(arm.config, max_recoveries_per_hour=0, max_force_stops_per_hour=1)

    def press() -> HardwareFault:
        mended.fault("force", 60)
        fault = swing(arm)
        mended.fault("clear")
        return fault

    first = press()
    assert isinstance(first, ArmFault) and first.force
    arm.recover()
    arm.start()
    press()
    with pytest.raises(HardwareFault, match="stopped at its force limit 1 times within an hour") as refused:
        arm.recover()
    say(f"second stop: {refused.value}")


def test_force_below_the_limit_does_not(mended: Emulator, arm: FrankaArm):
    mended.fault("force", 30)
    for _ in range(10):
        arm.command(TASK.home)
        arm.clock.sleep(0.05)
    until(lambda: abs(arm.measure().wrench[2] - 30.0) < 3.0)
    assert arm.tracking


def test_silent_control_box_is_told_and_comes_back(mended: Emulator, arm: FrankaArm, say: Say):
    fault_s = arm.clock.now()
    mended.fault("freeze")  # until it is cleared: it is told before
    fault = swing(arm)
    say(f"frozen control box: told after {arm.clock.now() - fault_s:.2f} s: {fault}")
    assert "silent" in str(fault) or "connection" in str(fault)
    mended.fault("clear")
    arm.clock.sleep(1.0)
    arm.recover()
    assert is_still(arm)
    arm.start()
    arm.move_to(TASK.home)


def test_dead_control_box_is_told(fresh_emulator: Emulator, say: Say):
    station = load_station(fresh_emulator.station)
    with FrankaArm(station.arm, station.workspace, clock=station.clock) as arm:
        arm.start()
        fault_s = arm.clock.now()
        try:
            fresh_emulator.fault("die")
        except HardwareFault:
            pass  # it dies before it answers
        fault = swing(arm)
        say(f"dead control box: told after {arm.clock.now() - fault_s:.2f} s: {fault}")
        assert "connection" in str(fault) or "silent" in str(fault)
        with pytest.raises(HardwareFault, match="does not come back"):
            arm.recover()
        arm.stop()


def test_interpreter_that_stands_still_does_not_keep_the_arm_moving(arm: FrankaArm, say: Say):
    watchdog = Watchdog(arm, clock=arm.clock)
    try:
        before = arm.measure()
        arm.clock.sleep(0.5)
        after = arm.measure()
        rate = (after.robot_time_s - before.robot_time_s) / (after.time_s - before.time_s)
        stall_s = max(3.0, 4.0 / rate)  # the arm's time is late where cores are busy; 1 s of it is needed
        arm.command(apply_delta(TASK.home, np.array([0.03, 0, 0, 0, 0, 0])))
        watchdog.resume()
        ctypes.PyDLL(None).usleep(int(1e6 * arm.clock.host_s(stall_s)))  # PyDLL keeps the interpreter's lock
        stood = is_still_after_fault(arm)
        fault = swing(arm)
        say(f"interpreter stood still for {stall_s:.1f} s, the arm at {rate:.2f} of the station's time: {fault}")
        assert stood
        assert "Python did not answer for 1.0 s" in str(fault)
        assert watchdog.stops <= 1
    finally:
        watchdog.close()


def is_still_after_fault(arm: FrankaArm) -> bool:
    arm.clock.sleep(0.1)
    here = arm.pose_at(arm.clock.now())
    arm.clock.sleep(0.3)
    return bool(np.linalg.norm(arm.pose_at(arm.clock.now())[:3, 3] - here[:3, 3]) < 2e-3)


def test_watchdog_holds_then_stops_an_arm_that_nobody_commands(arm: FrankaArm):
    moved = MovedClock()
    watchdog = Watchdog(arm, clock=moved)
    try:
        moved.show(5.0)
        assert (watchdog.freezes, watchdog.stops, arm.tracking) == (0, 0, True)  # paused: the agent thinks
        watchdog.resume()
        target = arm.command(apply_delta(TASK.home, np.array([0.03, 0, 0, 0, 0, 0])))
        moved.show(0.31)
        assert (watchdog.freezes, watchdog.stops, arm.tracking) == (1, 0, True)
        until(lambda: is_still(arm))
        assert np.linalg.norm(arm.measure().T_base_tcp[:3, 3] - target[:3, 3]) > 0.005
        moved.show(0.7)
        assert (watchdog.freezes, watchdog.stops, arm.tracking) == (1, 1, False)
        watchdog.pause()
        arm.start()  # no fault: the next reset goes on from here
        assert is_still(arm)
    finally:
        watchdog.close()


@pytest.mark.parametrize("kind", ["fail", "hang"])
def test_gripper_that_fails_is_told_without_waiting_for_it(
    kind: str, mended: Emulator, say: Say, monkeypatch: pytest.MonkeyPatch
):
    gripper = FrankaGripper(GripperConfig(debounce_s=0.1), ArmConfig(ip=mended.ip), clock=mended.clock)
    try:
        mended.fault("gripper", kind)
        with monkeypatch.context() as patch:
            patch.setattr(gripper_module, "MOTION_TIMEOUT_S", 1.0 if kind == "hang" else 5.0)
            fault_s, calls = mended.clock.now(), 0
            with pytest.raises(HardwareFault, match="gripper") as told:
                while mended.clock.now() < fault_s + 60.0:
                    gripper.command(1.0)
                    gripper.opening()
                    calls += 1
                    mended.clock.sleep(0.02)
        say(f"gripper {kind}: told after {mended.clock.now() - fault_s:.2f} s and {calls} calls: {told.value}")
        assert kind == "fail" or calls > 1  # the first one did not wait for the motion, which never ends
        mended.fault("clear")
        gripper.clear()
        gripper.command(1.0)
        gripper.wait(timeout_s=60.0)
        gripper.command(0.0)
        gripper.wait(timeout_s=60.0)
    finally:
        gripper.close()
        mended.fault("clear")


def test_lost_connection_to_the_gripper_is_made_anew(mended: Emulator, say: Say):
    gripper = FrankaGripper(GripperConfig(debounce_s=0.1), ArmConfig(ip=mended.ip), clock=mended.clock)

    def closes() -> bool:
        gripper.clear()  # as the next reset does
        try:
            gripper.command(0.0)
            gripper.wait(timeout_s=10.0)
            return gripper.opening() < 0.5
        except HardwareFault as told:
            say(f"gripper dropped: {told}")
            return False

    try:
        gripper.command(1.0)
        gripper.wait(timeout_s=60.0)
        mended.fault("gripper", "drop")
        until(closes)
    finally:
        gripper.close()


CONTROLLER = """
import sys
import numpy as np
from pathlib import Path
from rl.robots.franka.arm import FrankaArm
from rl.robots.station import load_station
from rl.tasks import get_task
from rl.transforms import apply_delta
station, home, t = load_station(Path(sys.argv[1])), get_task("usb_insertion").home, 0.0
with FrankaArm(station.arm, station.workspace, clock=station.clock) as arm:
    arm.start()
    arm.move_to(home)
    print("moving", flush=True)
    while True:
        t += 0.05
        arm.command(apply_delta(home, np.array([0.0, 0.05 * np.sin(2 * t), 0, 0, 0, 0])))
        arm.clock.sleep(0.05)
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_end_of_the_controlling_process_stops_the_arm(name: str, mended: Emulator, say: Say):
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, str(mended.station)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"moving\n"
        mended.clock.sleep(0.7)
        process.send_signal(getattr(signal, name))
        killed_s = moved_s = mended.clocks_s()[0]  # the arm's own time: it runs, whatever else does
        tip = mended.truth()["plug_tip"]
        while (arm_s := mended.clocks_s()[0]) < moved_s + 1.0:
            time.sleep(0.02)
            now = mended.truth()["plug_tip"]
            if np.linalg.norm(now - tip) > 2e-4:
                moved_s, tip = arm_s, now
            assert arm_s < killed_s + 8.0, "the arm keeps moving"
        say(f"{name} of the controlling process: the arm stands after {moved_s - killed_s:.2f} s of its time")
        process.wait(timeout=60.0)
        station = load_station(mended.station)
        with FrankaArm(station.arm, station.workspace, clock=station.clock) as arm:
            arm.start()
            arm.move_to(TASK.home)
    finally:
        process.kill()
        process.wait()
