"""What of the arm's driver needs no arm."""

import sys
import time
import types
from collections.abc import Callable

import numpy as np
import pytest

from rl.errors import ConfigError, HardwareFault
from rl.robots.franka.connection import connect, import_franky, within
from rl.robots.franka.state import PoseHistory
from rl.robots.franka.watchdog import Watchdog
from rl.robots.station import ArmConfig
from rl.tasks import get_task
from rl.transforms import pose


class LoggingArm:
    """An arm that notes what a watchdog does with it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def hold(self) -> None:
        self.log.append("hold")

    def stop(self) -> None:
        self.log.append("stop")


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@pytest.fixture
def watched():
    arm = LoggingArm()
    watchdog = Watchdog(arm, freeze_after_s=0.1, stop_after_s=0.3)
    yield arm, watchdog
    watchdog.close()


def test_watchdog_holds_then_stops_once(watched):
    arm, watchdog = watched
    watchdog.resume()
    until(lambda: watchdog.stopped)
    time.sleep(0.2)
    assert arm.log == ["hold", "stop"]
    assert (watchdog.freezes, watchdog.stops) == (1, 1)


def test_watchdog_counts_no_time_in_a_pause(watched):
    arm, watchdog = watched
    watchdog.resume()
    watchdog.pause()
    time.sleep(0.5)
    assert arm.log == ["hold"]  # the pause itself
    assert (watchdog.freezes, watchdog.stops) == (0, 0)


def test_watchdog_begins_in_a_pause(watched):
    arm, _ = watched
    time.sleep(0.5)
    assert arm.log == []


def test_fed_watchdog_leaves_the_arm_alone():
    arm = LoggingArm()
    watchdog = Watchdog(arm, freeze_after_s=1.0, stop_after_s=2.0)
    watchdog.resume()
    for _ in range(30):
        watchdog.feed()
        time.sleep(0.05)
    watchdog.close()
    assert arm.log == []


def test_action_after_a_freeze_goes_on(watched):
    _, watchdog = watched
    watchdog.resume()
    until(lambda: watchdog.freezes == 1)
    watchdog.feed()
    until(lambda: watchdog.freezes == 2)


def test_watchdog_outlives_an_arm_that_fails():
    class Failing(LoggingArm):
        def hold(self) -> None:
            raise HardwareFault("gone")

    arm = Failing()
    watchdog = Watchdog(arm, freeze_after_s=0.05, stop_after_s=0.15)
    watchdog.resume()
    until(lambda: arm.log == ["stop"])
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
        within(0.05, lambda: time.sleep(0.5), "no answer")


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
