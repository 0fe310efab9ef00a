"""A cord loop with a knot, as MJCF text: two branches of capsules that hang from the pads and meet at the bottom.

The chain is in minimal coordinates, two hinges with a bending spring per link; only the bottom is closed by a
constraint. The model's zero configuration is the shape that hangs still, so that an episode starts without a swing.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Annotated

import numpy as np
from annotated_types import Interval

from rl.bounds import NotNegative, Positive
from rl.types import FloatArray

_GRAVITY = 9.81


@dataclass(frozen=True, kw_only=True)
class Cord:
    """A loop of cord with a weight at its bottom."""

    links: Annotated[int, Interval(ge=2, le=40)] = 8
    """Capsules of each branch."""
    link_m: Positive = 0.014
    """Length of a link, [m]."""
    radius_m: Positive = 0.002
    """Radius of the cord, [m]."""
    bending: Positive = 1e-4
    """Bending stiffness EI, [N m^2]: a firm braided cord."""
    damping: NotNegative = 4e-5
    """Damping of each hinge, [N m s/rad]."""
    armature: NotNegative = 2e-6
    """Inertia added to each hinge, [kg m^2]: without it a light link limits the timestep."""
    link_mass: Positive = 0.0003
    """Mass of a link, [kg]."""
    knot_mass: Positive = 0.030
    """Mass of the knot, [kg]."""
    gap_m: Positive = 0.008
    """Distance between the two strands at the pads, [m]."""
    spread_rad: Annotated[float, Interval(gt=0, lt=3)] = 1.2
    """Angle from straight down at which each strand leaves the pads, [rad]."""

    @cached_property
    def points(self) -> tuple[str, ...]:
        """Names of the points of the loop: from the pads down the left branch, up the right one and back."""
        return tuple(f"cord_{i:02d}" for i in range(2 * self.links + 1))


@cache
def hanging_headings(cord: Cord) -> FloatArray:
    """Return the angles of one branch's links from straight down at rest, outwards positive. Shape (links,), [rad].

    Least energy of bending and gravity with the branches, which mirror each other, closed at the bottom.
    """
    rest = np.diff(_free_headings(cord), prepend=cord.spread_rad)
    stiffness = cord.bending / cord.link_m
    below = cord.knot_mass / 2 + cord.link_mass * (np.arange(cord.links)[::-1] + 0.5)
    weight = _GRAVITY * cord.link_m * below

    def energy(headings: FloatArray) -> float:
        bend = np.diff(headings, prepend=cord.spread_rad) - rest
        return float(0.5 * stiffness * bend @ bend - weight @ np.cos(headings)) / stiffness

    def gap(headings: FloatArray) -> float:
        return float(cord.gap_m / 2 / cord.link_m + np.sin(headings).sum())

    from scipy.optimize import minimize  # who only reads what the task is does not wait for it

    found = minimize(energy, _free_headings(cord), constraints={"type": "eq", "fun": gap}, method="SLSQP", tol=1e-12)
    return np.asarray(found.x)


def _free_headings(cord: Cord) -> FloatArray:
    """Return the headings without gravity: a drop that turns evenly from the pads to the bottom, where it closes."""
    step = np.linspace(0.0, 1.0, cord.links)
    last = -cord.spread_rad
    for _ in range(30):  # Newton's method on the gap at the bottom
        headings = cord.spread_rad + step * (last - cord.spread_rad)
        last -= (cord.gap_m / 2 / cord.link_m + np.sin(headings).sum()) / (step * np.cos(headings)).sum()
    return cord.spread_rad + step * (last - cord.spread_rad)


def hanging_points(cord: Cord) -> FloatArray:
    """Return the points of the loop at rest in the frame of the pads, z down. Shape (2 * links + 1, 3), [m].

    The loop lies in the plane y = 0, its left branch at x < 0.
    """
    headings = hanging_headings(cord)
    steps = cord.link_m * np.stack([np.sin(headings), np.zeros(cord.links), np.cos(headings)], axis=1)
    right = np.vstack([[cord.gap_m / 2, 0.0, 0.0], [cord.gap_m / 2, 0.0, 0.0] + np.cumsum(steps, axis=0)])
    return np.vstack([right[:-1] * [-1, 1, 1], right[-1:], right[:-1][::-1]])


def cord_mjcf(cord: Cord, *, material: str, contact: str, knot: str) -> tuple[str, str]:
    """Return the bodies in the frame of the pads, z down, and the equality that closes the loop.

    Sites `truth/<point>` mark the points of the loop.

    Args:
        cord: Sizes and stiffness.
        material: Material of the cord.
        contact: Attributes of the cord's geoms.
        knot: Geoms and sites of the knot, z down, from the bottom of the loop.
    """
    half = cord.gap_m / 2
    geom = f'<geom type="capsule" size="{cord.radius_m}" material="{material}" mass="{cord.link_mass}" {contact}'
    bottom = f"0 0 {cord.link_m}"
    knot_body = (
        f'<body name="knot" pos="{bottom}" euler="0 {hanging_headings(cord)[-1]:.9f} 0">'
        f'<joint name="knot" type="ball" damping="{5 * cord.damping}" armature="{cord.armature}"/>{knot}</body>'
    )
    left = f'<site name="truth/{cord.points[cord.links]}" pos="{bottom}" size=".001" group="4"/>{knot_body}'
    right = f'<site name="loop_end" pos="{bottom}" size=".001" group="4"/>'
    bodies = (
        f'{geom} fromto="{-half} 0 0 {half} 0 0"/>'
        + _branch(cord, "left", side=-1, geom=geom, end=left)
        + _branch(cord, "right", side=1, geom=geom, end=right)
    )
    closed = f'<connect name="loop" site1="truth/{cord.points[cord.links]}" site2="loop_end" solref=".006 1"/>'
    return bodies, closed


def _branch(cord: Cord, name: str, *, side: int, geom: str, end: str) -> str:
    """Return the chain of one branch, the pads' strand first."""
    bends = np.diff(hanging_headings(cord), prepend=cord.spread_rad)
    unloaded = np.diff(_free_headings(cord), prepend=cord.spread_rad)
    stiffness = cord.bending / cord.link_m
    joint = f'stiffness="{stiffness}" damping="{cord.damping}" armature="{cord.armature}"'
    chain = end
    for i in reversed(range(cord.links)):
        position = f"0 0 {cord.link_m}" if i else f"{side * cord.gap_m / 2} 0 0"
        turn = side * (bends[i] if i else hanging_headings(cord)[0])
        point = cord.points[i if side < 0 else -1 - i]
        chain = (
            f'<body pos="{position}" euler="0 {turn:.9f} 0">'
            f'<joint name="{name}_{i}_x" axis="1 0 0" {joint}/>'
            f'<joint name="{name}_{i}_y" axis="0 1 0" springref="{side * (unloaded[i] - bends[i]):.9f}" {joint}/>'
            f'{geom} fromto="0 0 0 0 0 {cord.link_m}"/>'
            f'<site name="truth/{point}" size=".001" group="4"/>{chain}</body>'
        )
    return chain
