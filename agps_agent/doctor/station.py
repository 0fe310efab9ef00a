"""Is the robot station fit for a run: arm, gripper, cameras, calibration, workspace. Nothing is told to move."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from agps_agent.doctor import placement, software
from agps_agent.doctor.checkup import Check, NotChecked
from rl.errors import AgpsError
from rl.robots.cameras.base import CameraDriver
from rl.robots.station import CameraConfig, StationConfig, load_station
from rl.tasks import get_task
from rl.tasks.base import Task

T = TypeVar("T")

LEAST_SUCCESS_RATE = 0.95
"""Share of 1 kHz commands that arrive in time (Franka; the arm stops at 20 lost in a row)."""
LEAST_DEPTH = 0.05
"""Share of a depth image that must hold data."""
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


class StationCheckup:
    """The checks of one station; devices are opened once and released at the end."""

    def __init__(self, path: Path, *, ip: str | None, task: str, hold_s: float) -> None:
        """Check nothing yet.

        Args:
            path: Station file.
            ip: Address of the arm in place of the file's.
            task: Name of the task that is to be done there.
            hold_s: How long the arm holds its pose to count lost packets, [s]; 0: not at all.
        """
        self._path, self._ip, self._task_name, self._hold_s = path, ip, task, hold_s
        self._open = ExitStack()
        self._cameras: dict[str, CameraDriver] = {}
        self._fit_to_hold = True
        """No check has found a reason not to put the arm under control."""

    def __enter__(self) -> "StationCheckup":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release every device."""
        self._open.close()

    def checks(self) -> dict[str, Check]:
        """Return the checks by name, in the order in which they have to be made."""
        checks: dict[str, Check] = {"station": self._station_file}
        try:
            station, task = self._station, self._task
        except AgpsError:
            return checks  # the one check says why
        checks |= {
            "arm client": software.arm_client,
            "camera client": software.camera_client,
            "real time": lambda: self._needed_to_hold(lambda: software.realtime(station.arm.realtime)),
            "bounds": lambda: placement.bounds(station, task),
            "arm": lambda: self._needed_to_hold(self._arm_answers),
            "arm mode": lambda: self._needed_to_hold(self._arm_mode),
            "force at rest": lambda: self._needed_to_hold(self._force_at_rest),
            "commands": self._commands,
            "gripper": self._gripper,
            "task cameras": lambda: placement.task_cameras(station, task),
        }
        agent = {camera.name for camera in task.agent_cameras}
        for camera in station.cameras:
            checks |= self._camera_checks(camera, needed=camera.name in agent)
        return checks

    @cached_property
    def _station(self) -> StationConfig:
        return load_station(self._path, ip=self._ip)

    @cached_property
    def _task(self) -> Task:
        return get_task(self._task_name, **self._station.task)

    def _station_file(self) -> str:
        station, task = self._station, self._task
        changed = f", {len(station.task)} fields of {task.name} changed" if station.task else ""
        return f"{self._path}: arm at {station.arm.ip}, {len(station.cameras)} cameras{changed}"

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
        from rl.robots.franka.arm import FrankaArm

        if self._hold_s == 0.0:
            raise NotChecked("not checked: --hold-s is 0")
        if not self._fit_to_hold:
            raise NotChecked("not checked: the arm is put under control only when all checks above are good")
        del self.__dict__["_robot"]  # an arm talks to one client
        rates = []
        with FrankaArm(self._station.arm, self._station.workspace, clock=self._station.clock) as arm:
            arm.start()
            until_s = self._station.clock.now() + self._hold_s
            while self._station.clock.now() < until_s:
                self._station.clock.sleep(0.05)
                rates.append(arm.measure().success_rate)
            arm.stop()
        rate = float(np.mean(rates[len(rates) // 4 :]))  # the arm counts from the start: the first readings are low
        if rate < LEAST_SUCCESS_RATE:
            raise AgpsError(
                f"{100 * rate:.1f} % of commands arrived in time, needed: {100 * LEAST_SUCCESS_RATE:.0f} %; connect "
                "the arm to its own network card without a switch, set the governor to performance, end other programs."
            )
        return f"{100 * rate:.1f} % arrived in time while the arm held its pose for {self._hold_s:g} s"

    def _gripper(self) -> str:
        config = self._station.gripper
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

    def _camera_checks(self, config: CameraConfig, *, needed: bool) -> dict[str, Check]:
        def info() -> Any:
            camera = self._cameras.get(config.name)
            return None if camera is None else camera.info

        return {
            f"camera {config.name}": lambda: self._open_camera(config),
            f"usb {config.name}": lambda: usb(self._camera(config).info.usb),
            f"frames {config.name}": lambda: self._frames(config),
            f"calibration {config.name}": lambda: placement.calibration(config, info(), needed=needed),
        }

    def _camera(self, config: CameraConfig) -> CameraDriver:
        if config.name not in self._cameras:
            raise NotChecked("not checked: the camera does not work")
        return self._cameras[config.name]

    def _open_camera(self, config: CameraConfig) -> str:
        from rl.robots.cameras import open_camera

        try:
            software.camera_client()
        except AgpsError:
            raise NotChecked("not checked: the camera client does not work") from None
        camera = open_camera(config, self._station.clock)
        self._open.callback(camera.close)
        self._cameras[config.name] = camera
        found = camera.info
        return (
            f"{found.model} {found.serial}, {found.width}x{found.height} at {config.fps} Hz, "
            f"depth unit {1e3 * found.depth_unit_m:g} mm"
        )

    def _frames(self, config: CameraConfig) -> str:
        camera = self._camera(config)
        frame = camera.wait_newer(self._station.clock.now())
        age_s = self._station.clock.now() - frame.time_s
        if age_s > config.max_age_s:
            raise AgpsError(
                f"A new frame of {config.name} is {age_s:.2f} s old, the limit is {config.max_age_s:.2f} s; use fewer "
                "pixels or frames per second, or give the camera a USB controller of its own."
            )
        share = float(np.mean(frame.depth_m > 0.0))
        if share < LEAST_DEPTH:
            raise AgpsError(
                f"Depth of {config.name} is empty but for {100 * share:.0f} % of the image; clean the lens, and keep "
                "the scene within the camera's range (a D405's begins at 7 cm, a D435's at 20)."
            )
        if frame.rgb.std() < 1.0:
            raise AgpsError(f"The image of {config.name} is of one colour; take off the cap and set exposure_us.")
        return f"{1e3 * age_s:.0f} ms old, the limit is {1e3 * config.max_age_s:.0f} ms; {100 * share:.0f} % have depth"


def usb(kind: str) -> str:
    """Return the kind of a camera's USB connection.

    Args:
        kind: As the camera says, e.g. `3.2`; empty for what has none.

    Raises:
        AgpsError: If it is too slow for depth and colour.
    """
    if not kind:
        return "no USB: a recording or an emulator"
    if int(kind.split(".")[0]) < 3:
        raise AgpsError(f"The camera is connected with USB {kind}; use a USB 3 port, a USB 3 cable and no plain hub.")
    return f"USB {kind}"
