"""Peg in hole: a round peg that the gripper holds goes into a round hole in a block on the table."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from rl.bounds import NotNegative, Positive, Shift
from rl.tasks.base import (
    TABLE_MJCF,
    TOOL_DOWN,
    Camera,
    Recipe,
    SceneMjcf,
    SceneVariation,
    SimulatedTask,
    Subject,
)
from rl.transforms import pose
from rl.types import Box, Expert, FloatArray, RobotState

SIDES = 16
"""Flat pieces that the wall of the hole is made of."""
_GRIP_M = 0.008
"""Length of the peg above the TCP, between the fingers, [m]."""
_PEG_M = 0.045
"""Length of the peg below the TCP, [m]."""
_BLOCK_HALF = (0.045, 0.055)
"""Half sizes of the block along x and y, [m]."""
_RING_M = 0.0045
"""Width of the ring that is painted around the hole, [m]."""


@dataclass(frozen=True, kw_only=True)
class PegInHole(SimulatedTask):
    """Insert a rigidly held round peg into a hole in the top face of a block; 6-D delta poses, sparse reward."""

    name: ClassVar[str] = "peg_in_hole"
    instruction: ClassVar[str] = "Insert the round peg held by the gripper into the hole in the block."
    recipe: ClassVar[Recipe] = Recipe(max_env_steps=10_000)
    subject: ClassVar[Subject] = Subject(
        jitter={"hole_jitter_m": 0.03}, materials=("block", "ring", "wall"), thickness_m=0.005
    )

    horizon: int = 50
    """Control steps until truncation; the scripted expert needs 14 on average."""
    gripper_opening: float = 0.15
    """The fingers stay closed on the peg, which is 12 mm thick."""

    hole_position: tuple[float, float, float] = (0.5, 0.0, 0.05)
    """Nominal middle of the hole's rim in the base frame, [m]."""
    peg_radius_m: Annotated[Positive, Interval(ge=0.003, le=0.012)] = 0.006
    """Radius of the peg, [m]."""
    clearance_m: Positive = 0.0004
    """Gap between peg and hole on each side, [m]."""
    lead_in_m: NotNegative = 0.0008
    """Width and depth of the 45 degree bevel at the rim, [m]: the knob for difficulty. 0 for a sharp rim."""
    hole_depth_m: Positive = 0.020
    """Depth of the hole, [m]."""

    start_height_m: NotNegative = 0.08
    """Height of the peg's tip above the rim in the middle of the start region, [m]."""
    start_xy_m: NotNegative = 0.06
    """Start position is uniform within this of the nominal hole in x and y, [m]."""
    start_z_m: NotNegative = 0.05
    """Start height is uniform within this of `start_height_m`, [m]."""

    success_depth_m: Positive = 0.015
    """Done when the tip is this far below the rim, [m]..."""
    success_xy_m: Positive = 0.0015
    """...and within this of the hole's axis, [m]."""

    hole_jitter_m: Shift = 0.0
    """The block moves uniformly within this of its nominal place in x and y each episode, [m]."""

    @property
    def workspace(self) -> Box:
        """11 cm around the hole, from 3 mm below full insertion to 16 cm above contact."""
        contact = np.array(self.hole_position) + [0.0, 0.0, _PEG_M]
        return Box(lower=contact - [0.11, 0.11, self.success_depth_m + 0.003], upper=contact + [0.11, 0.11, 0.16])

    @property
    def p_tcp_tool(self) -> FloatArray:
        """Tip of the peg in the TCP frame."""
        return np.array([0.0, 0.0, _PEG_M])

    @property
    def home(self) -> FloatArray:
        """Above the hole at the middle start height."""
        return pose(np.array(self.hole_position) + [0.0, 0.0, self.start_height_m + _PEG_M], TOOL_DOWN)

    @property
    def policy_cameras(self) -> tuple[Camera, ...]:
        """Two on the hand, before and behind the peg: both see its tip and the hole below."""
        return tuple(
            Camera(
                name=name,
                mount="hand",
                position=(x, 0.0, 0.030),
                target=(0.0, 0.0, 0.152),
                up=(0.0, 0.0, -1.0),
                fovy_deg=42.0,
            )
            for name, x in (("wrist_1", 0.085), ("wrist_2", -0.085))
        )

    @property
    def agent_cameras(self) -> tuple[Camera, ...]:
        """One opposite the arm, 45 degrees above the hole, then the wrist cameras."""
        x, y, z = self.hole_position
        side = Camera(
            name="side",
            mount="world",
            position=(x + 0.297, y, z + 0.297),
            target=(x, y, z + 0.090),
            up=(0.0, 0.0, 1.0),
            fovy_deg=40.0,
        )
        return (side, *self.policy_cameras)

    @property
    def landmarks(self) -> dict[str, FloatArray]:
        """Middle of the hole at its rim, and the middles of the painted ring to its left and right, at -y and +y."""
        hole, side = np.array(self.hole_position), np.array([0.0, self._mouth_m + _RING_M / 2, 0.0])
        return {"hole": hole, "hole_left": hole - side, "hole_right": hole + side}

    @property
    def held_points(self) -> dict[str, FloatArray]:
        """The tip of the peg."""
        return {"peg_tip": self.p_tcp_tool}

    def sample_start(self, rng: np.random.Generator) -> FloatArray:
        """Return a start pose with the peg somewhere above the hole."""
        xyz = rng.uniform(-1.0, 1.0, 3) * [self.start_xy_m, self.start_xy_m, self.start_z_m]
        return pose(self.home[:3, 3] + xyz, TOOL_DOWN)

    def sample_scene(self, rng: np.random.Generator) -> SceneVariation:
        """Return the block's place and what else is switched on; draws the same numbers whatever is switched on."""
        shift = rng.uniform(-1.0, 1.0, 2) * self.hole_jitter_m
        moved = {"block": (np.array(self.hole_position) + [*shift, 0.0], 0.0)}
        return self.vary(rng, moved=moved, materials=_MATERIALS)

    def is_success(self, truth: Mapping[str, FloatArray], robot: RobotState) -> bool:
        """Return whether the tip is deep enough inside the hole."""
        offset = truth["peg_tip"] - truth["hole"]
        return bool(offset[2] <= -self.success_depth_m and np.linalg.norm(offset[:2]) < self.success_xy_m)

    def expert(self) -> Expert:
        """Return who knows where the hole is."""
        from agps_peg_in_hole.expert import PegExpert  # written for this class

        return PegExpert(self)

    def scene_mjcf(self) -> SceneMjcf:
        """Return table, block and peg."""
        assets = "".join(
            f'<material name="{name}" rgba="{rgba}" specular="{specular}" shininess=".5"/>'
            for name, (rgba, specular) in _MATERIALS.items()
        )
        x, y, z = self.hole_position
        world = f'{TABLE_MJCF}<body name="block" mocap="true" pos="{x} {y} {z}">{"".join(self._block_mjcf())}</body>'
        held = (
            f'<geom name="peg" type="cylinder" size="{self.peg_radius_m} {(_PEG_M + _GRIP_M) / 2}" '
            f'pos="0 0 {(_PEG_M - _GRIP_M) / 2}" mass=".015" material="peg" {_HELD}/>'
            f'<site name="truth/peg_tip" pos="0 0 {_PEG_M}" size=".001" group="4"/>'
        )
        return SceneMjcf(assets=assets, world=world, held=held)

    @property
    def _hole_m(self) -> float:
        """Radius of the hole, [m]."""
        return self.peg_radius_m + self.clearance_m

    @property
    def _mouth_m(self) -> float:
        """Radius of the hole at its rim, [m]."""
        return self._hole_m + self.lead_in_m

    def _block_mjcf(self) -> Iterator[str]:
        """Yield the block around the middle of the rim: four boxes, and within them the ring that the hole is in."""
        half_x, half_y = _BLOCK_HALF
        height = self.hole_position[2]
        inner = self._mouth_m + _RING_M  # of the square that the four boxes leave open
        for sign in (-1, 1):
            yield _box(f"block_x{sign:+d}", (half_x - inner) / 2, half_y, height, x=sign * (half_x + inner) / 2)
            yield _box(f"block_y{sign:+d}", inner, (half_y - inner) / 2, height, y=sign * (half_y + inner) / 2)
        floor_m = height - self.hole_depth_m
        yield _box("floor", inner, inner, floor_m, top=-self.hole_depth_m, material="wall")
        for number in range(SIDES):
            yield self._piece(number)
        for name, point in self.landmarks.items():
            y = point[1] - self.hole_position[1]
            yield f'<site name="truth/{name}" pos="0 {y:.9f} 0" size=".001" group="4"/>'

    def _piece(self, number: int) -> str:
        """Return one of the flat pieces around the hole: its wall, the bevel above, and the painted top outside."""
        angle = 2 * math.pi * number / SIDES
        width = math.tan(math.pi / SIDES)  # half of it over the distance from the axis
        wall, mouth, outer = self._hole_m, self._mouth_m, (self._mouth_m + _RING_M) * math.sqrt(2)
        lead = self.lead_in_m
        parts = _plate(
            f"wall_{number}", angle, (wall, outer), (-self.hole_depth_m, -lead - 0.0004), outer * width, "wall"
        )
        ring, top = mouth + _RING_M, (-lead - 0.001, 0.0)
        parts += _plate(f"ring_{number}", angle, (mouth, ring), top, ring * width, "ring")
        parts += _plate(f"top_{number}", angle, (ring, outer), top, outer * width, "block")
        if lead > 0.0:  # its upper face runs at 45 degrees from the wall out to the rim
            thick, middle = 0.0004, wall + lead / 2
            sink = thick / math.sqrt(2)
            place = ((middle + sink) * math.cos(angle), (middle + sink) * math.sin(angle), -lead / 2 - sink)
            parts += (
                f'<geom name="bevel_{number}" type="box" size="{lead / math.sqrt(2):.6f} {mouth * width:.6f} {thick}" '
                f'pos="{place[0]:.6f} {place[1]:.6f} {place[2]:.6f}" '
                f'xyaxes="{_tilted(angle)}" material="ring" {_RIGID}/>'
            )
        return parts


_CONTACT = 'solref=".004 1" solimp=".95 .99 .0005" friction=".3 .005 .0001" condim="4"'
"""Stiff: the default solref sinks in by half a millimetre under 15 N, more than the clearance."""
_RIGID = f'contype="4" conaffinity="2" {_CONTACT}'
_HELD = f'contype="2" conaffinity="4" {_CONTACT}'

_MATERIALS = {
    "table": (".55 .50 .44 1", 0.1),
    "block": (".16 .17 .20 1", 0.15),
    "ring": (".95 .72 .05 1", 0.1),
    "wall": (".03 .03 .03 1", 0.0),
    "peg": (".72 .73 .76 1", 0.5),
}
"""Colour and gloss of each material."""


def _box(
    name: str,
    half_x: float,
    half_y: float,
    height: float,
    *,
    x: float = 0.0,
    y: float = 0.0,
    top: float = 0.0,
    material: str = "block",
) -> str:
    """Return a box that stands on the table and ends at a height over the rim, [m]."""
    return (
        f'<geom name="{name}" type="box" size="{half_x:.6f} {half_y:.6f} {height / 2:.6f}" '
        f'pos="{x:.6f} {y:.6f} {top - height / 2:.6f}" material="{material}" {_RIGID}/>'
    )


def _plate(
    name: str,
    angle: float,
    radii: tuple[float, float],
    heights: tuple[float, float],
    half_width: float,
    material: str,
) -> str:
    """Return an upright box whose inner face looks at the axis: from one radius to another, heights over the rim."""
    middle, thick = sum(radii) / 2, (radii[1] - radii[0]) / 2
    z, half_z = sum(heights) / 2, (heights[1] - heights[0]) / 2
    return (
        f'<geom name="{name}" type="box" size="{thick:.6f} {half_width:.6f} {half_z:.6f}" '
        f'pos="{middle * math.cos(angle):.6f} {middle * math.sin(angle):.6f} {z:.6f}" '
        f'euler="0 0 {angle:.6f}" material="{material}" {_RIGID}/>'
    )


def _tilted(angle: float) -> str:
    """Return the axes of a plate that falls at 45 degrees towards the axis of the hole."""
    out = np.array([math.cos(angle), math.sin(angle), 1.0]) / math.sqrt(2)
    along = (-math.sin(angle), math.cos(angle), 0.0)
    return " ".join(f"{value:.9f}" for value in (*out, *along))
