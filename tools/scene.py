"""What the agent looks at: a frozen snapshot of cameras and arm, never a live driver."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rl.errors import ConfigError
from rl.transforms import TOOL_DOWN
from rl.types import Box, FloatArray, RGBDFrame

DEPTH_UNIT_M = 1e-4
"""Unit of saved depth images, [m]."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """RGB-D frames, calibration and arm pose of one moment."""

    task: str
    """Task identifier, e.g. `usb_insertion`."""
    frames: Mapping[str, RGBDFrame]
    """Full-resolution RGB-D per agent camera; the first is the one the agent is shown by default."""
    T_base_tcp: FloatArray
    """Measured TCP pose. Shape (4, 4), [m]."""
    gripper_opening: float
    """0 closed, 1 open."""
    workspace: Box
    """Where the TCP may be commanded to, base frame, [m]."""
    p_tcp_tool: FloatArray
    """Working point of what is held (the plug's tip; the origin for bare fingers) in the TCP frame. Shape (3,), [m]."""


def tool_tip(scene: Scene) -> FloatArray:
    """Return where the tip of the tool is now, base frame. Shape (3,), [m]."""
    T = scene.T_base_tcp
    tip: FloatArray = T[:3, 3] + T[:3, :3] @ scene.p_tcp_tool
    return tip


def has_open_fingers(scene: Scene) -> bool:
    """Return whether the gripper is open rather than closed."""
    return scene.gripper_opening > 0.5


def tip_to_tcp(scene: Scene) -> FloatArray:
    """Return the vector from the tool's tip to the TCP for a tool that points straight down. Shape (3,), [m]."""
    return -TOOL_DOWN @ scene.p_tcp_tool


def calibration_hash(scene: Scene, camera: str) -> str:
    """Return 8 digits that say at which station, seen by which camera, positions were measured: they hold only there.

    They change with the camera's lens, size and mounting, the workspace and the tool, but not with the arm: a camera on
    the hand counts with its place on the hand.
    """
    frame, workspace = scene.frames[camera], scene.workspace
    mounting = frame.T_base_cam if frame.T_mount_cam is None else frame.T_mount_cam
    places = np.concatenate([mounting.ravel(), workspace.lower, workspace.upper, scene.p_tcp_tool])
    # Rounded, so that the last bits of a computed pose do not make a new calibration.
    numbers = [*np.round(frame.K, 3).ravel(), *np.round(places, 6), *frame.rgb.shape[:2]]
    # Adding 0 turns -0 into 0.
    return hashlib.sha256(",".join(f"{value + 0:.6f}" for value in numbers).encode()).hexdigest()[:8]


def save_scene(scene: Scene, directory: Path) -> None:
    """Write a scene to a folder: `scene.json`, and per camera `<name>.png` and `<name>_depth.png`.

    Depth is a 16-bit image in units of 0.1 mm, as depth cameras give it: a tenth of the size of floats. Beyond 6.5 m it
    is stored as no data.
    """
    directory.mkdir(parents=True, exist_ok=True)
    described = {
        "version": 1,
        "task": scene.task,
        "cameras": {name: save_frame(frame, directory / name) for name, frame in scene.frames.items()},
        "T_base_tcp": scene.T_base_tcp.tolist(),
        "gripper_opening": scene.gripper_opening,
        "workspace": {"lower": scene.workspace.lower.tolist(), "upper": scene.workspace.upper.tolist()},
        "p_tcp_tool": scene.p_tcp_tool.tolist(),
    }
    (directory / "scene.json").write_text(json.dumps(described, indent=1), encoding="utf-8")


def load_scene(directory: Path) -> Scene:
    """Return the scene in a folder that `save_scene` wrote.

    Raises:
        ConfigError: If it is not such a folder, or a file of it is missing or damaged.
    """
    try:
        described = json.loads((directory / "scene.json").read_text(encoding="utf-8"))
        frames = {}
        for name, camera in described["cameras"].items():
            frames[name] = load_frame(directory / name, camera, camera=name)
        workspace = described["workspace"]
        return Scene(
            task=str(described["task"]),
            frames=frames,
            T_base_tcp=_matrix(described["T_base_tcp"], 4),
            gripper_opening=float(described["gripper_opening"]),
            workspace=Box(lower=_vector(workspace["lower"]), upper=_vector(workspace["upper"])),
            p_tcp_tool=_vector(described["p_tcp_tool"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{directory} holds no scene ({error}); give a folder that agps ask saved.") from error


def save_frame(frame: RGBDFrame, stem: Path) -> dict[str, Any]:
    """Write `<stem>.png` and `<stem>_depth.png`; return the camera's calibration as JSON.

    Args:
        frame: What a camera shows.
        stem: Path of the files without what their names end in.
    """
    Image.fromarray(frame.rgb).save(stem.with_name(f"{stem.name}.png"))
    stem.with_name(f"{stem.name}_depth.png").write_bytes(depth_png(frame))
    described = {"K": frame.K.tolist(), "T_base_cam": frame.T_base_cam.tolist()}
    return described if frame.T_mount_cam is None else described | {"T_mount_cam": frame.T_mount_cam.tolist()}


def depth_png(frame: RGBDFrame) -> bytes:
    """Return depth as a PNG of 16 bits, in units of 0.1 mm; beyond 6.5 m as no data."""
    units = np.round(np.nan_to_num(frame.depth_m) / DEPTH_UNIT_M)
    held = io.BytesIO()
    Image.fromarray(np.where(units <= 65_535, units, 0).astype(np.uint16)).save(held, format="PNG")
    return held.getvalue()


def load_frame(stem: Path, described: Mapping[str, Any], *, camera: str) -> RGBDFrame:
    """Return what `save_frame` wrote.

    Args:
        stem: Path of the files without what their names end in.
        described: The calibration as JSON.
        camera: Name of the camera.

    Raises:
        OSError, ValueError, KeyError, TypeError: If a file or a number is missing or damaged.
    """
    with Image.open(stem.with_name(f"{stem.name}.png")) as image:
        rgb = np.asarray(image.convert("RGB"), dtype=np.uint8)
    with Image.open(stem.with_name(f"{stem.name}_depth.png")) as image:
        depth_m = (np.asarray(image) * DEPTH_UNIT_M).astype(np.float32)
    if depth_m.shape != rgb.shape[:2]:
        raise ValueError(f"depth of {stem.name} has shape {depth_m.shape}, its image {rgb.shape[:2]}")
    return RGBDFrame(
        name=camera,
        rgb=rgb,
        depth_m=depth_m,
        K=_matrix(described["K"], 3),
        T_base_cam=_matrix(described["T_base_cam"], 4),
        T_mount_cam=_matrix(described["T_mount_cam"], 4) if "T_mount_cam" in described else None,
    )


def _matrix(rows: Any, size: int) -> FloatArray:
    return _finite(rows, (size, size))


def _vector(values: Any) -> FloatArray:
    return _finite(values, (3,))


def _finite(values: Any, shape: tuple[int, ...]) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not np.all(np.isfinite(array)):
        raise ValueError(f"expected finite numbers of shape {shape}, got shape {array.shape}")
    return array
