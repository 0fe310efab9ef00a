"""Tasks by name."""

from rl.tasks.base import Camera, Recipe, SceneMjcf, SceneVariation, SoftGrasp, Task
from rl.tasks.knot_hanging import KnotHanging
from rl.tasks.registry import TASK_NAMES, get_task
from rl.tasks.towel_folding import TowelFolding
from rl.tasks.usb_insertion import UsbInsertion

__all__ = [
    "TASK_NAMES",
    "Camera",
    "KnotHanging",
    "Recipe",
    "SceneMjcf",
    "SceneVariation",
    "SoftGrasp",
    "Task",
    "TowelFolding",
    "UsbInsertion",
    "get_task",
]
