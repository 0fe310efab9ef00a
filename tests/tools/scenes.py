"""Scenes that tests work out by hand."""

import numpy as np

from rl.transforms import pose
from rl.types import Box, FloatArray, RGBDFrame
from tools.perception import Point
from tools.scene import Scene

K = np.array([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
T_BASE_CAM = pose(np.array([0.5, 0.0, 2.5]), np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]))
"""2.5 m above the base's plane, looking down, image right is base -y."""
WORKSPACE = Box(lower=np.array([0.4, -0.1, 0.07]), upper=np.array([0.6, 0.1, 0.25]))
TOOL = np.array([0.0, 0.0, 0.03])
DOWN = np.diag([1.0, -1.0, -1.0])


def frame(depth_m: float = 2.0, name: str = "side") -> RGBDFrame:
    return RGBDFrame(
        name=name,
        rgb=np.full((480, 640, 3), 90, np.uint8),
        depth_m=np.full((480, 640), depth_m, np.float32),
        K=K,
        T_base_cam=T_BASE_CAM,
    )


def scene(tcp: tuple[float, float, float] = (0.45, 0.05, 0.15), *, tool: FloatArray = TOOL) -> Scene:
    return Scene(
        task="usb_insertion",
        frames={"side": frame()},
        T_base_tcp=pose(np.array(tcp), DOWN),
        gripper_opening=0.0,
        workspace=WORKSPACE,
        p_tcp_tool=tool,
    )


def point(label: str, x: float, y: float, z: float) -> Point:
    return Point(label=label, camera="side", uv=np.zeros(2), xyz=np.array([x, y, z]), depth_spread_m=0.0)


PORT = {"port_left": point("port_left", 0.5, -0.01, 0.055), "port_right": point("port_right", 0.5, 0.01, 0.055)}
