"""What the doctor finds without a robot and without its libraries."""

import resource

import numpy as np
import pytest

from agps_agent.doctor import software
from agps_agent.doctor.checkup import NotChecked, attempt
from agps_agent.doctor.placement import bounds, task_cameras
from agps_agent.doctor.station import StationCheckup, usb
from rl.errors import AgpsError
from rl.robots.franka.config import ArmConfig
from rl.robots.station import StationConfig
from rl.tasks import get_task
from rl.types import Box

TASK = get_task("usb_insertion")


def station(lower: tuple[float, ...], upper: tuple[float, ...]) -> StationConfig:
    box = Box(lower=np.array(lower), upper=np.array(upper))
    return StationConfig(arm=ArmConfig(ip="127.0.0.2"), workspace=box, cameras=())


@pytest.mark.parametrize(
    ("release", "flag", "found"),
    [
        ("#1 SMP PREEMPT_RT Debian 6.1", None, True),
        ("#1 SMP PREEMPT_DYNAMIC", None, False),
        ("#1 SMP", "1\n", True),
        ("#1 SMP", "0\n", False),
    ],
)
def test_realtime_kernel_is_told_by_its_version_or_its_flag(tmp_path, release, flag, found):
    file = tmp_path / "realtime"
    if flag is not None:
        file.write_text(flag)
    assert software.has_realtime_kernel(release, file) is found


def test_unlimited_limits_are_enough(monkeypatch):
    monkeypatch.setattr(software, "has_realtime_kernel", lambda: True)
    monkeypatch.setattr(software.resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    assert software.realtime("enforce").startswith("PREEMPT_RT, rtprio unlimited, memlock unlimited")


def test_each_limit_that_is_too_low_is_named(monkeypatch):
    limits = {resource.RLIMIT_RTPRIO: (99, 99), resource.RLIMIT_MEMLOCK: (8_388_608, 8_388_608)}
    monkeypatch.setattr(software, "has_realtime_kernel", lambda: True)
    monkeypatch.setattr(software.resource, "getrlimit", limits.__getitem__)
    with pytest.raises(AgpsError, match=r"\(memlock is 8192 kB, needed: 100000\)"):
        software.realtime("enforce")


def test_workspaces_that_do_not_meet_are_refused():
    with pytest.raises(AgpsError, match=r"do not overlap; measure the table"):
        bounds(station((0.7, -0.1, 0.1), (0.8, 0.1, 0.3)), TASK)


def test_workspace_without_room_for_every_start_is_refused():
    home = TASK.home[:3, 3]
    with pytest.raises(AgpsError, match=r"A start pose of usb_insertion .* outside the station's workspace"):
        bounds(station(tuple(home - 0.03), tuple(home + 0.03)), TASK)


def test_station_must_have_the_cameras_of_the_task():
    with pytest.raises(AgpsError, match=r"uses wrist_1, wrist_2, side, which the station lacks"):
        task_cameras(station((0.3, -0.2, 0.0), (0.7, 0.2, 0.4)), TASK)


@pytest.mark.parametrize("kind", ["", "3.0", "3.2"])
def test_fast_usb_and_none_at_all_are_good(kind):
    assert kind in usb(kind)


def test_slow_usb_is_refused():
    with pytest.raises(AgpsError, match=r"USB 2.1; use a USB 3 port"):
        usb("2.1")


@pytest.mark.parametrize("kind", ["Undefined", "?", "USB 3"])
def test_usb_of_a_kind_that_the_camera_does_not_know_is_told_and_not_refused(kind):
    assert usb(kind) == f"its kind is not known ({kind})"


def test_missing_station_file_is_the_one_finding(tmp_path):
    with StationCheckup(tmp_path / "none.toml", ip=None, task="usb_insertion", hold_s=0.0) as checkup:
        (finding,) = [attempt(check) for check in checkup.checks().values()]
    assert finding.ok is False and "docs/hardware.md" in finding.finding


def test_check_that_cannot_be_made_is_neither_good_nor_bad():
    def check() -> str:
        raise NotChecked("not checked: no arm")

    assert attempt(check).ok is None and attempt(check).mark == "-   "
