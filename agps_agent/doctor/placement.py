"""Do the station and the task fit each other: where the arm may go, and where each camera is."""

import numpy as np

from rl.errors import AgpsError
from rl.robots.base import CameraInfo
from rl.robots.calibration.check import doubts, misfits
from rl.robots.cameras.calibration import CameraCalibration
from rl.robots.station import CameraConfig, StationConfig
from rl.tasks.base import Task
from rl.types import Box, FloatArray

MAX_RESIDUAL_DEG = 1.0
"""Ours, [deg]: 5 mm at a distance of 0.3 m."""
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
    if config.calibration is None:
        if needed:
            raise AgpsError(f"The agent looks through {config.name}, which has no calibration; {_again(config)}.")
        return "none: it serves the policy only"
    found = CameraCalibration.load(config.calibration)
    wrong = doubts(found)
    if info is not None:
        wrong += misfits(found, serial=info.serial, width=info.width, height=info.height, mount=config.mount)
    if found.residual_deg > MAX_RESIDUAL_DEG:
        wrong.append(f"It was off by {found.residual_deg:.2f} deg, more than {MAX_RESIDUAL_DEG:g}; {_again(config)}.")
    if wrong:
        raise AgpsError(f"{config.calibration.name}: {' '.join(wrong)}")
    compared = "serial and profile match" if info is not None else "serial and profile not compared"
    return (
        f"{found.residual_mm:.2f} mm, {found.residual_deg:.3f} deg on held-out views, of {found.date[:10]}; {compared}"
    )


def _again(config: CameraConfig) -> str:
    return f"run `agps calibrate {config.name}`"
