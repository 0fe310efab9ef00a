"""Arguments of our own tools, with units and bounds. Descriptions are prompt text.

All positions are in the robot base frame (x forward, y left, z up), in metres; keypoints are referred to by label, so
that the model never copies coordinates.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tools import primitives
from tools.geometry import MAX_MARGIN_M
from tools.spec import Args
from tools.targets import Line, Target, fraction_field, line_field, target_field

Metres = Annotated[float, Field(ge=-2.0, le=2.0)]
Margin = Annotated[float, Field(ge=0.0, le=MAX_MARGIN_M)]


def _yaw(what: str = "Turn of the tool about the vertical at the end, radians; 0 is aligned with the task.") -> Any:
    return Field(0.0, ge=-primitives.MAX_YAW_RAD, le=primitives.MAX_YAW_RAD, description=what)


def _delta(axis: str) -> Any:
    return Field(
        0.0, ge=-primitives.MAX_DELTA_M, le=primitives.MAX_DELTA_M, description=f"Offset along base {axis}, metres."
    )


class GraspArgs(Args):
    """Close the gripper where it is."""


class ReleaseArgs(Args):
    """Open the gripper where it is."""


class MoveDeltaArgs(Args):
    """Move by an offset from the present pose. For small corrections."""

    dx_m: float = _delta("x (forward)")
    dy_m: float = _delta("y (left)")
    dz_m: float = _delta("z (up)")
    yaw_rad: float = _yaw("Turn about the vertical from the present orientation, radians.")


class LiftArgs(Args):
    """Move straight up."""

    height_m: float = Field(gt=0, le=primitives.MAX_HEIGHT_M, description="How far up, metres.")


class TranslateArgs(Args):
    """Move the tool tip above a target: up first if it is too low, then across. No contact."""

    target: Target = target_field("Where to go.")
    fraction: float = fraction_field()
    height_m: float = Field(
        primitives.HOVER_M,
        ge=0,
        le=primitives.MAX_HEIGHT_M,
        description="Height of the tool tip above the target at the end, metres.",
    )
    yaw_rad: float = _yaw()
    along: Line = line_field()


class DescendArgs(Args):
    """Move the tool tip straight down onto a target. A guarded descent stops on contact."""

    target: Target = target_field("What to go down to.")
    fraction: float = fraction_field()
    height_m: float = Field(
        0.0, ge=0, le=primitives.MAX_HEIGHT_M, description="Height of the tool tip above the target at the end, metres."
    )
    guarded: bool = Field(True, description="Stop on contact.")
    yaw_rad: float = _yaw()
    along: Line = line_field()


class PreGraspArgs(Args):
    """Open the gripper and move above something that shall be grasped. Never while holding a part."""

    target: Target = target_field("What shall be grasped.")
    height_m: float = Field(
        primitives.PRE_GRASP_M,
        ge=0,
        le=primitives.MAX_HEIGHT_M,
        description="Height of the fingertips above the target, metres.",
    )
    yaw_rad: float = _yaw()
    along: Line = line_field()


class SearchArgs(Args):
    """Insert into a hole: straight in; on contact feel for it in a growing spiral with a light push, then press in."""

    target: Target = target_field("The middle of the hole's rim.")
    radius_m: float = Field(
        primitives.SEARCH_RADIUS_M,
        ge=primitives.SEARCH_ARC_M,
        le=primitives.MAX_SEARCH_RADIUS_M,
        description="How far from the target to search, metres: about twice the error you expect.",
    )
    pitch_m: float = Field(
        primitives.SEARCH_PITCH_M,
        ge=primitives.MIN_SEARCH_PITCH_M,
        le=primitives.MAX_SEARCH_PITCH_M,
        description="Distance between the spiral's turns, metres.",
    )
    push_m: float = Field(
        primitives.SEARCH_PUSH_M,
        ge=0,
        le=primitives.MAX_PUSH_M,
        description="How far below the contact to press while searching, metres.",
    )
    depth_m: float = Field(
        primitives.INSERT_DEPTH_M,
        ge=0,
        le=primitives.MAX_DEPTH_M,
        description="How far below the rim to press the tool tip in once it has dropped, metres.",
    )
    yaw_rad: float = _yaw()
    along: Line = line_field()


class Margins(Args):
    """How far each side of a box lies outside of the points it is built from, metres; never negative."""

    x_neg: Annotated[Margin, Field(description="Margin towards -x.")] = 0.012
    x_pos: Annotated[Margin, Field(description="Margin towards +x.")] = 0.012
    y_neg: Annotated[Margin, Field(description="Margin towards -y.")] = 0.012
    y_pos: Annotated[Margin, Field(description="Margin towards +y.")] = 0.012
    z_neg: Annotated[Margin, Field(description="Margin below.")] = 0.020
    z_pos: Annotated[Margin, Field(description="Margin above.")] = 0.060


class ExplorationBboxArgs(Args):
    """Confine exploration of the tool tip to a box, until the episode ends."""

    mode: Literal["two_keypoint_union", "direct_bbox3d"] = Field(
        description="two_keypoint_union: around two keypoints. direct_bbox3d: from its corners."
    )
    keypoints: tuple[str, str] | None = Field(
        None, description="two_keypoint_union only: labels of the two keypoints, e.g. [`port_left`, `port_right`]."
    )
    lower: tuple[Metres, Metres, Metres] | None = Field(
        None, description="direct_bbox3d only: smallest x, y, z, base frame, metres."
    )
    upper: tuple[Metres, Metres, Metres] | None = Field(
        None, description="direct_bbox3d only: largest x, y, z, base frame, metres."
    )
    margins: Margins = Field(default=Margins(), description="Margin of each side, metres, none negative.")

    @model_validator(mode="after")
    def _has_what_its_mode_needs(self) -> "ExplorationBboxArgs":
        union = self.mode == "two_keypoint_union"
        if union and (self.keypoints is None or self.lower is not None or self.upper is not None):
            raise ValueError("two_keypoint_union takes keypoints (two labels), and neither lower nor upper")
        if not union and (self.keypoints is not None or self.lower is None or self.upper is None):
            raise ValueError("direct_bbox3d takes lower and upper, and no keypoints")
        return self
