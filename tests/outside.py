"""Tasks that nobody has installed, as somebody would write them: files that the tests make."""

import sys
import tomllib
from pathlib import Path

import pytest

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

WORDLESS = '''
import numpy as np

from rl.tasks import SceneMjcf, SimulatedTask, UsbInsertion

usb = UsbInsertion()


class Wordless(SimulatedTask):
    """The scene of USB insertion as somebody writes a task who has not read much: no dataclass, no fields, no words."""

    name, instruction = "wordless", "Do it."
    workspace, p_tcp_tool, home = usb.workspace, usb.p_tcp_tool, usb.home
    policy_cameras, agent_cameras, landmarks = usb.policy_cameras, usb.agent_cameras, usb.landmarks
    sample_start, is_success, scene_mjcf = usb.sample_start, usb.is_success, usb.scene_mjcf

    def __init__(self, horizon: int = 5) -> None:
        super().__init__(horizon=horizon)
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


def write_wordless(folder: Path) -> str:
    """Write a task with a scene, which the agent is told nothing about; return its reference."""
    (folder / "wordless.py").write_text(WORDLESS, encoding="utf-8")
    return f"{folder}/wordless.py:Wordless"


def install(package: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package where pip would: its code and its entry points on the search path."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    meta = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (meta / "entry_points.txt").write_text("\n".join(groups))
    monkeypatch.setattr(sys, "path", [*sys.path, str(site), str(package)])
