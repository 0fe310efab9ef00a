"""Scripted experts that know where things are: they record demonstrations and act through `env.step` only."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.tasks.base import Task
from rl.tasks.knot_expert import KnotExpert
from rl.tasks.knot_hanging import KnotHanging
from rl.tasks.towel_expert import TowelExpert
from rl.tasks.towel_folding import TowelFolding
from rl.tasks.usb_expert import UsbExpert
from rl.tasks.usb_insertion import UsbInsertion
from rl.types import Expert, FloatArray, Observation

_EXPERTS: dict[type[Task], Callable[[Any], Expert]] = {
    KnotHanging: KnotExpert,
    TowelFolding: TowelExpert,
    UsbInsertion: UsbExpert,
}


class Scene(Protocol):
    """Where an expert acts."""

    @property
    def task(self) -> Task:
        """What is to be done."""

    @property
    def knows_truth(self) -> bool:
        """Whether somebody tells where things are."""


def expert_in(scene: Scene) -> Expert:
    """Return the scripted expert for an environment.

    Raises:
        ConfigError: If nobody tells it there where things are, or the task has none.
    """
    if not scene.knows_truth:
        raise ConfigError(
            f"The scripted expert of {scene.task.name} must know where things are, and a real table tells nobody; "
            "use a simulation or an emulated station, or somebody with a device in the hand."
        )
    return make_expert(scene.task)


def make_expert(task: Task) -> Expert:
    """Return the scripted expert of a task.

    Raises:
        ConfigError: If the task has none.
    """
    if type(task) not in _EXPERTS:
        raise ConfigError(f"Task {task.name} has no scripted expert; record demonstrations by teleoperation.")
    return _EXPERTS[type(task)](task)


def mistaken(expert: Expert, landmarks: Collection[str], *, angle_rad: float, distance_m: float) -> Expert:
    """Return an expert that takes some points of the scene to lie beside where they are.

    Args:
        expert: Who acts.
        landmarks: Names of the points.
        angle_rad: Direction in which they are taken to lie, about the vertical, from the base's x axis, [rad].
        distance_m: How far, [m].
    """
    offset = distance_m * np.array([np.cos(angle_rad), np.sin(angle_rad), 0.0])

    def act(observation: Observation, truth: Mapping[str, FloatArray]) -> npt.NDArray[np.float32]:
        believed = {name: point + offset if name in landmarks else point for name, point in truth.items()}
        return expert(observation, believed)

    return act
