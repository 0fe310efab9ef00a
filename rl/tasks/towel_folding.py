"""Towel folding: a corner of a cloth is laid on the opposite one (AGPS, arXiv:2602.11978, task 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rl.bounds import NotNegative, Positive, Shift
from rl.conrft.config import ConRFTConfig
from rl.drq.config import DrQConfig
from rl.tasks.base import (
    TABLE_MJCF,
    TOOL_DOWN,
    Camera,
    Recipe,
    SceneMjcf,
    SceneVariation,
    SimulatedTask,
    SoftGrasp,
    Subject,
)
from rl.transforms import pose, rotvec_to_matrix
from rl.types import Box, ByteArray, Expert, FloatArray, RobotState

_POINTS = 11
"""Points of the cloth along each side."""
_RADIUS_M = 0.002
"""Half the thickness of the cloth, [m]."""
_BOARD_HALF_M = (0.20, 0.20, 0.01)
"""Half sizes of the board, [m]."""
_CORNERS = {
    "corner_grasp": _POINTS - 1,
    "corner_goal": _POINTS * (_POINTS - 1),
    "corner_left": 0,
    "corner_right": _POINTS**2 - 1,
}
"""Point of the cloth at each corner. The other diagonal would fold against the triangles' edges and stand up."""


@dataclass(frozen=True, kw_only=True)
class TowelFolding(SimulatedTask):
    """Grasp one corner of a towel on a board and lay it on the opposite one; 7-D actions.

    Seen from the side camera, which stands opposite the arm, the corner to grasp (`corner_grasp`, red) is the far right
    one and the corner to lay it on (`corner_goal`, blue) the near left one.
    """

    name: ClassVar[str] = "towel_folding"
    instruction: ClassVar[str] = "Grasp the red corner of the towel and lay it on the opposite, blue corner."
    actions: ClassVar[int] = 7
    recipe: ClassVar[Recipe] = Recipe(
        method="agps-conrft",
        demos=40,
        agent_demos=30,
        demo_noise=0.2,
        max_env_steps=6_000,
        pretrain_steps=4_000,
        final_policy="best",
        reward_frames=(1200, 6000),
        learners=(
            DrQConfig(reward_scale=10.0, clip_target=(-0.5, 1.0)),
            ConRFTConfig.of(
                reward_scale=10.0,
                clip_target=(-0.35, 1.0),
                reconstruct="demo",
                exploration_noise=0.0,
                average_rate=0.002,
                online={"bc_weight": 1.0, "q_weight": 0.3},
            ),
        ),
    )
    """The paper's algorithm for this task, and its number of demonstrations.

    The reward classifier sees six times HIL-SERL's frames, so that its held-out precision can be told: of 200 successes
    50 are held out, and a corner 4 cm from the other differs from one at 5 cm by one pixel.

    In the second stage values weigh 0.3 of the cloning, and only demonstrations and successful help are cloned: cloning
    every collected action, as ConRFT does, or a weight of 0.05 made the policy forget what the first stage had taught
    (one seed each). No noise is added to its samples, whose spread is enough here. It still swings by tens of percent
    from one evaluation to the next, so that weights are averaged over 500 updates and the best policy is kept.
    """

    subject: ClassVar[Subject] = Subject(
        jitter={"towel_jitter_m": 0.02, "towel_jitter_rad": 0.15}, materials=("towel",)
    )
    operator_reset: ClassVar[str] = (
        "Lay the towel flat on the board, red corner far right as seen from the side camera."
    )

    horizon: int = 50
    """Control steps until truncation; the scripted expert needs 30 on average, 31 at most."""
    translation_scale_m: float = 0.015
    """Translation of a unit action per axis, [m]: the way is 34 cm long."""
    leash_m: float = 0.050
    """Largest lead of the commanded over the measured position, [m]: at full speed the arm is this far behind."""
    timestep_s: float = 0.005

    towel_position: tuple[float, float, float] = (0.5, 0.0, 0.02)
    """Nominal middle of the towel on the board's top face, base frame, [m]."""
    towel_size_m: Positive = 0.24
    """Length of the towel's sides, [m]."""

    start_height_m: NotNegative = 0.09
    """Height of the TCP above the board at the start, [m]."""
    start_xy_m: NotNegative = 0.05
    """Start position is uniform within this of the nominal corner in x and y, [m] (paper)."""
    start_yaw_rad: NotNegative = 0.02
    """Start rotation about z is uniform within this, [rad] (paper)."""

    success_distance_m: NotNegative = 0.045
    """Done when the grasped corner is this near the opposite one, [m]..."""
    success_height_m: NotNegative = 0.030
    """...and lower than this above the board, with the TCP higher than this, the gripper open, [m]."""

    wrist_camera: bool = False
    """The policy also sees the image of a camera on the hand. Of 64 px side images alone, a kernel regression reads the
    way to the corner to 1 mm (2 mm when the towel's place is random), with the hand's to 0.5 (1.4) mm; 14 mm do."""

    towel_jitter_m: Shift = 0.0
    """The towel moves uniformly within this of its nominal place in x and y each episode, [m]."""
    towel_jitter_rad: NotNegative = 0.0
    """The towel turns uniformly within this about z each episode, [rad]."""

    @property
    def workspace(self) -> Box:
        """8 cm around the towel; fingertips from the board to 18 cm above it."""
        middle, reach = np.array(self.towel_position), self.towel_size_m / 2 + 0.08
        return Box(lower=middle + [-reach, -reach, 0.010], upper=middle + [reach, reach, 0.20])

    @property
    def p_tcp_tool(self) -> FloatArray:
        """The TCP itself: bare fingers."""
        return np.zeros(3)

    @property
    def home(self) -> FloatArray:
        """Above the corner to grasp."""
        return pose(self.landmarks["corner_grasp"] + [0.0, 0.0, self.start_height_m - _RADIUS_M], TOOL_DOWN)

    @property
    def policy_cameras(self) -> tuple[Camera, ...]:
        """The side camera, as in the paper, and one on the hand when asked for."""
        wrist = Camera(
            name="wrist",
            mount="hand",
            position=(0.085, 0.0, 0.030),
            target=(0.0, 0.0, 0.140),
            up=(0.0, 0.0, -1.0),
            fovy_deg=58.0,
        )
        return (*self.agent_cameras, wrist) if self.wrist_camera else self.agent_cameras

    @property
    def agent_cameras(self) -> tuple[Camera, ...]:
        """One opposite the arm, 45 degrees above the towel: it sees both corners, the fingers and the fold."""
        x, y, z = self.towel_position
        side = Camera(
            name="side",
            mount="world",
            position=(x + 0.42, y - 0.02, z + 0.42),
            target=(x - 0.04, y - 0.02, z + 0.05),
            up=(0.0, 0.0, 1.0),
            fovy_deg=42.0,
        )
        return (side,)

    @property
    def landmarks(self) -> dict[str, FloatArray]:
        """The towel's corners, in the middle of its thickness."""
        half = self.towel_size_m / 2
        places = {
            "corner_grasp": (-half, half),
            "corner_goal": (half, -half),
            "corner_left": (-half, -half),
            "corner_right": (half, half),
        }
        return {name: np.array(self.towel_position) + [x, y, _RADIUS_M] for name, (x, y) in places.items()}

    def sample_start(self, rng: np.random.Generator) -> FloatArray:
        """Return a start pose from the paper's region."""
        xyz = np.append(rng.uniform(-self.start_xy_m, self.start_xy_m, 2), 0.0)
        yaw = rng.uniform(-self.start_yaw_rad, self.start_yaw_rad)
        return pose(self.home[:3, 3] + xyz, rotvec_to_matrix(np.array([0.0, 0.0, yaw])) @ TOOL_DOWN)

    def sample_scene(self, rng: np.random.Generator) -> SceneVariation:
        """Return the towel's place and what else is switched on; draws the same numbers whatever is switched on."""
        shift = rng.uniform(-1.0, 1.0, 2) * self.towel_jitter_m
        turn = float(rng.uniform(-1.0, 1.0) * self.towel_jitter_rad)
        moved = {"towel": (np.array(self.towel_position) + [*shift, 0.0], turn)}
        return self.vary(rng, moved=moved, materials=_MATERIALS)

    def reward(self, success: bool) -> float:
        """Return 10 for success and -0.1 for every other step (paper)."""
        return 10.0 if success else -0.1

    def is_success(self, truth: Mapping[str, FloatArray], robot: RobotState) -> bool:
        """Return whether the corner lies on the opposite one and the open gripper has gone up.

        Open fingers hold nothing: they let go when they are told to open.
        """
        board = self.towel_position[2]
        corner = truth["corner_grasp"]
        return bool(
            np.linalg.norm(corner - truth["corner_goal"]) < self.success_distance_m
            and corner[2] < board + self.success_height_m < robot.T_base_tcp[2, 3]
            and robot.gripper_opening > 0.5
        )

    def expert(self) -> Expert:
        """Return who knows where everything is."""
        from rl.tasks.towel_expert import TowelExpert  # written for this class

        return TowelExpert(self)

    def scene_mjcf(self) -> SceneMjcf:
        """Return table, board and towel."""
        assets = "".join(f'<material name="{name}" {look} shininess=".5"/>' for name, look in _MATERIALS.items())
        x, y, z = self.towel_position
        half = " ".join(f"{v}" for v in _BOARD_HALF_M)
        spacing = self.towel_size_m / (_POINTS - 1)
        world = (
            TABLE_MJCF + f'<geom name="board" type="box" size="{half}" pos="{x} {y} {z - _BOARD_HALF_M[2]}" '
            'material="board" contype="4" conaffinity="2"/>'
            # What the cloth lies on: contacts with a plane cost a fraction of those with a box.
            f'<geom name="cloth_floor" type="plane" size="1 1 .1" pos="{x} {y} {z}" group="3" '
            'contype="16" conaffinity="0" friction=".8"/>'
            f'<body name="towel" mocap="true" pos="{x} {y} {z}">'
            f'<flexcomp name="towel" type="grid" dim="2" count="{_POINTS} {_POINTS} 1" radius="{_RADIUS_M}" '
            f'spacing="{spacing} {spacing} {spacing}" pos="0 0 {_RADIUS_M}" mass=".06" material="towel">'
            '<edge equality="true" solref=".01 1" solimp=".9 .95 .001"/>'
            '<contact selfcollide="none" contype="8" conaffinity="16" condim="3" friction=".8"/>'
            "</flexcomp></body>"
        )
        fingers = (
            '<geom name="{side}_pad" type="box" size=".009 .007 .0265" pos="0 .0085 .0275" group="3" mass="0" '
            'contype="0" conaffinity="8" friction=".2" priority="2"/>'
        )
        return SceneMjcf(
            assets=assets,
            world=world,
            fingers=fingers,
            option='integrator="implicitfast" cone="elliptic" solver="CG" iterations="30" tolerance="1e-5" '
            'ls_iterations="20"',
            truth_bodies={name: f"towel_{point}" for name, point in _CORNERS.items()},
            textures={"towel": _towel_image()},
            grasp=SoftGrasp(
                bodies=tuple(f"towel_{i}" for i in range(_POINTS**2)),
                points=3,
                reach=Box(lower=np.array([-0.014, -0.025, -0.020]), upper=np.array([0.014, 0.025, 0.012])),
                finger_geoms=("left_pad", "right_pad"),
            ),
        )


_MATERIALS = {
    "table": 'rgba=".55 .50 .44 1" specular=".1"',
    "board": 'rgba=".23 .28 .27 1" specular=".1"',
    "towel": 'texture="towel" rgba="1 1 1 1" specular="0"',
}
"""Look of each material."""


def _towel_image() -> ByteArray:
    """Return the towel's texture: cream weave, a hem, a red and a blue corner. Shape (192, 192, 3).

    Columns run along the towel's x, rows along its y, so that a corner of the image is a corner of the towel.
    """
    size, hem, patch = 192, 7, 44
    row, column = np.mgrid[:size, :size]
    image = np.empty((size, size, 3))
    image[:] = (226, 219, 202)
    border = np.minimum(np.minimum(row, column), size - 1 - np.maximum(row, column))
    image[border < hem] = (178, 160, 128)
    image[(border >= 3 * hem) & (border < 4 * hem)] = (206, 196, 174)
    image[(size - 1 - row) + column < patch] = (186, 44, 40)
    image[row + (size - 1 - column) < patch] = (44, 78, 168)
    image[border < 3] = (178, 160, 128)  # round the corners too: MuJoCo takes the rim's colours from other corners
    weave = 1.0 + 0.03 * np.sign(np.sin(row * 1.6) * np.sin(column * 1.6))
    return np.asarray(np.clip(image * weave[..., None], 0, 255), dtype=np.uint8)
