"""Tasks that nobody has installed, as somebody would write them: files that the tests make."""

from pathlib import Path

SIMULATED = '''
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Le

from rl.bounds import NotNegative
from rl.tasks import UsbInsertion


@dataclass(frozen=True, kw_only=True)
class SlowUsb(UsbInsertion):
    """USB insertion without anybody who can show it."""

    name: ClassVar[str] = "slow_usb"
    instruction: ClassVar[str] = "Insert it slowly."
    horizon: int = 12
    patience_s: Annotated[NotNegative, Le(9)] = 2.0
    """How long to wait, [s]."""

    def expert(self):
        return None
'''

REAL = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rl.tasks import Camera, Task
from rl.tasks.base import TOOL_DOWN
from rl.transforms import pose
from rl.types import Box


@dataclass(frozen=True, kw_only=True)
class PressButton(Task):
    """A task that exists on a real table only."""

    name: ClassVar[str] = "press_button"
    instruction: ClassVar[str] = "Press the button."
    horizon: int = 20

    @property
    def workspace(self):
        return Box(lower=np.array([0.4, -0.1, 0.02]), upper=np.array([0.6, 0.1, 0.3]))

    @property
    def p_tcp_tool(self):
        return np.zeros(3)

    @property
    def home(self):
        return pose(np.array([0.5, 0.0, 0.2]), TOOL_DOWN)

    @property
    def policy_cameras(self):
        return (Camera(name="wrist_1", mount="hand", position=(0.08, 0, 0.03), target=(0, 0, 0.14), up=(0, 0, -1),
                       fovy_deg=42.0),)

    @property
    def agent_cameras(self):
        return self.policy_cameras

    def sample_start(self, rng):
        return self.home
'''


def write_simulated(folder: Path) -> str:
    """Write a task with a scene but no expert; return its reference."""
    (folder / "slow.py").write_text(SIMULATED, encoding="utf-8")
    return f"{folder}/slow.py:SlowUsb"


def write_real(folder: Path) -> str:
    """Write a task for a real table; return its reference."""
    (folder / "button.py").write_text(REAL, encoding="utf-8")
    return f"{folder}/button.py:PressButton"
