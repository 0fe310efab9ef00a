"""USB insertion: a plug held in the gripper goes into a port on a board (AGPS, arXiv:2602.11978, task 1)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rl.bounds import NotNegative, Positive, Shift
from rl.tasks.base import TABLE_MJCF, TOOL_DOWN, Camera, Recipe, SceneMjcf, SceneVariation, SimulatedTask, Subject
from rl.transforms import pose, rotvec_to_matrix
from rl.types import Box, Expert, FloatArray, RobotState

_PLUG_HALF = (0.00225, 0.006)
"""Half thickness (x) and half width (y) of the plug's shell, [m]."""
_SHELL_M = 0.012
"""Length of the shell, [m]."""
_HANDLE_HALF = (0.004, 0.008, 0.014)
"""Half sizes of the part that is gripped, [m]."""
_HANDLE_CENTRE_M = 0.006
"""Its centre below the TCP, [m]: the fingers hold its upper part."""
_PORT_DEPTH_M = 0.013
"""Depth of the port, [m]."""
_FLOOR_M = 0.003
"""Thickness below it, [m]."""


@dataclass(frozen=True, kw_only=True)
class UsbInsertion(SimulatedTask):
    """Insert a rigidly held plug into a port that stands on a housing; 6-D delta poses, sparse reward.

    The port's long side lies along y, its rim is the origin of what follows: the middle of its opening, top face.
    """

    name: ClassVar[str] = "usb_insertion"
    instruction: ClassVar[str] = "Insert the USB plug held by the gripper into the USB port."
    recipe: ClassVar[Recipe] = Recipe(expected=((400, 0.15), (800, 0.6), (1_200, 0.9), (2_400, 0.95)))

    subject: ClassVar[Subject] = Subject(
        jitter={"port_jitter_m": 0.03, "port_jitter_rad": 0.15}, materials=("rim", "cavity")
    )

    horizon: int = 50
    """Control steps until truncation; the scripted expert needs 14 on average, 20 at most, so that help which begins
    after 20 still has the time to finish."""
    gripper_opening: float = 0.2
    """The fingers stay closed on the handle, which is 16 mm wide."""

    port_position: tuple[float, float, float] = (0.5, 0.0, 0.05)
    """Nominal middle of the rim in the base frame, [m]."""
    clearance_m: Positive = 0.0003
    """Gap between plug and port on each side, [m]."""
    lead_in_m: NotNegative = 0.0005
    """Width and depth of the 45 degree bevel at the rim, [m]: the knob for difficulty. 0 for a sharp rim."""
    rim_step_m: Positive = 0.008
    """Longest vertical step of the scripted expert near the rim, [m]."""
    rim_width_m: Positive = 0.004
    """Width of the metal rim around the opening, [m]."""

    start_height_m: NotNegative = 0.08
    """Height of the plug's tip above the rim in the middle of the start region, [m] (paper)."""
    start_xy_m: NotNegative = 0.06
    """Start position is uniform within this of the nominal port in x and y, [m] (paper)."""
    start_z_m: NotNegative = 0.05
    """Start height is uniform within this of `start_height_m`, [m] (paper)."""
    start_yaw_rad: NotNegative = 0.06
    """Start rotation about z is uniform within this, [rad] (paper)."""

    success_depth_m: NotNegative = 0.0105
    """Done when the tip is this far below the rim, [m]..."""
    success_xy_m: NotNegative = 0.0015
    """...and within this of the port's axis in x and y, [m]."""

    port_jitter_m: Shift = 0.0
    """The port moves uniformly within this of its nominal place in x and y each episode, [m]."""
    port_jitter_rad: NotNegative = 0.0
    """The port turns uniformly within this about z each episode, [rad]."""

    def with_inertia(self) -> "UsbInsertion":
        """Return the task with 3 mm steps near the rim: at 8 mm the tip swings by 1.2 mm to the side and misses it."""
        return replace(self, rim_step_m=min(self.rim_step_m, 0.003))

    @property
    def workspace(self) -> Box:
        """11 cm around the port, from 3 mm below full insertion to 16 cm above contact."""
        port = np.array(self.port_position)
        contact = port + [0.0, 0.0, self.p_tcp_tool[2]]
        return Box(lower=contact - [0.11, 0.11, _SHELL_M + 0.003], upper=contact + [0.11, 0.11, 0.16])

    @property
    def p_tcp_tool(self) -> FloatArray:
        """Tip of the plug in the TCP frame."""
        return np.array([0.0, 0.0, _HANDLE_CENTRE_M + _HANDLE_HALF[2] + _SHELL_M])

    @property
    def home(self) -> FloatArray:
        """Above the port at the middle start height."""
        return pose(np.array(self.port_position) + [0, 0, self.start_height_m + self.p_tcp_tool[2]], TOOL_DOWN)

    @property
    def policy_cameras(self) -> tuple[Camera, ...]:
        """Two on the hand, before and behind the plug: both see its tip and, from 13 cm down, the port.

        42 degrees is a crop of the RealSense D405's 58; learning was faster with it.
        """
        return tuple(
            Camera(
                name=name,
                mount="hand",
                position=(x, 0.0, 0.030),
                target=(0.0, 0.0, 0.140),
                up=(0.0, 0.0, -1.0),
                fovy_deg=42.0,
            )
            for name, x in (("wrist_1", 0.085), ("wrist_2", -0.085))
        )

    @property
    def agent_cameras(self) -> tuple[Camera, ...]:
        """One opposite the arm, 45 degrees above the port, then the wrist cameras."""
        x, y, z = self.port_position
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
        """Middle of the opening at the rim's height, and the middles of the rim's two short sides, on its metal.

        `port_left` is the one at smaller y: on the left in the image of the side camera.
        """
        side_y = _PLUG_HALF[1] + self.clearance_m + self.lead_in_m + self.rim_width_m / 2
        port = np.array(self.port_position)
        return {"port": port, "port_left": port - [0.0, side_y, 0.0], "port_right": port + [0.0, side_y, 0.0]}

    def sample_start(self, rng: np.random.Generator) -> FloatArray:
        """Return a start pose from the paper's region."""
        xyz = rng.uniform(-1.0, 1.0, 3) * [self.start_xy_m, self.start_xy_m, self.start_z_m]
        yaw = rng.uniform(-self.start_yaw_rad, self.start_yaw_rad)
        return pose(self.home[:3, 3] + xyz, rotvec_to_matrix(np.array([0.0, 0.0, yaw])) @ TOOL_DOWN)

    def sample_scene(self, rng: np.random.Generator) -> SceneVariation:
        """Return the port's place and what else is switched on; draws the same numbers whatever is switched on."""
        shift = rng.uniform(-1.0, 1.0, 2) * self.port_jitter_m
        turn = float(rng.uniform(-1.0, 1.0) * self.port_jitter_rad)
        moved = {"port": (np.array(self.port_position) + [*shift, 0.0], turn)}
        return self.vary(rng, moved=moved, materials=_MATERIALS)

    @property
    def held_points(self) -> dict[str, FloatArray]:
        """The tip of the plug."""
        return {"plug_tip": self.p_tcp_tool}

    def is_success(self, truth: Mapping[str, FloatArray], robot: RobotState) -> bool:
        """Return whether the tip is deep enough inside the port's opening."""
        along_y = truth["port_right"] - truth["port_left"]
        along_y = along_y / np.linalg.norm(along_y)
        offset = truth["plug_tip"] - truth["port"]
        lateral = max(abs(offset @ along_y), abs(offset @ np.array([along_y[1], -along_y[0], 0.0])))
        return bool(offset[2] <= -self.success_depth_m and lateral < self.success_xy_m)

    def expert(self) -> Expert:
        """Return who knows where everything is."""
        from rl.tasks.usb_expert import UsbExpert  # written for this class

        return UsbExpert(self)

    def scene_mjcf(self) -> SceneMjcf:
        """Return table, housing, port and plug."""
        assets = "".join(
            f'<material name="{name}" rgba="{rgba}" specular="{specular}" shininess=".5"/>'
            for name, (rgba, specular) in _MATERIALS.items()
        )
        x, y, z = self.port_position
        board_z = z - _PORT_DEPTH_M - _FLOOR_M
        world = (
            f'{TABLE_MJCF}<body name="port" mocap="true" pos="{x} {y} {z}">'
            f'<geom name="housing" type="box" size=".045 .055 {board_z / 2:.6f}" pos="0 0 {board_z / 2 - z:.6f}" '
            f'material="housing" {_RIGID}/>' + self._port_mjcf() + "</body>"
        )
        return SceneMjcf(assets=assets, world=world, held=_PLUG_MJCF)

    def _port_mjcf(self) -> str:
        """Return the port around the middle of its rim: dark inner walls, bevel, bright rim, and named points."""
        inner = np.array(_PLUG_HALF) + self.clearance_m
        mouth = inner + self.lead_in_m
        outer = mouth + self.rim_width_m
        bottom = -_PORT_DEPTH_M
        geoms = [
            _box("port_floor", (0, 0, bottom - _FLOOR_M / 2), (*(outer - 0.001), _FLOOR_M / 2), "cavity"),
            *_frame("rim", mouth, outer, bottom - _FLOOR_M, 0.0, "rim"),
        ]
        if self.lead_in_m > 0.0:
            geoms += _frame("wall", inner, outer - 0.001, bottom, -self.lead_in_m, "cavity")
            geoms += _bevel(inner, self.lead_in_m)
        else:
            geoms += _frame("wall", inner, inner + 0.0004, bottom, -0.0003, "cavity", solid=False)
        sites = "".join(
            f'<site name="truth/{name}" pos="0 {point[1] - self.port_position[1]:.9f} 0" size=".001" group="4"/>'
            for name, point in self.landmarks.items()
        )
        return "".join(geoms) + sites


_RIGID = 'contype="4" conaffinity="2" solref=".004 1" solimp=".95 .99 .0005" friction=".3 .005 .0001" condim="4"'
"""Stiff contacts: the default solref sinks in by half a millimetre under 15 N and lets false insertions pass."""

_MATERIALS = {
    "table": (".55 .50 .44 1", 0.1),
    "housing": (".10 .10 .11 1", 0.15),
    "rim": (".74 .75 .77 1", 0.3),
    "cavity": (".02 .02 .02 1", 0.0),
    "shell": (".75 .76 .78 1", 0.6),
    "handle": (".10 .22 .50 1", 0.2),
}
"""Colour and gloss of each material."""

_PLUG_MJCF = (
    f'<geom name="handle" type="box" size="{_HANDLE_HALF[0]} {_HANDLE_HALF[1]} {_HANDLE_HALF[2]}" '
    f'pos="0 0 {_HANDLE_CENTRE_M}" mass=".01" material="handle" '
    + _RIGID.replace('contype="4" conaffinity="2"', 'contype="2" conaffinity="4"')
    + "/>"
    f'<geom name="shell" type="box" size="{_PLUG_HALF[0]} {_PLUG_HALF[1]} {_SHELL_M / 2}" '
    f'pos="0 0 {_HANDLE_CENTRE_M + _HANDLE_HALF[2] + _SHELL_M / 2}" mass=".005" material="shell" '
    + _RIGID.replace('contype="4" conaffinity="2"', 'contype="2" conaffinity="4"')
    + "/>"
    f'<site name="truth/plug_tip" pos="0 0 {_HANDLE_CENTRE_M + _HANDLE_HALF[2] + _SHELL_M}" size=".001" group="4"/>'
)


def _box(
    name: str,
    centre: tuple[float, float, float],
    half: tuple[float, float, float],
    material: str,
    *,
    euler: str = "0 0 0",
    solid: bool = True,
) -> str:
    bits = _RIGID if solid else 'contype="0" conaffinity="0"'
    return (
        f'<geom name="{name}" type="box" pos="{centre[0]:.6f} {centre[1]:.6f} {centre[2]:.6f}" '
        f'size="{half[0]:.6f} {half[1]:.6f} {half[2]:.6f}" euler="{euler}" material="{material}" {bits}/>'
    )


def _frame(
    name: str, inner: FloatArray, outer: FloatArray, bottom: float, top: float, material: str, *, solid: bool = True
) -> list[str]:
    """Return four boxes around an opening: half sizes `inner` and `outer` (2,), heights `bottom` to `top`, [m]."""
    middle, thick = (inner + outer) / 2, (outer - inner) / 2
    z, half_z = (bottom + top) / 2, (top - bottom) / 2
    boxes = []
    for sign in (-1, 1):
        boxes.append(
            _box(f"{name}_x{sign:+d}", (sign * middle[0], 0, z), (thick[0], outer[1], half_z), material, solid=solid)
        )
        boxes.append(
            _box(f"{name}_y{sign:+d}", (0, sign * middle[1], z), (inner[0], thick[1], half_z), material, solid=solid)
        )
    return boxes


def _bevel(inner: FloatArray, lead_in_m: float) -> list[str]:
    """Return four plates whose upper faces run at 45 degrees from the walls, one lead-in deep, out to the rim."""
    thick = 0.0002
    length = lead_in_m / np.sqrt(2)
    sink = thick / np.sqrt(2)
    plates = []
    for sign in (-1, 1):
        along_x = (sign * (inner[0] + lead_in_m / 2 + sink), 0.0, -lead_in_m / 2 - sink)
        along_y = (0.0, sign * (inner[1] + lead_in_m / 2 + sink), -lead_in_m / 2 - sink)
        quarter = np.pi / 4
        plates.append(
            _box(
                f"bevel_x{sign:+d}",
                along_x,
                (length, inner[1] + lead_in_m, thick),
                "cavity",
                euler=f"0 {-sign * quarter:.6f} 0",
            )
        )
        plates.append(
            _box(
                f"bevel_y{sign:+d}",
                along_y,
                (inner[0] + lead_in_m, length, thick),
                "cavity",
                euler=f"{sign * quarter:.6f} 0 0",
            )
        )
    return plates
