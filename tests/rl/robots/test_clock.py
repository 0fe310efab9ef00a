"""One clock for a station: slow only where an emulator says so, never on a real arm."""

import time
from itertools import count
from pathlib import Path

import pytest

from rl.errors import ConfigError
from rl.robots.clock import REAL_TIME, Clock, check_clock
from rl.robots.emulator.pace import Pace, run_free
from rl.robots.franka.arm import FrankaArm
from rl.robots.franka.config import ArmConfig, GripperConfig
from rl.robots.franka.gripper import FrankaGripper
from rl.robots.station import StationConfig, load_station
from rl.types import Box

ROOM = Box(lower=[0.3, -0.2, 0.0], upper=[0.7, 0.2, 0.4])
REAL_ARM = '[arm]\nip = "172.16.0.2"\n'
EMULATED_ARM = '[arm]\nip = "127.0.0.2"\n'
TRUTH = 'truth = "emulator://127.0.0.1:5000"\n'
WORKSPACE = "[workspace]\nlower = [0.3, -0.2, 0.0]\nupper = [0.7, 0.2, 0.4]\n"


def station(folder: Path, head: str, arm: str = EMULATED_ARM, *, ip: str | None = None) -> StationConfig:
    (folder / "station.toml").write_text(head + arm + WORKSPACE)
    return load_station(folder / "station.toml", ip=ip)


def test_second_of_a_slow_clock_takes_as_many_of_the_host() -> None:
    clock = Clock(2.5)
    assert (clock.at(10.0), clock.host_s(4.0)) == (4.0, 10.0)
    began_s, host_s = clock.now(), time.monotonic()
    clock.sleep(0.04)
    assert time.monotonic() - host_s >= 0.1
    assert clock.now() - began_s >= 0.04


def test_real_time_is_the_host_s_to_the_bit() -> None:
    assert REAL_TIME.at(12345.678901234567) == 12345.678901234567
    assert REAL_TIME.host_s(0.1) == 0.1


def test_negative_sleep_is_none() -> None:
    Clock(20.0).sleep(-1e9)


@pytest.mark.parametrize("slowdown", [0.99, 0.0, -2.0, 20.1, float("nan"), float("inf")])
def test_clock_is_never_faster_than_the_host_nor_stands(slowdown: float) -> None:
    with pytest.raises(ConfigError, match=r"slowdown is .*; ask for 1 \(real time\) to 20"):
        Clock(slowdown)


@pytest.mark.parametrize("ip", ["172.16.0.2", "fr3.lab", "localhost", "", "::2", "10.0.0.1"])
def test_slow_clock_is_refused_for_an_arm_that_is_not_on_this_computer(ip: str) -> None:
    with pytest.raises(ConfigError, match="limits of a real arm hold in real time"):
        check_clock(Clock(1.1), ip)
    check_clock(REAL_TIME, ip)


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.77.1.2", "::1"])
def test_emulator_s_addresses_may_have_a_slow_clock(ip: str) -> None:
    check_clock(Clock(3.0), ip)


@pytest.mark.parametrize(
    "build",
    [
        lambda arm: FrankaArm(arm, ROOM, clock=Clock(2.0)),
        lambda arm: FrankaGripper(GripperConfig(), arm, clock=Clock(2.0)),
        lambda arm: StationConfig(arm=arm, workspace=ROOM, cameras=(), truth="emulator://127.0.0.1:5000", slowdown=2.0),
    ],
)
def test_drivers_refuse_it_before_they_connect(build) -> None:
    with pytest.raises(ConfigError, match=r"slowdown is 2, but the arm at 172\.16\.0\.2 is no emulator"):
        build(ArmConfig(ip="172.16.0.2"))


def test_station_without_the_line_runs_in_real_time(tmp_path: Path) -> None:
    assert station(tmp_path, "", REAL_ARM).clock == REAL_TIME
    assert station(tmp_path, TRUTH).clock == REAL_TIME


def test_station_of_an_emulator_runs_by_its_clock(tmp_path: Path) -> None:
    assert station(tmp_path, f"slowdown = 2.5\n{TRUTH}").clock == Clock(2.5)
    assert station(tmp_path, f"slowdown = 2\n{TRUTH}").clock == Clock(2.0)


@pytest.mark.parametrize(
    ("head", "arm", "ip", "words"),
    [
        ("slowdown = 2\n", EMULATED_ARM, None, "no emulator tells this station's truth"),
        (f"slowdown = 2\n{TRUTH}", REAL_ARM, None, r"the arm at 172\.16\.0\.2 is no emulator"),
        (f"slowdown = 2\n{TRUTH}", EMULATED_ARM, "172.16.0.3", r"the arm at 172\.16\.0\.3 is no emulator"),
        (f"slowdown = 0.5\n{TRUTH}", EMULATED_ARM, None, r"slowdown is 0\.5; ask for 1"),
        (f'slowdown = "2"\n{TRUTH}', EMULATED_ARM, None, "slowdown is '2'; write a number"),
        (f"slowdown = true\n{TRUTH}", EMULATED_ARM, None, "slowdown is True; write a number"),
    ],
)
def test_slow_station_that_may_be_real_is_refused(
    head: str, arm: str, ip: str | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        station(tmp_path, head, arm, ip=ip)


@pytest.mark.parametrize(
    ("rate", "step_s", "look_s", "slowdown"),
    [
        (3.0, 0.01, 0.05, 1.0),
        (1.5, 0.1, 0.15, 1.0),
        (1.0, 0.01, 0.05, 1.5),  # 1.5 times real time is needed
        (0.7, 0.01, 0.05, 2.2),  # 2.14, rounded up
        (3.0, 0.3, 0.05, 3.0),  # a standstill of 0.3 s, 0.1 s is allowed
        (3.0, 0.01, 0.6, 4.0),  # 0.6 s for the images, 0.15 s is allowed
        (1e-3, 0.01, 0.05, 20.0),
    ],
)
def test_clock_is_slowed_by_what_the_computer_lacks_most(
    rate: float, step_s: float, look_s: float, slowdown: float
) -> None:
    pace = Pace(rate=rate, step_s=step_s, look_s=look_s)
    assert pace.clock == Clock(slowdown)
    assert str(pace).startswith("real time" if slowdown == 1.0 else f"1 s of the station takes {slowdown:.1f} s")


def test_pace_is_arm_time_over_host_time_and_the_longest_step() -> None:
    """Steps of 1 ms take 4 ms each, one takes 54: 300 steps, then as many as a second needs."""
    ticks = count()

    def now() -> float:
        tick = next(ticks)
        return 0.004 * tick + (0.05 if tick > 100 else 0.0)

    rate, longest_s = run_free(lambda: None, now, timestep_s=0.001)
    assert rate == pytest.approx(0.3 / 1.25)
    assert longest_s == pytest.approx(0.054)
