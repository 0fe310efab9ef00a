"""Knot hanging: a cord loop with a Chinese knot, held by the gripper, is hung on a hook (arXiv:2602.11978, task 2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from rl.bounds import NotNegative, Positive, Shift
from rl.tasks.base import TABLE_MJCF, TOOL_DOWN, Camera, Recipe, SceneMjcf, SceneVariation, SimulatedTask, Subject
from rl.tasks.cord import Cord, cord_mjcf, hanging_points
from rl.transforms import pose, rotvec_to_matrix
from rl.types import Box, Expert, FloatArray, RobotState

_PEG_RADIUS_M = 0.003
_BALL_RADIUS_M = 0.0055
_POST_HALF_M = 0.008
"""Half the thickness of the post, [m]."""
_POST_ABOVE_M = 0.016
"""Height of the post above the root of the peg, [m]: it keeps the loop from slipping off behind."""


@dataclass(frozen=True, kw_only=True)
class KnotHanging(SimulatedTask):
    """Put a hanging loop over a peg that is tilted up, and lower it; 6-D delta poses, sparse reward.

    The hook points along -y: its peg rises from `hook_base`, at the post, to `hook_tip`, a ball. At yaw 0 the plane of
    the loop is perpendicular to y, so that the loop goes on along +y.
    """

    name: ClassVar[str] = "knot_hanging"
    instruction: ClassVar[str] = "Hang the cord loop of the knot held by the gripper on the hook."
    recipe: ClassVar[Recipe] = Recipe(max_env_steps=8_000)

    subject: ClassVar[Subject] = Subject(
        jitter={"hook_jitter_m": 0.02, "hook_jitter_rad": 0.15},
        materials=("post", "peg", "ball", "collar", "cord", "knot", "bead"),
        thickness_m=0.012,
    )

    horizon: int = 30
    """Control steps until truncation; the scripted expert needs 12 on average, 17 at most, so that help which begins
    after 12 still has the time to finish."""
    translation_scale_m: float = 0.012
    """A unit action, [m]: at 12 cm/s the knot swings by less than the opening forgives."""
    leash_m: float = 0.035
    """The arm lags 21 mm behind a full diagonal action."""
    gripper_opening: float = 0.05
    """The fingers stay closed on the cord's two strands, one beside the other."""
    timestep_s: float = 0.005

    cord: Cord = field(default_factory=Cord)
    """The loop."""

    hook_position: tuple[float, float, float] = (0.5, 0.05, 0.22)
    """Nominal root of the peg in the base frame, [m]."""
    peg_length_m: Positive = 0.07
    """Length of the peg, [m]."""
    peg_tilt_rad: float = 0.6
    """Angle of the peg above the horizontal, [rad]."""

    start_distance_m: NotNegative = 0.11
    """Distance of the loop from the tip of the hook, along y, in the middle of the start region, [m]."""
    start_height_m: float = 0.03
    """Height of the middle of the opening above the tip at the start, [m]."""
    start_xy_m: NotNegative = 0.06
    """Start position is uniform within this in x and y, [m] (paper)."""
    start_yaw_rad: NotNegative = 0.06
    """Start rotation about z is uniform within this, [rad] (paper)."""

    success_depth: Annotated[float, Interval(ge=0, le=1)] = 0.75
    """Done when the peg passes through the loop below this part of its length, from its root..."""
    success_height_m: NotNegative = 0.035
    """...and the pads are less than this above that place, [m]: a loop that is let go there stays on."""

    hook_jitter_m: Shift = 0.0
    """The hook moves uniformly within this of its nominal place in x and y each episode, [m]."""
    hook_jitter_rad: NotNegative = 0.0
    """The hook turns uniformly within this about z each episode, [rad]."""

    @property
    def workspace(self) -> Box:
        """From behind the start region to the post, 10 cm to either side; up to 17 cm above the peg's root."""
        root, tip = self.landmarks["hook_base"], self.landmarks["hook_tip"]
        reach = self.start_distance_m + self.start_xy_m + 0.03
        return Box(
            lower=np.array([root[0] - 0.10, tip[1] - reach, root[2]]),
            upper=np.array([root[0] + 0.10, root[1] + 0.01, root[2] + 0.17]),
        )

    @property
    def p_tcp_tool(self) -> FloatArray:
        """Middle of the loop's opening as it hangs at rest: brought to a point, the loop is around that point."""
        return np.array([0.0, 0.0, hanging_points(self.cord)[self.cord.links, 2] / 2])

    @property
    def home(self) -> FloatArray:
        """In front of the hook, a little higher."""
        middle = self.landmarks["hook_tip"] + [0.0, -self.start_distance_m, self.start_height_m]
        return pose(middle - TOOL_DOWN @ self.p_tcp_tool, TOOL_DOWN)

    @property
    def policy_cameras(self) -> tuple[Camera, ...]:
        """Two on the hand, on either side of the loop, which see it edge-on with the peg, and the side camera."""
        wrists = (
            Camera(
                name=name,
                mount="hand",
                position=(x, 0.0, 0.030),
                target=(0.0, 0.0, 0.160),
                up=(0.0, 0.0, -1.0),
                fovy_deg=58.0,
            )
            for name, x in (("wrist_1", 0.085), ("wrist_2", -0.085))
        )
        x, y, z = self.hook_position
        side = Camera(
            name="side",
            mount="world",
            position=(x + 0.36, y - 0.34, z + 0.20),
            target=(x - 0.02, y - 0.115, z + 0.033),
            up=(0.0, 0.0, 1.0),
            fovy_deg=36.0,
        )
        return (*wrists, side)

    @property
    def agent_cameras(self) -> tuple[Camera, ...]:
        """The side camera, diagonally before the hook, where loop, tip and root are all seen; then the wrists'."""
        wrist_1, wrist_2, side = self.policy_cameras
        return (side, wrist_1, wrist_2)

    @property
    def landmarks(self) -> dict[str, FloatArray]:
        """Ends of the peg's axis: its root at the post, and the middle of the ball at its tip."""
        root = np.array(self.hook_position)
        return {"hook_base": root, "hook_tip": root + self._p_base_tip}

    @property
    def _p_base_tip(self) -> FloatArray:
        return self.peg_length_m * np.array([0.0, -np.cos(self.peg_tilt_rad), np.sin(self.peg_tilt_rad)])

    def retreat(self, T_base_tcp: FloatArray) -> tuple[FloatArray, ...]:
        """Draw the loop off along the peg's axis, until home is no further in front of the tip."""
        base, tip = self.landmarks["hook_base"], self.landmarks["hook_tip"]
        axis = (tip - base) / np.linalg.norm(tip - base)
        way = max(0.0, float((self.home[:3, 3] - T_base_tcp[:3, 3]) @ axis))
        T = T_base_tcp.copy()
        T[:3, 3] += way * axis
        return (T,)

    def sample_start(self, rng: np.random.Generator) -> FloatArray:
        """Return a start pose from the paper's region."""
        xyz = np.append(rng.uniform(-self.start_xy_m, self.start_xy_m, 2), 0.0)
        yaw = rng.uniform(-self.start_yaw_rad, self.start_yaw_rad)
        return pose(self.home[:3, 3] + xyz, rotvec_to_matrix(np.array([0.0, 0.0, yaw])) @ TOOL_DOWN)

    def sample_scene(self, rng: np.random.Generator) -> SceneVariation:
        """Return the hook's place and what else is switched on; draws the same numbers whatever is switched on."""
        shift = rng.uniform(-1.0, 1.0, 2) * self.hook_jitter_m
        turn = float(rng.uniform(-1.0, 1.0) * self.hook_jitter_rad)
        moved = {"hook": (np.array(self.hook_position) + [*shift, 0.0], turn)}
        return self.vary(rng, moved=moved, materials=_MATERIALS)

    @property
    def held_points(self) -> dict[str, FloatArray]:
        """The points of the loop and the top of the knot, as they hang at rest."""
        points = hanging_points(self.cord)
        named = dict(zip(self.cord.points, points, strict=True))
        return {**named, "knot": points[self.cord.links]}

    def is_success(self, truth: Mapping[str, FloatArray], robot: RobotState) -> bool:
        """Return whether the hook passes through the loop, near enough to the peg's root and below the pads."""
        loop = np.array([truth[name] for name in self.cord.points])
        base, tip = truth["hook_base"], truth["hook_tip"]
        depth = passage(loop, base, tip)
        if depth is None or depth > self.success_depth:
            return False
        above = (loop[0, 2] + loop[-1, 2]) / 2 - (base[2] + depth * (tip[2] - base[2]))
        return bool(above < self.success_height_m)

    def expert(self) -> Expert:
        """Return who knows where everything is."""
        from rl.tasks.knot_expert import KnotExpert  # written for this class

        return KnotExpert(self)

    def scene_mjcf(self) -> SceneMjcf:
        """Return table, hook and cord."""
        assets = "".join(
            f'<material name="{name}" rgba="{rgba}" specular="{specular}" shininess=".5"/>'
            for name, (rgba, specular) in _MATERIALS.items()
        )
        x, y, z = self.hook_position
        world = f'{TABLE_MJCF}<body name="hook" mocap="true" pos="{x} {y} {z}">{self._hook_mjcf()}</body>'
        held, equality = cord_mjcf(self.cord, material="cord", contact=_SOFT, knot=_KNOT_MJCF)
        # implicitfast leaves out the derivatives of the gyroscopic forces: a cord that was flung about gained energy
        # until it blew up. This costs 1 ms more per control step.
        option = 'integrator="implicit" cone="elliptic" impratio="10"'
        return SceneMjcf(assets=assets, world=world, held=held, equality=equality, option=option)

    def _hook_mjcf(self) -> str:
        """Return the hook around the root of its peg: post on a foot, collar, peg, ball, and named points."""
        tip = " ".join(f"{v:.9f}" for v in self._p_base_tip)
        collar = " ".join(f"{v:.9f}" for v in self._p_base_tip * (0.004 / self.peg_length_m))
        z = self.hook_position[2]
        half_z = (z + _POST_ABOVE_M) / 2
        return (
            f'<geom name="post" type="box" size="{_POST_HALF_M} {_POST_HALF_M} {half_z}" '
            f'pos="0 {_POST_HALF_M} {_POST_ABOVE_M - half_z:.6f}" material="post" {_HARD}/>'
            f'<geom name="foot" type="box" size=".045 .045 .005" pos="0 {_POST_HALF_M} {0.005 - z:.6f}" '
            f'material="post" {_HARD}/>'
            f'<geom name="collar" type="cylinder" size=".007" fromto="0 0 0 {collar}" material="collar" {_HARD}/>'
            f'<geom name="peg" type="capsule" size="{_PEG_RADIUS_M}" fromto="0 0 0 {tip}" material="peg" {_HARD}/>'
            f'<geom name="ball" type="sphere" size="{_BALL_RADIUS_M}" pos="{tip}" material="ball" {_HARD}/>'
            '<site name="truth/hook_base" size=".001" group="4"/>'
            f'<site name="truth/hook_tip" pos="{tip}" size=".001" group="4"/>'
        )


def passage(loop: FloatArray, start: FloatArray, end: FloatArray) -> float | None:
    """Return where a segment passes through a closed loop, as a fraction of its length; None where it does not.

    The loop is spanned by triangles around the mean of its points. A line meets a triangle when it passes all three
    edges on the same side: the products of its Pluecker coordinates with theirs have one sign. Passages to and fro
    cancel; of what remains, the one nearest to the segment's start counts.

    Args:
        loop: Its points in order. Shape (n, 3), [m].
        start: First end of the segment. Shape (3,), [m].
        end: Its other end. Shape (3,), [m].
    """
    centre = loop.mean(axis=0)
    a = loop - centre
    b = np.concatenate([a[1:], a[:1]])
    (sx, sy, sz), (dx, dy, dz) = (start - centre).tolist(), (end - start).tolist()
    moment = np.array([sy * dz - sz * dy, sz * dx - sx * dz, sx * dy - sy * dx])
    spoke = a @ moment
    next_spoke = np.concatenate([spoke[1:], spoke[:1]])
    towards, height = (np.einsum("ij,ij->i", a, b @ _times(*v)) for v in ((dx, dy, dz), (sx, sy, sz)))
    rim = towards + next_spoke - spoke
    forth = (spoke >= 0) & (next_spoke < 0) & (rim > 0)
    back = (spoke < 0) & (next_spoke >= 0) & (rim < 0)
    met = np.flatnonzero(forth | back)
    where = -height[met] / towards[met]
    within = (where >= 0.0) & (where <= 1.0)
    if forth[met[within]].sum() == back[met[within]].sum():
        return None
    return float(where[within].min())


def _times(x: float, y: float, z: float) -> FloatArray:
    """Return the matrix (3, 3) that, multiplied from the right, gives the vector product with (x, y, z)."""
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


_TOUCH = 'solref=".010 1" friction=".3 .005 .0001" condim="3"'
"""With the default solref, .02, half of the loops that were let go 3 cm above the peg fell through it."""
_HARD = f'contype="4" conaffinity="2" {_TOUCH}'
_SOFT = f'contype="2" conaffinity="4" {_TOUCH}'

_MATERIALS = {
    "table": (".55 .50 .44 1", 0.1),
    "post": (".13 .14 .16 1", 0.2),
    "peg": (".80 .81 .83 1", 0.5),
    "ball": (".05 .30 .85 1", 0.3),
    "collar": (".90 .68 .10 1", 0.4),
    "cord": (".82 .05 .07 1", 0.1),
    "knot": (".80 .06 .08 1", 0.1),
    "bead": (".92 .76 .25 1", 0.3),
}
"""Colour and gloss of each material."""

_UNFELT = 'contype="0" conaffinity="0" mass="0"'

_KNOT_MJCF = (
    f'<geom name="knot" type="box" size=".011 .0045 .011" pos="0 0 .016" euler="0 .785398 0" mass=".024" '
    f'material="knot" {_SOFT}/>'
    f'<geom name="tassel" type="capsule" size=".0045" fromto="0 0 .040 0 0 .062" mass=".006" material="knot" {_SOFT}/>'
    f'<geom type="cylinder" size=".0045 .003" pos="0 0 .034" material="bead" {_UNFELT}/>'
    + "".join(
        f'<geom type="capsule" size=".003" fromto="{x} 0 {z} {1.6 * x} 0 {z}" material="knot" {_UNFELT}/>'
        for x, z in ((0.011, 0.010), (0.011, 0.022), (-0.011, 0.010), (-0.011, 0.022))
    )
    + '<site name="truth/knot" size=".001" group="4"/>'
)
"""Chinese knot, z down from where the loop meets it: a flat diamond with four small loops, a bead and a tassel."""
