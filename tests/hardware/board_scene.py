"""Scenes with a ChArUco board: on the table for a camera on the hand, in the hand for one beside the arm."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rl.robots.calibration.board import CharucoBoard
from rl.robots.station import Mount
from rl.tasks.base import TABLE_MJCF, TOOL_DOWN, Camera, SceneMjcf, SceneVariation
from rl.tasks.usb_insertion import UsbInsertion
from rl.transforms import invert, pose, rotvec_to_matrix
from rl.types import Box, FloatArray

BOARD = CharucoBoard()
_MARGIN_SQUARES = 0.5
_PIXELS = 80
_THICK_M = 0.004


@dataclass(frozen=True, kw_only=True)
class BoardScene(UsbInsertion):
    """The arm, one camera and a board; the rest of a task is here for the emulator's sake only."""

    name: ClassVar[str] = "board_scene"
    mount: Mount = "hand"

    @property
    def home(self) -> FloatArray:
        return pose(np.array([0.45, 0.0, 0.25 if self.mount == "hand" else 0.40]), TOOL_DOWN)

    @property
    def workspace(self) -> Box:
        return Box(lower=self.home[:3, 3] - [0.13, 0.13, 0.12], upper=self.home[:3, 3] + [0.13, 0.13, 0.12])

    @property
    def policy_cameras(self) -> tuple[Camera, ...]:
        return UsbInsertion().policy_cameras[:1]

    @property
    def agent_cameras(self) -> tuple[Camera, ...]:
        side = Camera(
            name="side",
            mount="world",
            position=(1.10, 0.05, 0.62),
            target=(0.46, 0.0, 0.34),
            up=(0.0, 0.0, 1.0),
            fovy_deg=40.0,
        )
        return (side, *self.policy_cameras)

    @property
    def T_other_board(self) -> FloatArray:
        """Where the board is: T_base_board on the table, T_tcp_board in the hand. Shape (4, 4), [m]."""
        centred = pose(-BOARD.centre)
        if self.mount == "hand":
            turned = np.diag([1.0, -1.0, -1.0]) @ rotvec_to_matrix(np.array([0.0, 0.0, np.pi - 0.15]))
            return pose(np.array([0.30, 0.01, _THICK_M]), turned) @ centred
        # It hangs from the fingers and looks away from the arm and 25 degrees up.
        facing = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        return pose(np.array([0.03, 0.0, 0.06]), facing @ rotvec_to_matrix(np.array([0.43, 0.0, 0.0]))) @ centred

    def board_in_base(self, T_base_tcp: FloatArray) -> FloatArray:
        return self.T_other_board if self.mount == "hand" else T_base_tcp @ self.T_other_board

    def sample_scene(self, rng: np.random.Generator) -> SceneVariation:
        return SceneVariation(moved={})

    def scene_mjcf(self) -> SceneMjcf:
        margin = _MARGIN_SQUARES * BOARD.square_m
        width, height = BOARD.size_m
        x0, y0, x1, y1 = -margin, -margin, width + margin, height + margin
        corners = [(x0, y0, 0, 0), (x1, y0, 1, 0), (x1, y1, 1, 1), (x0, y1, 0, 1)]
        vertex = " ".join(f"{x} {y} {z}" for z in (0.0, _THICK_M) for x, y, _, _ in corners)
        texcoord = " ".join(f"{u} {v}" for _ in range(2) for _, _, u, v in corners)
        # Seen from the front, which is -z: y points down there.
        faces = "0 3 2  0 2 1  4 5 6  4 6 7  0 1 5  0 5 4  1 2 6  1 6 5  2 3 7  2 7 6  3 0 4  3 4 7"
        assets = (
            '<material name="table" rgba=".55 .50 .44 1"/>'
            '<material name="board" texture="board" specular="0" shininess="0"/>'
            f'<mesh name="board" vertex="{vertex}" texcoord="{texcoord}" face="{faces}"/>'
        )
        x, y, z = self.T_other_board[:3, 3]
        axes = " ".join(f"{v:.9f}" for v in self.T_other_board[:3, :2].T.ravel())
        body = (
            f'<body name="board" pos="{x} {y} {z}" xyaxes="{axes}" gravcomp="1"><geom type="mesh" mesh="board" '
            'material="board" contype="0" conaffinity="0" mass="0.05" group="0"/></body>'
        )
        image = np.pad(BOARD.image(_PIXELS), round(_MARGIN_SQUARES * _PIXELS), constant_values=255)
        return SceneMjcf(
            assets=assets,
            world=TABLE_MJCF + (body if self.mount == "hand" else ""),
            held=body if self.mount == "world" else "",
            textures={"board": np.repeat(image[..., None], 3, axis=2)},
        )


def camera_pose(camera: Camera) -> FloatArray:
    """Return T_mount_cam in the calibration's frames, worked out from the scene alone. Shape (4, 4), [m]."""
    right, up = camera.axes()
    T = pose(np.array(camera.position), np.column_stack([right, -up, np.cross(right, -up)]))
    return T if camera.mount == "world" else invert(pose(np.array([0.0, 0.0, 0.1034]))) @ T
