"""A tool of one's own that answers the agent: how much room there is below the tip of the tool, measured with depth.

python examples/extend_tool.py                                             asks about a rendered scene, without a server
agps ask usb_insertion --agent.tools examples/extend_tool.py:ROOM_BELOW    offers it to the model of --vlm
"""

import asyncio
from contextlib import closing

import numpy as np
from pydantic import Field

from agps_agent.ask import ask
from agps_agent.graph import build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.profiles import load_profile
from agps_agent.run.build import capture_scene
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from rl.envs.factory import make_env
from tools.contract import check_tool
from tools.errors import ToolFailed
from tools.perception import deproject
from tools.scene import Scene, tool_tip
from tools.spec import TOOLS, Args, ToolSpec
from tools.targets import Keypoints


class RoomBelowArgs(Args):
    """Tell how far the tool's tip is above the highest thing that the cameras see below it, in mm."""

    radius_m: float = Field(0.008, ge=0.004, le=0.05, description="How far around the tip to look, metres.")


def room_below(args: RoomBelowArgs, scene: Scene, keypoints: Keypoints) -> str:
    """Return the room below the tip, in words."""
    tip, heights = tool_tip(scene), [np.empty(0)]
    for frame in scene.frames.values():
        v, u = np.nonzero(frame.depth_m > 0)
        points = deproject(np.column_stack([u, v]), frame.depth_m[v, u], frame.K, frame.T_base_cam)
        near = np.linalg.norm(points[:, :2] - tip[:2], axis=1) < args.radius_m
        heights.append(points[near & (points[:, 2] < tip[2] - 0.002), 2])  # 2 mm: not the tip itself
    below = np.concatenate(heights)
    if below.size == 0:
        raise ToolFailed(f"No camera sees anything within {1000 * args.radius_m:g} mm below the tip.")
    return f"the highest thing below the tip is {1000 * (tip[2] - below.max()):.0f} mm away."


ROOM_BELOW = ToolSpec(name="room_below", args=RoomBelowArgs, function=room_below, gives="text")


def main() -> None:
    """Check the tool, offer it, and ask the embedded model, which is told to begin with it."""
    check_tool(ROOM_BELOW, {"radius_m": 0.02})
    TOOLS.register("room_below", ROOM_BELOW)  # a package does it by an entry point in pyproject.toml
    with closing(make_env("usb_insertion")) as env:
        env.reset(seed=7)
        scene = capture_scene(env)
    begin = {"calls": [{"name": "room_below", "arguments": {}}], "reason": "May the tool go down here?"}
    context = AgentContext(
        scene=scene,
        model=EmbeddedVLM(first_plans=(begin,)),
        profile=load_profile("embedded"),
        settings=AgentSettings(tools=("room_below",)),
    )
    answer = asyncio.run(ask(build_graph("usb_insertion"), context, mode="guide"))
    print(*answer.state["tool_answers"], answer.state["tool_results"], answer.reason, sep="\n")


if __name__ == "__main__":
    main()
