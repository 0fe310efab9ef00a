"""What each emulated camera is: resolution, lens, depth unit, place on its mount, and the text that says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rl.errors import ConfigError
from rl.robots.rendering import intrinsics, mounted_pose
from rl.tasks.base import Camera, Task
from rl.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class CameraProfile:
    """One emulated RealSense camera."""

    name: str
    """Camera of the task."""
    serial: str = "000000000000"
    model: str = "RealSense D405"
    width: int = 424
    height: int = 240
    """Of colour and depth, [px]."""
    fps: int = 10
    """Frames per second that are rendered while somebody looks."""
    depth_unit_m: float = 0.0001
    """Length of one count of raw depth, [m]: 0.0001 on a D405, 0.001 on a D435."""
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """Brown-Conrady coefficients (k1, k2, p1, p2, k3) of both images; zeros are a pinhole."""


def task_cameras(task: Task) -> dict[str, Camera]:
    """Return the cameras of policy and agent by name."""
    return {camera.name: camera for camera in (*task.policy_cameras, *task.agent_cameras)}


def default_profiles(task: Task, *, image_size: tuple[int, int] = (424, 240), fps: int = 10) -> list[CameraProfile]:
    """Return a D405 for each camera on the hand and a D435 for each in the world.

    Args:
        task: Its cameras.
        image_size: Width and height, [px].
        fps: Frames per second.
    """
    profiles = []
    for number, camera in enumerate(task_cameras(task).values(), start=1):
        near = camera.mount == "hand"
        profiles.append(
            CameraProfile(
                name=camera.name,
                serial=f"{number:012d}",
                model="RealSense D405" if near else "RealSense D435",
                width=image_size[0],
                height=image_size[1],
                fps=fps,
                depth_unit_m=0.0001 if near else 0.001,
            )
        )
    return profiles


def check_profiles(task: Task, profiles: Sequence[CameraProfile]) -> None:
    """Refuse cameras that the task does not have, or that have it twice.

    Raises:
        ConfigError: If so.
    """
    names = [profile.name for profile in profiles]
    known = task_cameras(task)
    for name in names:
        if name not in known:
            raise ConfigError(f"{task.name} has no camera {name!r}; it has {', '.join(known)}.")
    if len(set(names)) != len(names):
        raise ConfigError(f"Each camera can be emulated once; got {', '.join(names)}.")


def pinhole(camera: Camera, profile: CameraProfile) -> FloatArray:
    """Return the intrinsics K (3, 3), [px]: the task's vertical field of view over the image's height."""
    return intrinsics(width=profile.width, height=profile.height, fovy_deg=camera.fovy_deg)


def header(camera: Camera, profile: CameraProfile) -> dict[str, Any]:
    """Return what a camera connection says first."""
    return {
        "name": profile.name,
        "serial": profile.serial,
        "model": profile.model,
        "width": profile.width,
        "height": profile.height,
        "fps": profile.fps,
        "depth_unit_m": profile.depth_unit_m,
        "K": pinhole(camera, profile).tolist(),
        "distortion": list(profile.distortion),
        "T_mount_cam": mounted_pose(camera).tolist(),
        "mount": camera.mount,
    }
