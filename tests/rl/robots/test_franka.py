"""What of the arm's driver needs no arm."""

import sys
import threading
import time
import types

import numpy as np
import pytest

from rl.errors import ConfigError, HardwareFault
from rl.robots.clock import Clock
from rl.robots.franka.config import ArmConfig
from rl.robots.franka.connection import connect, import_franky, within
from rl.robots.franka.state import Silence
from rl.robots.real.history import PoseHistory
from rl.robots.real.watchdog import Watchdog, calls_of
from rl.tasks import get_task
from rl.transforms import pose
from tests.clocks import MovedClock, until


class LoggingArm:
    """An arm that notes what a watchdog does with it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def hold(self) -> None:
        self.log.append("hold")

    def stop(self) -> None:
        self.log.append("stop")


class FailingArm(LoggingArm):
    """One that cannot be held."""

    def hold(self) -> None:
        raise HardwareFault("gone")


class BrokenDriver(LoggingArm):
    """One whose connection fails when it is held, and the first two times that it is stopped."""

    def hold(self) -> None:
        self.log.append("hold")
        raise ConnectionResetError("socket of the arm")

    def stop(self) -> None:
        self.log.append("stop")
        if self.log.count("stop") < 3:
            raise TimeoutError("socket of the arm")


@pytest.fixture(params=[LoggingArm])
def watched(request: pytest.FixtureRequest):
    arm, clock = request.param(), MovedClock()
    watchdog = Watchdog(arm, clock=clock)
    yield arm, watchdog, clock
    watchdog.close()


def test_watchdog_holds_after_0_3_s_then_stops_once_after_1_s(watched):
    arm, watchdog, clock = watched
    watchdog.resume()
    for duration_s, log in (
        (0.29, []),
        (0.02, ["hold"]),
        (0.68, ["hold"]),
        (0.02, ["hold", "stop"]),
        (9.0, ["hold", "stop"]),
    ):
        clock.show(duration_s)
        assert arm.log == log
    assert (watchdog.freezes, watchdog.stops, watchdog.stopped) == (1, 1, True)


def test_watchdog_that_was_held_up_itself_stops_at_once(watched):
    arm, watchdog, clock = watched
    watchdog.resume()
    clock.show(1.5)
    assert arm.log == ["stop"]


def test_watchdog_says_where_the_control_loop_was_when_it_fell_silent(watched, caplog: pytest.LogCaptureFixture):
    _, watchdog, clock = watched
    thinking = threading.Event()

    def think_for_too_long() -> None:
        watchdog.feed()
        thinking.wait(30.0)

    watchdog.resume()
    loop = threading.Thread(target=think_for_too_long, daemon=True)
    loop.start()
    assert loop.ident is not None
    until(lambda: calls_of(loop.ident, 1).startswith("Condition.wait ("))  # it may be slow to get there
    clock.show(0.31)
    until(lambda: bool(caplog.messages))
    thinking.set()
    loop.join()
    (said,) = caplog.messages
    assert said.startswith("No fresh action for 0.31 s: the arm is frozen. The control loop was in Condition.wait (")
    assert "think_for_too_long (" in said and f"{__file__}:" in said


def test_calls_of_a_thread_that_is_over_are_none():
    assert calls_of(0, 3) == "no thread any more"


def test_watchdog_counts_no_time_in_a_pause(watched):
    arm, watchdog, clock = watched
    watchdog.resume()
    watchdog.pause()
    clock.show(5.0)
    assert arm.log == ["hold"]  # the pause itself
    assert (watchdog.freezes, watchdog.stops) == (0, 0)


def test_watchdog_begins_in_a_pause(watched):
    arm, _, clock = watched
    clock.show(5.0)
    assert arm.log == []


def test_fed_watchdog_leaves_the_arm_alone(watched):
    arm, watchdog, clock = watched
    watchdog.resume()
    for _ in range(30):
        watchdog.feed()
        clock.show(0.25)
    assert arm.log == []


def test_action_after_a_freeze_goes_on(watched):
    _, watchdog, clock = watched
    watchdog.resume()
    clock.show(0.4)
    watchdog.feed()
    clock.show(0.4)
    assert (watchdog.freezes, watchdog.stops) == (2, 0)


@pytest.mark.parametrize("watched", [FailingArm], indirect=True)
def test_watchdog_outlives_an_arm_that_fails(watched):
    arm, watchdog, clock = watched
    watchdog.resume()
    clock.show(0.4)
    clock.show(0.7)
    assert arm.log == ["stop"]


@pytest.mark.parametrize("watched", [BrokenDriver], indirect=True)
def test_watchdog_whose_arm_can_not_be_held_stops_it_and_goes_on_trying(watched):
    arm, watchdog, clock = watched
    watchdog.resume()
    clock.show(0.31)
    until(lambda: arm.log == ["hold", "stop", "stop", "stop"])
    assert watchdog.stops == 1 and watchdog.stopped
    watchdog.resume()
    clock.show(1.1)
    assert arm.log[4:] == ["stop"] and watchdog.stops == 2


def test_watchdog_of_a_slow_station_waits_as_much_longer():
    """Of three host seconds a clock of 3 makes one: nothing happens before 0.9 s of the host's."""
    arm, began_s = LoggingArm(), time.monotonic()
    watchdog = Watchdog(arm, clock=Clock(3.0))
    watchdog.resume()
    until(lambda: arm.log == ["hold", "stop"] or arm.log == ["stop"])
    assert time.monotonic() - began_s >= 3.0
    watchdog.close()


def test_missing_franky_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "franky", None)
    with pytest.raises(ConfigError, match=r'pip install "agps\[robot\]"'):
        import_franky()


def test_package_of_the_same_import_name_is_told_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "franky", types.ModuleType("franky"))
    with pytest.raises(ConfigError, match="another one of the same import name"):
        import_franky()


def test_franky_before_its_trackers_is_told_apart(monkeypatch: pytest.MonkeyPatch):
    old = types.ModuleType("franky")
    old.Robot = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "franky", old)
    with pytest.raises(ConfigError, match="older than 2.0"):
        import_franky()


@pytest.mark.parametrize("speed", [0.0, 0.31, -1.0, float("nan")])
def test_speed_beyond_the_arm_s_own_limits_is_refused(speed: float):
    with pytest.raises(ConfigError, match=r"arm\.speed"):
        connect(types.ModuleType("franky"), ArmConfig(ip="127.0.0.1", speed=speed))


def test_connection_that_never_comes_is_given_up():
    with pytest.raises(ConfigError, match="no answer"):
        within(0.05, lambda: time.sleep(60.0), "no answer")


def test_silence_lasts_from_the_last_new_state():
    silence = Silence()
    for look in range(10):
        assert silence.look(0.001 * look, 0.02 * look) and silence.duration_s == 0.0
    for look in range(10, 30):
        assert not silence.look(0.001 * 9, 0.02 * look)
    assert silence.duration_s == pytest.approx(0.4)
    assert silence.look(0.010, 0.6) and silence.duration_s == 0.0


def test_what_the_monitor_slept_through_is_no_silence_of_the_box():
    """It wakes after 0.5 s and sees the state of before: the new ones have come and wait to be received."""
    silence = Silence()
    silence.look(1.000, 10.0)
    assert not silence.look(1.000, 10.5) and silence.duration_s == 0.0
    assert silence.look(1.480, 10.52) and silence.duration_s == 0.0


def test_pose_between_two_is_interpolated():
    history = PoseHistory(poses=10)
    for time_s, x in ((1.0, 0.1), (2.0, 0.2), (3.0, 0.4)):
        history.add(time_s, pose(np.array([x, 0.0, 0.0])))
    for time_s, x in ((1.0, 0.1), (1.5, 0.15), (2.25, 0.25), (3.0, 0.4), (9.0, 0.4)):
        np.testing.assert_allclose(history.at(time_s)[:3, 3], [x, 0.0, 0.0], atol=1e-12)
    with pytest.raises(HardwareFault, match="Nobody remembers"):
        history.at(0.9)


def test_plug_leaves_its_port_along_the_tool():
    task = get_task("usb_insertion")
    (out,) = task.retreat(task.home)
    np.testing.assert_allclose(out[:3, 3] - task.home[:3, 3], [0.0, 0.0, 0.03], atol=1e-9)


def test_loop_leaves_its_peg_along_the_peg():
    task = get_task("knot_hanging")
    hung = task.home.copy()
    hung[:3, 3] += task.landmarks["hook_base"] - task.landmarks["hook_tip"]
    (out,) = task.retreat(hung)
    way = out[:3, 3] - hung[:3, 3]
    axis = task.landmarks["hook_tip"] - task.landmarks["hook_base"]
    np.testing.assert_allclose(np.cross(way, axis), 0.0, atol=1e-9)
    assert way @ axis > 0.0
    assert task.retreat(task.home)[0] is not task.home
