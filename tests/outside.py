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

EXAMPLES = Path(__file__).parents[1] / "examples"


def write_simulated(folder: Path) -> str:
    """Write a task with a scene but no expert; return its reference."""
    (folder / "slow.py").write_text(SIMULATED, encoding="utf-8")
    return f"{folder}/slow.py:SlowUsb"


def write_real(folder: Path) -> str:
    """Write a task for a real table; return its reference."""
    (folder / "button.py").write_text((EXAMPLES / "press_button.py").read_text(encoding="utf-8"), encoding="utf-8")
    return f"{folder}/button.py:PressButton"
