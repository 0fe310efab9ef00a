"""Do the station and the task fit each other: where the arm may go, and where each camera is."""

import datetime

import numpy as np

from rl.calibration.file import CameraCalibration
from rl.errors import AgpsError
from rl.robots.cameras.base import CameraInfo
from rl.robots.station import CameraConfig, StationConfig
from rl.tasks.base import Task
from rl.types import Box, FloatArray

MAX_CALIBRATION_AGE_DAYS = 90
"""Ours: screws work loose. `agps calibrate --check` says whether a camera has moved."""
MAX_RESIDUAL_MM, MAX_RESIDUAL_DEG = 3.0, 1.0
"""Ours: boxes that the agent draws have margins of 10 to 15 mm."""
SAMPLED_STARTS = 200


def bounds(station: StationConfig, task: Task) -> str:
    """Return how much room the task has.

    Raises:
        AgpsError: If the workspaces do not overlap, or the station's leaves out the home pose or a start pose.
    """
    mine, its = station.workspace, task.workspace
    lower, upper = np.maximum(mine.lower, its.lower), np.minimum(mine.upper, its.upper)
    if np.any(lower >= upper):
        raise AgpsError(
            f"The station's workspace {_span(mine)} and that of {task.name} {_span(its)} do not overlap; measure the "
            "table, then correct [workspace] or the place of the task under [task]."
        )
    home = task.home[:3, 3]
    if not mine.contains(home):
        raise AgpsError(_outside(f"The home pose of {task.name}", home, mine))
    rng = np.random.default_rng(0)
    for _ in range(SAMPLED_STARTS):
        start = task.sample_start(rng)[:3, 3]
        if not mine.contains(start):
            raise AgpsError(_outside(f"A start pose of {task.name}", start, mine))
    size_mm = ", ".join(f"{1e3 * side:.0f}" for side in upper - lower)
    return f"{task.name} has {size_mm} mm in x, y, z; home and {SAMPLED_STARTS} start poses are inside"


def _span(box: Box) -> str:
    return " x ".join(f"[{low:.3f}, {high:.3f}]" for low, high in zip(box.lower, box.upper, strict=True)) + " m"


def _outside(what: str, point: FloatArray, box: Box) -> str:
    beyond = np.maximum(box.lower - point, point - box.upper)
    axis = int(np.argmax(beyond))
    x, y, z = point
    return (
        f"{what} ({x:.3f}, {y:.3f}, {z:.3f}) m is {1e3 * beyond[axis]:.0f} mm outside the station's workspace along "
        f"{'xyz'[axis]}; widen [workspace] if the table allows it, or change the task's place under [task]."
    )


def task_cameras(station: StationConfig, task: Task) -> str:
    """Return the cameras that the task uses.

    Raises:
        AgpsError: If the station lacks one of them.
    """
    needed = list(dict.fromkeys(camera.name for camera in (*task.policy_cameras, *task.agent_cameras)))
    missing = [name for name in needed if name not in {camera.name for camera in station.cameras}]
    if missing:
        raise AgpsError(f"{task.name} uses {', '.join(missing)}, which the station lacks; add a [[cameras]] table.")
    return f"{task.name} uses {', '.join(needed)}"


def calibration(config: CameraConfig, info: CameraInfo | None, *, needed: bool) -> str:
    """Return how well a camera's place is known.

    Args:
        config: The camera in the station file.
        info: What the camera says of itself; None if it does not answer.
        needed: Whether the agent looks through it.

    Raises:
        AgpsError: If the file is missing, of another camera, mount or profile, old or inaccurate.
    """
    again = f"run `agps calibrate --camera {config.name}`"
    if config.calibration is None:
        if needed:
            raise AgpsError(f"The agent looks through {config.name}, which has no calibration; {again}.")
        return "none: it serves the policy only"
    found = CameraCalibration.load(config.calibration)
    wrong = []
    if info is not None and found.serial != info.serial:
        wrong.append(f"it is of the camera {found.serial}, this is {info.serial}")
    if found.mount != config.mount:
        wrong.append(f"it is of a camera on the mount {found.mount!r}, this one is on {config.mount!r}")
    if info is not None and (found.width, found.height) != (info.width, info.height):
        wrong.append(f"it is for {found.width}x{found.height}, the camera sends {info.width}x{info.height}")
    age_days = _age_days(found.date)
    if age_days > MAX_CALIBRATION_AGE_DAYS:
        wrong.append(f"it is {age_days:.0f} days old, the limit is {MAX_CALIBRATION_AGE_DAYS}")
    if not (found.residual_mm <= MAX_RESIDUAL_MM and found.residual_deg <= MAX_RESIDUAL_DEG):
        wrong.append(
            f"its residual is {found.residual_mm:.1f} mm and {found.residual_deg:.2f} deg, the limits are "
            f"{MAX_RESIDUAL_MM:.0f} mm and {MAX_RESIDUAL_DEG:.0f} deg"
        )
    if wrong:
        raise AgpsError(f"{config.calibration.name}: {'; '.join(wrong)}; {again}.")
    compared = "serial and profile match" if info is not None else "serial and profile not compared"
    return (
        f"{found.residual_mm:.2f} mm, {found.residual_deg:.3f} deg on held-out views, "
        f"{max(age_days, 0.0):.0f} days old; {compared}"
    )


def _age_days(date: str) -> float:
    try:
        then = datetime.datetime.fromisoformat(date)
    except ValueError:
        raise AgpsError(f"The date of the calibration is {date!r}, not ISO; run `agps calibrate` again.") from None
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.UTC)
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds() / 86400.0
