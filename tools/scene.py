"""What the agent looks at: a frozen snapshot of cameras and arm, never a live driver."""

from collections.abc import Mapping
from dataclasses import dataclass

from rl.types import Box, FloatArray, RGBDFrame


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
