"""Is the robot station fit for a run: arm, gripper, cameras, calibration, workspace. Nothing is told to move."""

from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from agps_agent.doctor import placement, software
from agps_agent.doctor.arm import arm_checks
from agps_agent.doctor.checkup import Check, NotChecked
from rl.errors import AgpsError
from rl.robots.base import CameraDriver
from rl.robots.station import CameraConfig, StationConfig, load_station
from rl.tasks import get_task
from rl.tasks.base import Task

LEAST_DEPTH = 0.05
"""Share of a depth image that must hold data."""


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
        self._devices: dict[tuple[str, str], CameraDriver] = {}

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
            "camera client": software.camera_client,
            "bounds": lambda: placement.bounds(station, task),
            **self._open.enter_context(arm_checks(station, task, hold_s=self._hold_s)),
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
        arm = f"arm {station.arm_kind}" if station.address is None else f"arm at {station.address}"
        return f"{self._path}: {arm}, {len(station.cameras)} cameras{changed}"

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
        device = (config.kind, config.device)
        if device not in self._devices:  # two cameras may be crops of one
            self._devices[device] = open_camera(config, self._station.clock)
            self._open.callback(self._devices[device].close)
        self._cameras[config.name] = camera = self._devices[device]
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
    generation = kind.split(".")[0]
    if not generation.isdecimal():
        return f"its kind is not known ({kind})"
    if int(generation) < 3:
        raise AgpsError(f"The camera is connected with USB {kind}; use a USB 3 port, a USB 3 cable and no plain hub.")
    return f"USB {kind}"
