"""Can this machine talk to a robot: client libraries, kernel, limits of the process."""

import importlib.metadata
import os
import platform
import resource
from pathlib import Path
from typing import Literal

from rl.errors import AgpsError

MIN_RTPRIO = 80
"""Priority of the 1 kHz thread (Franka's documentation asks for 99 in limits.conf)."""
MIN_MEMLOCK_KB = 100_000
"""Memory that is never swapped out, [kB] (Franka's documentation: 102400)."""


def arm_client() -> str:
    """Return the version of the arm's client library.

    Raises:
        AgpsError: If it is missing, too old, does not load, or is another package of the same name.
    """
    from rl.robots.franka.connection import import_franky

    import_franky()
    version = _version("franky-control")
    if not 2 <= _numbers(version)[0] < 3:
        raise AgpsError(f'franky-control is {version}; run `pip install "franky-control>=2,<3"`.')
    return f"franky-control {version}, for FR3 systems from 5.9.0 if the wheel is that of PyPI"


def camera_client() -> str:
    """Return the versions of the cameras' client library and of OpenCV.

    Raises:
        AgpsError: If one is missing, does not load, or is a version that does not work.
    """
    from rl.robots.cameras.sdk import load_sdk

    load_sdk()
    realsense, opencv = _version("pyrealsense2"), _version("opencv-python-headless", "opencv-python")
    if _numbers(realsense) < (2, 54, 2):
        raise AgpsError(
            f"pyrealsense2 is {realsense}; 2.54.2 is the oldest that works: run `pip install -U pyrealsense2`."
        )
    if _numbers(opencv) >= (5,):
        raise AgpsError(
            f'OpenCV is {opencv}, which lacks hand-eye calibration; run `pip install "opencv-python-headless>=4.9,<5"`.'
        )
    note = ": knows the L515" if _numbers(realsense) < (2, 55) else ": does not see an L515, which needs 2.54.2"
    return f"pyrealsense2 {realsense}{note}; opencv {opencv}"


def _version(*distributions: str) -> str:
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise AgpsError(f"The package {distributions[0]} is not installed under that name; install it again.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def has_realtime_kernel(release: str | None = None, flag: Path = Path("/sys/kernel/realtime")) -> bool:
    """Return whether the kernel is PREEMPT_RT.

    Args:
        release: What `uname -v` says; None: ask.
        flag: File in which such a kernel writes 1.
    """
    version = platform.version() if release is None else release
    return "PREEMPT_RT" in version or (flag.is_file() and flag.read_text().strip() == "1")


def realtime(wanted: Literal["enforce", "ignore"]) -> str:
    """Return whether the 1 kHz loop may run in real time.

    Args:
        wanted: As the station says.

    Raises:
        AgpsError: If the station enforces what the kernel or the limits of this user do not give.
    """
    if wanted == "ignore":
        return "ignored as the station says: for emulators, not for an arm"
    if not has_realtime_kernel():
        raise AgpsError(
            f"The kernel {platform.release()} has no PREEMPT_RT and the arm would stop for lost packets; boot one that "
            'has (docs/hardware.md), or, for an emulator only, write realtime = "ignore" under [arm].'
        )
    rtprio, memlock = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK))
    low = []
    if 0 <= rtprio < MIN_RTPRIO:
        low.append(f"rtprio is {rtprio}, needed: {MIN_RTPRIO}")
    if 0 <= memlock < MIN_MEMLOCK_KB * 1024:
        low.append(f"memlock is {memlock // 1024} kB, needed: {MIN_MEMLOCK_KB}")
    if low:
        raise AgpsError(
            f"The limits of this user are too low ({'; '.join(low)}): add them to /etc/security/limits.conf "
            "(docs/hardware.md) and log in again."
        )
    governors = {path.read_text().strip() for path in Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/*_governor")}
    note = "" if governors <= {"performance"} else f"; the governor is {', '.join(sorted(governors))}: use performance"
    return f"PREEMPT_RT, rtprio {_limit(rtprio)}, memlock {_limit(memlock)}, {os.cpu_count()} cores{note}"


def _limit(value: int) -> str:
    return "unlimited" if value < 0 else str(value)
