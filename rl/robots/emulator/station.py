"""Writes the station file and the calibrations that belong to an emulator."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rl.robots import panda
from rl.robots.cameras.calibration import CameraCalibration
from rl.robots.emulator.profiles import CameraProfile, task_cameras
from rl.robots.rendering import mounted_pose
from rl.tasks.base import SimulatedTask, Task

MAX_AGE_S = 0.5
"""Age limit of emulated frames, [s]: they come at 10 Hz, on cores that others use too."""


def write_station(
    path: Path,
    task: SimulatedTask,
    profiles: Sequence[CameraProfile],
    *,
    ip: str,
    host: str,
    port: int,
    slowdown: float,
) -> None:
    """Write a complete station file, with one calibration beside it per camera.

    Args:
        path: The file to write; calibrations go to the folder `calibration` next to it.
        task: Workspace, home and cameras.
        profiles: What the cameras are.
        ip: Address of the arm.
        host: Address of the cameras' server.
        port: Its port.
        slowdown: Host seconds per second of the station.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    home_q = panda.inverse_kinematics(task.home, np.array(panda.HOME_Q))
    lines = [
        f"# The emulator of {task.name}; written when it started.",
        f"truth = {json.dumps(f'emulator://{host}:{port}')}",
        f"slowdown = {slowdown}",
        *_table("arm", {"ip": ip, "realtime": "ignore", "home_q": home_q.tolist()}),
        *_table("workspace", {"lower": task.workspace.lower.tolist(), "upper": task.workspace.upper.tolist()}),
        *_table("task", _overrides(task.with_inertia())),
    ]
    for profile in profiles:
        file = Path("calibration") / f"{profile.name}.json"
        _calibration(task, profile).save(path.parent / file)
        camera = {
            "name": profile.name,
            "device": f"emulator://{host}:{port}/{profile.name}",
            "mount": task_cameras(task)[profile.name].mount,
            "width": profile.width,
            "height": profile.height,
            "fps": profile.fps,
            "max_age_s": MAX_AGE_S,
            "calibration": file.as_posix(),
        }
        lines += ["", "[[cameras]]", *(f"{name} = {json.dumps(value)}" for name, value in camera.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(name: str, values: dict[str, Any]) -> list[str]:
    """Return the lines of a TOML table; JSON's strings, numbers and lists are TOML's too."""
    return ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())] if values else []


def _overrides(task: Task) -> dict[str, Any]:
    """Return the plain fields of a task that differ from its defaults."""
    changed = {}
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        plain = isinstance(value, bool | int | float | str | tuple)
        if plain and value != field.default:
            changed[field.name] = list(value) if isinstance(value, tuple) else value
    return changed


def _calibration(task: Task, profile: CameraProfile) -> CameraCalibration:
    camera = task_cameras(task)[profile.name]
    return CameraCalibration(
        camera=profile.name,
        serial=profile.serial,
        mount=camera.mount,
        width=profile.width,
        height=profile.height,
        T_mount_cam=tuple(tuple(row) for row in mounted_pose(camera).tolist()),
        residual_mm=0.0,
        residual_deg=0.0,
        poses=0,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        board="none: the emulator knows",
    )
