"""Whether other cameras can confirm that there is something where one camera saw a point: geometry, no model."""

import numpy as np

from rl.types import RGBDFrame
from tools.perception import Point
from tools.scene import Scene

PATCH_RADIUS_PX = 3
"""An edge is a pixel or two beside where calibration puts it: the nearest agreement around counts."""


def disagreement_m(scene: Scene, point: Point) -> float:
    """Return how far behind a point the other cameras see the first surface there, the worst of them, [m].

    A camera that looks through the place where the point should be contradicts it. One that sees something nearer is
    hidden from it, and says nothing; neither does one whose image the point is outside of, or that has no depth there.

    Args:
        scene: Images and calibration.
        point: Seen by the camera that it names.

    Returns:
        0 when no camera contradicts.
    """
    others = (frame for frame in scene.frames.values() if frame.name != point.camera)
    return max((_behind_m(frame, point) for frame in others), default=0.0)


def _behind_m(frame: RGBDFrame, point: Point) -> float:
    p_cam = frame.T_base_cam[:3, :3].T @ (point.xyz - frame.T_base_cam[:3, 3])
    if p_cam[2] <= 0.0:
        return 0.0
    u, v = np.round((frame.K @ p_cam)[:2] / p_cam[2]).astype(int)
    height, width = frame.depth_m.shape
    if not (0 <= u < width and 0 <= v < height):
        return 0.0
    r = PATCH_RADIUS_PX
    patch = frame.depth_m[max(0, v - r) : v + r + 1, max(0, u - r) : u + r + 1]
    depths = patch[np.isfinite(patch) & (patch > 0)]
    return max(0.0, float(depths.min()) - float(p_cam[2])) if depths.size else 0.0
