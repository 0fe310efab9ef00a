"""Tasks by name."""

from rl.tasks.base import Camera, Recipe, SceneMjcf, SceneVariation, SimulatedTask, SoftGrasp, Subject, Task
from rl.tasks.knot_hanging import KnotHanging
from rl.tasks.registry import TASKS, get_task, load_task
from rl.tasks.towel_folding import TowelFolding
from rl.tasks.usb_insertion import UsbInsertion

__all__ = [
    "TASKS",
    "Camera",
    "KnotHanging",
    "Recipe",
    "SceneMjcf",
    "SceneVariation",
    "SimulatedTask",
    "SoftGrasp",
    "Subject",
    "Task",
    "TowelFolding",
    "UsbInsertion",
    "get_task",
    "load_task",
]
