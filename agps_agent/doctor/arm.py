"""Is the arm of a station fit for a run: what can be asked of any arm, and where the checks of a kind come from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np

from agps_agent.doctor.checkup import Check, NotChecked
from rl.errors import AgpsError
from rl.registry import Registry
from rl.robots.base import Arm
from rl.robots.station import NO_GRIPPER, StationConfig, open_arm, open_gripper
from rl.tasks.base import Task

LEAST_SUCCESS_RATE = 0.95
"""Share of commands that arrive in time (Franka; the arm stops at 20 lost in a row)."""

CHECKUPS: Registry[Callable[..., AbstractContextManager[Mapping[str, Check]]]] = Registry("agps.checkups", "checkup")
"""Checks that only a kind of arm knows, by that kind; made as `checks(station, task, hold_s=...)`."""


def arm_checks(station: StationConfig, task: Task, *, hold_s: float) -> AbstractContextManager[Mapping[str, Check]]:
    """Return the checks of arm and gripper by name, in their order; what they open is closed on the way out.

    Args:
        station: Names the arm.
        task: What is to be done there.
        hold_s: How long the arm holds its pose to count lost commands, [s]; 0: not at all.
    """
    kind = station.arm_kind
    checks = CHECKUPS.load(kind) if kind in CHECKUPS else any_arm
    return checks(station, task, hold_s=hold_s)


@contextmanager
def any_arm(station: StationConfig, task: Task, *, hold_s: float) -> Iterator[Mapping[str, Check]]:
    """Yield what can be asked of any arm: whether it answers, where it is, and whether it holds its pose."""
    opened: list[Arm] = []

    def answers() -> str:
        arm = open_arm(station)
        stack.callback(arm.close)
        x, y, z = arm.measure().T_base_tcp[:3, 3]
        opened.append(arm)
        where = "" if station.address is None else f" at {station.address}"
        return f"{station.arm_kind} answers{where}; the TCP is at ({x:.3f}, {y:.3f}, {z:.3f}) m"

    def commands() -> str:
        if hold_s == 0.0:
            raise NotChecked("not checked: --hold-s is 0")
        if not opened:
            raise NotChecked("not checked: no connection to the arm")
        return held(station, opened[0], hold_s)

    def gripper() -> str:
        if station.gripper_kind == NO_GRIPPER and not task.has_gripper:
            return "none, and the task needs none"
        found = open_gripper(station, task)
        stack.callback(found.close)
        return f"{station.gripper_kind}, {100 * found.opening():.0f} % open"

    with ExitStack() as stack:
        yield {"arm": answers, "commands": commands, "gripper": gripper}


def held(station: StationConfig, arm: Arm, hold_s: float) -> str:
    """Return how well the commands of an arm arrive while it holds its pose.

    Raises:
        AgpsError: If too many do not.
    """
    rates = []
    arm.start()
    until_s = station.clock.now() + hold_s
    while station.clock.now() < until_s:
        station.clock.sleep(0.05)
        rates.append(arm.success_rate())
    arm.stop()
    counted = [rate for rate in rates if rate is not None]
    if not counted:
        return f"held its pose for {hold_s:g} s; it does not tell how many commands arrive in time"
    rate = float(np.mean(counted[len(counted) // 4 :]))  # an arm that counts from the start: the first are low
    if rate < LEAST_SUCCESS_RATE:
        raise AgpsError(
            f"{100 * rate:.1f} % of commands arrived in time, needed: {100 * LEAST_SUCCESS_RATE:.0f} %; connect "
            "the arm to its own network card without a switch, set the governor to performance, end other programs."
        )
    return f"{100 * rate:.1f} % arrived in time while the arm held its pose for {hold_s:g} s"
