"""Is an FR3 fit for a run: its client, kernel, mode, force at rest and lost packets, and its hand."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from agps_agent.doctor import software
from agps_agent.doctor.arm import held
from agps_agent.doctor.checkup import Check, NotChecked
from rl.errors import AgpsError
from rl.robots.franka.config import GripperConfig
from rl.robots.station import StationConfig, open_arm
from rl.tasks.base import Task

T = TypeVar("T")

_ANSWER_S = 10.0
"""Longest wait for the gripper, [s]."""
_REST_S = 0.5
"""How long the force at rest is averaged, [s]."""
_ACT = {
    "reflex": "look for what it hit, free it, and clear the error in Desk",
    "userstopped": "release the stop button",
    "guiding": "let go of the guiding button",
    "automaticerrorrecovery": "wait until it has recovered",
    "move": "end the other program that moves it",
    "other": "unlock the brakes and activate FCI in Desk",
}


@contextmanager
def franka(station: StationConfig, task: Task, *, hold_s: float) -> Iterator[Mapping[str, Check]]:
    """Yield the checks of an FR3 and its hand."""
    yield FrankaChecks(station, hold_s=hold_s).checks()


class FrankaChecks:
    """The checks of one FR3; nothing is told to move."""

    def __init__(self, station: StationConfig, *, hold_s: float) -> None:
        """Check nothing yet."""
        self._station, self._hold_s = station, hold_s
        self._fit_to_hold = True
        """No check has found a reason not to put the arm under control."""

    def checks(self) -> dict[str, Check]:
        """Return the checks by name, in the order in which they have to be made."""
        return {
            "arm client": software.arm_client,
            "real time": lambda: self._needed_to_hold(lambda: software.realtime(self._station.arm.realtime)),
            "arm": lambda: self._needed_to_hold(self._arm_answers),
            "arm mode": lambda: self._needed_to_hold(self._arm_mode),
            "force at rest": lambda: self._needed_to_hold(self._force_at_rest),
            "commands": self._commands,
            "gripper": self._gripper,
        }

    def _needed_to_hold(self, check: Callable[[], T]) -> T:
        try:
            return check()
        except AgpsError:
            self._fit_to_hold = False
            raise

    @cached_property
    def _robot(self) -> Any:
        """The connection to the arm; its kernel is another check's concern."""
        from rl.robots.franka.connection import connect, import_franky

        robot = connect(import_franky(), replace(self._station.arm, realtime="ignore"))
        self._arm_answered = True
        return robot

    _arm_answered = False

    def _arm_answers(self) -> str:
        try:
            software.arm_client()
        except AgpsError:
            raise NotChecked("not checked: the arm client does not work") from None
        robot = self._robot
        x, y, z = robot.state.O_T_EE.translation
        return f"FCI answers at {self._station.arm.ip}; the TCP is at ({x:.3f}, {y:.3f}, {z:.3f}) m"

    def _arm_state(self) -> Any:
        if "_robot" not in self.__dict__:
            raise NotChecked("not checked: no connection to the arm")
        return self._robot.state

    def _arm_mode(self) -> str:
        state = self._arm_state()
        mode = state.robot_mode.name.lower()
        errors = [name for name in dir(state.current_errors) if not name.startswith("_")]
        present = [name for name in errors if getattr(state.current_errors, name) is True]
        if mode != "idle" or present:
            with_errors = f" with {', '.join(present)}" if present else ""
            raise AgpsError(f"The arm is in mode {mode}{with_errors}; {_ACT.get(mode, _ACT['reflex'])}.")
        return "idle, no errors"

    def _force_at_rest(self) -> str:
        forces = []
        until_s = self._station.clock.now() + _REST_S
        while self._station.clock.now() < until_s:
            forces.append(np.asarray(self._arm_state().O_F_ext_hat_K, float)[:3])
            self._station.clock.sleep(0.02)
        x, y, z = np.mean(forces, axis=0)
        force_N, limit_N = float(np.linalg.norm([x, y, z])), self._station.arm.resting_force_N
        if force_N > limit_N:
            raise AgpsError(
                f"The arm feels {force_N:.1f} N at rest, ({x:.1f}, {y:.1f}, {z:.1f}), the limit is {limit_N:.1f} N: "
                "free it, and enter the mass of hand, cameras and tool in Desk or as load_kg under [arm]."
            )
        return f"{force_N:.1f} N, the limit is {limit_N:.1f} N"

    def _commands(self) -> str:
        if self._hold_s == 0.0:
            raise NotChecked("not checked: --hold-s is 0")
        if not self._fit_to_hold:
            raise NotChecked("not checked: the arm is put under control only when all checks above are good")
        del self.__dict__["_robot"]  # an arm talks to one client
        with closing(open_arm(self._station)) as arm:
            return held(self._station, arm, self._hold_s)

    def _gripper(self) -> str:
        config = self._station.gripper or GripperConfig()
        if not config.enabled:
            return "not used as the station says"
        if not self._arm_answered:
            raise NotChecked("not checked: no connection to the arm")
        from rl.robots.franka.connection import import_franky, within

        franky, ip = import_franky(), self._station.arm.ip
        silent = f"The gripper at {ip} says nothing for {_ANSWER_S:.0f} s; switch its power off and on in Desk."
        try:
            state = within(_ANSWER_S, lambda: franky.Gripper(ip).state, silent)
        except (franky.NetworkException, franky.IncompatibleVersionException, franky.ProtocolException) as error:
            reason = str(error).splitlines()[0].removeprefix("libfranka: ").rstrip(".")
            raise AgpsError(
                f"The gripper does not answer ({reason}); mount the Franka Hand and initialise it in Desk, or set "
                "enabled = false under [gripper]."
            ) from error
        if not state.max_width > 0.0:
            raise AgpsError("The gripper has not been homed since it was switched on; home it in Desk.")
        if state.max_width < config.max_width_m - 0.005:
            raise AgpsError(
                f"The gripper opens {1e3 * state.max_width:.0f} mm, the station says {1e3 * config.max_width_m:.0f}; "
                "home it in Desk with nothing between its fingers, or correct max_width_m under [gripper]."
            )
        return f"homed, open {1e3 * state.width:.0f} of {1e3 * state.max_width:.0f} mm"
