"""A tool of this package: turn a wedged peg a little to and fro while it is pushed on."""

from pydantic import Field

from rl.types import Waypoint
from tools import primitives
from tools.scene import Scene
from tools.spec import Args, ToolSpec
from tools.targets import Keypoints


class TwistArgs(Args):
    """Turn the peg to one side, to the other and back, a little deeper each time: frees one stuck in the rim."""

    angle_rad: float = Field(0.1, ge=0.02, le=0.2, description="How far to each side, radians.")
    push_m: float = Field(0.001, ge=0.0, le=0.003, description="How much deeper with each turn, metres.")


def twist(args: TwistArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    """Return the three turns; each is named from where the peg is now, so that together they end where they began."""
    turns = (args.angle_rad, -args.angle_rad, 0.0)
    return tuple(
        waypoint
        for number, yaw_rad in enumerate(turns, start=1)
        for waypoint in primitives.move_delta(scene, (0.0, 0.0, -number * args.push_m), yaw_rad=yaw_rad)
    )


TWIST = ToolSpec(name="twist", args=TwistArgs, function=twist, gives="waypoints")
