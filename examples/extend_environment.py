"""An environment of one's own that the agent can watch: a tool is brought 5 cm above a red mark on a table.

agps train --env examples/extend_environment.py:Hover
agps train --env examples/extend_environment.py:Hover --method agps --vlm http://localhost:8000/v1

The first needs a Gymnasium environment and nothing else. For the second this one offers what
`rl.envs.watchable.Watchable` names.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from rl.transforms import TOOL_DOWN, pose
from rl.types import Box, ByteArray, FloatArray, RGBDFrame, RobotState

CAMERA_M = 0.6
"""Height of the camera above the table, looking straight down, [m]."""
CENTRE = np.array([0.4, 0.0, 0.0])
"""What is in the middle of its image, base frame, [m]."""


class Hover(gymnasium.Env[dict[str, Any], FloatArray]):
    """A point that obeys delta poses at once; 1 for the step that brings it within 2 cm of the place, else 0."""

    prompt = Path(__file__).with_suffix(".md")
    """What the agent is told."""
    workspace = Box(lower=CENTRE - [0.1, 0.1, 0.0], upper=CENTRE + [0.1, 0.1, 0.2])
    action_scale = np.array([0.01] * 3 + [0.06] * 3)

    def __init__(self) -> None:
        """Say what is seen and what can be done."""
        image = spaces.Box(0, 255, (90, 120, 3), np.uint8)
        self.observation_space = spaces.Dict({"top": image, "tcp": spaces.Box(-1.0, 1.0, (3,), np.float64)})
        self.action_space = spaces.Box(-1.0, 1.0, (6,), np.float32)

    @property
    def robot(self) -> RobotState:
        """What an arm would measure: the point, with the tool straight down."""
        return RobotState(
            T_base_tcp=pose(self.tcp, TOOL_DOWN), twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0
        )

    def capture(self, cameras: Collection[str] | None = None) -> tuple[RGBDFrame, ...]:
        """Return what the only camera sees, 320 x 240: colour, distance, and where it is."""
        T_base_cam = pose(CENTRE + [0.0, 0.0, CAMERA_M], TOOL_DOWN)
        rgb, K = self._drawn(240, 320)
        depth_m = np.full(rgb.shape[:2], CAMERA_M, np.float32)
        return (RGBDFrame(name="top", rgb=rgb, depth_m=depth_m, K=K, T_base_cam=T_base_cam),)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Put mark and tool somewhere."""
        super().reset(seed=seed)
        self.mark: FloatArray = CENTRE + [*self.np_random.uniform(-0.08, 0.08, 2), 0.0]
        self.tcp: FloatArray = self.np_random.uniform(self.workspace.lower, self.workspace.upper)
        return self._seen(), {}

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Move by a centimetre per axis at most."""
        self.tcp = self.workspace.project(self.tcp + action[:3] * self.action_scale[:3])
        done = bool(np.linalg.norm(self.tcp - self.mark - [0.0, 0.0, 0.05]) < 0.02)
        return self._seen(), float(done), done, False, {}

    def _seen(self) -> dict[str, Any]:
        return {"top": self._drawn(90, 120)[0], "tcp": self.tcp}

    def _drawn(self, height: int, width: int) -> tuple[ByteArray, FloatArray]:
        """Return the table from above with a red mark and a blue tool, and the camera's intrinsics, [px]."""
        K = np.array([[height, 0.0, (width - 1) / 2], [0.0, height, (height - 1) / 2], [0.0, 0.0, 1.0]])
        rgb = np.full((height, width, 3), 210, np.uint8)
        for point, colour in ((self.mark, (230, 20, 20)), (self.tcp, (20, 60, 230))):
            x, y, z = TOOL_DOWN @ (point - CENTRE - [0.0, 0.0, CAMERA_M])
            column, row = (K[:2, :2] @ [x / z, y / z] + K[:2, 2]).round().astype(int)
            half = height // 20
            rgb[row - half : row + half + 1, column - half : column + half + 1] = colour
        return rgb, K
