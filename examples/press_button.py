"""A task for a real table, without a scene: `agps train examples/press_button.py:PressButton --robot franka`.

An episode is a success when the operator presses s, or when a classifier says so (`agps reward collect|fit`).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rl.bounds import NotNegative, Positive
from rl.tasks.base import TOOL_DOWN, Camera, Recipe, Task
from rl.transforms import pose
from rl.types import Box, FloatArray


@dataclass(frozen=True, kw_only=True)
class PressButton(Task):
    """Press a button on the table with the closed fingers; 6-D delta poses."""

    name: ClassVar[str] = "press_button"
    instruction: ClassVar[str] = "Press the button."
    operator_reset: ClassVar[str] = "Release the button."
    recipe: ClassVar[Recipe] = Recipe(method="serl", demos=0)

    horizon: int = 60
    gripper_opening: float = 0.0

    button_position: tuple[float, float, float] = (0.5, 0.0, 0.03)
    """Nominal top of the button in the base frame, [m]; a station's [task] table says where it really is."""
    start_height_m: Positive = 0.08
    """Height of the fingertips above the button at the start, [m]."""
    start_xy_m: NotNegative = 0.04
    """Start position is uniform within this of the button in x and y, [m]."""

    @property
    def workspace(self) -> Box:
        """6 cm around the button, down to 4 mm below its top."""
        button = np.array(self.button_position)
        return Box(lower=button - [0.06, 0.06, 0.004], upper=button + [0.06, 0.06, 0.14])

    @property
    def p_tcp_tool(self) -> FloatArray:
        """The fingertips themselves."""
        return np.zeros(3)

    @property
    def home(self) -> FloatArray:
        """Above the button."""
        return pose(np.array(self.button_position) + [0.0, 0.0, self.start_height_m], TOOL_DOWN)

    @property
    def policy_cameras(self) -> tuple[Camera, ...]:
        """One on the hand; the station says where it really sits."""
        place = {"position": (0.085, 0.0, 0.030), "target": (0.0, 0.0, 0.140), "up": (0.0, 0.0, -1.0)}
        return (Camera(name="wrist_1", mount="hand", fovy_deg=42.0, **place),)

    @property
    def agent_cameras(self) -> tuple[Camera, ...]:
        """The same."""
        return self.policy_cameras

    def sample_start(self, rng: np.random.Generator) -> FloatArray:
        """Return a start pose around the button."""
        shift = np.append(rng.uniform(-self.start_xy_m, self.start_xy_m, 2), 0.0)
        return pose(self.home[:3, 3] + shift, TOOL_DOWN)
