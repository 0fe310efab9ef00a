"""A tool that answers: how far it is from one point to another, how much higher, and in which direction."""

import math

import numpy as np

from rl.types import FloatArray
from tools.perception import Point
from tools.scene import Scene, tool_tip
from tools.spec import Args, ToolSpec
from tools.targets import Keypoints, Target, resolve_target, target_field

TOOL_TIP = "tool_tip"
"""Label of where the tip of the tool is now."""
LEVEL_M = 0.001
"""A way that is shorter than this, seen from above, has no heading, [m]: keypoints are not as exact."""


class MeasureArgs(Args):
    """Tell the distance, the height difference and the heading from one point to another, in mm and degrees."""

    start: Target = target_field("From where; `tool_tip` is where the tool's tip is now.", default=TOOL_TIP)
    end: Target = target_field("To where; `tool_tip` too.")


def measure(args: MeasureArgs, scene: Scene, keypoints: Keypoints) -> str:
    """Return the way from one point to another in words.

    Raises:
        ToolRetry: If a label is not known.
    """
    tip = Point(label=TOOL_TIP, camera="", uv=np.zeros(2), xyz=tool_tip(scene), depth_spread_m=0.0)
    places = {TOOL_TIP: tip, **keypoints}
    way = resolve_target(args.end, places) - resolve_target(args.start, places)
    across_m, up_m = math.hypot(way[0], way[1]), float(way[2])
    return (
        f"from {_name(args.start)} to {_name(args.end)}: {1000 * math.hypot(across_m, up_m):.1f} mm, "
        f"{1000 * across_m:.1f} mm across and {1000 * abs(up_m):.1f} mm {'up' if up_m >= 0 else 'down'}; "
        f"{_heading(way) if across_m >= LEVEL_M else 'no heading, one is above the other'}."
    )


def _heading(way: FloatArray) -> str:
    """Return the direction of a way (3,) seen from above."""
    heading_rad = math.atan2(way[1], way[0])
    degrees = round(math.degrees(heading_rad), 1) + 0.0  # without -0
    return f"heading {degrees:.1f} degrees ({heading_rad + 0.0:.3f} rad), where 0 is +x and 90 is +y"


def _name(target: Target) -> str:
    return target if isinstance(target, str) else f"between {target[0]} and {target[1]}"


MEASURE = ToolSpec(name="measure", args=MeasureArgs, function=measure, gives="text")
