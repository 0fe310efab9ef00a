"""What the simulator knew when a question was asked: kept beside the question, never shown to the agent."""

import json
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rl.types import FloatArray
from tools.scene import Scene

_FILE = "truth.json"
Truth = Mapping[str, FloatArray]
"""Named points in the base frame, each (3,), [m]; none for a real robot."""


class Truths:
    """What was true when each scene was captured, as long as somebody holds the scene: most are never asked about."""

    def __init__(self) -> None:
        self._of: dict[int, Truth] = {}

    def note(self, scene: Scene, truth: Truth) -> None:
        """Keep what was true at a scene."""
        key = id(scene)  # scenes hold arrays and cannot be keys
        self._of[key] = truth
        weakref.finalize(scene, self._of.pop, key, None)

    def of(self, scene: Scene) -> Truth:
        """Return what was noted at a scene."""
        return self._of.get(id(scene), {})

    def __len__(self) -> int:
        return len(self._of)


def save_truth(folder: Path, truth: Truth) -> None:
    """Write named points, base frame, (3,), [m], into the folder of a question; nothing when there are none."""
    if truth:
        points = {name: [round(float(value), 6) for value in point] for name, point in truth.items()}
        (folder / _FILE).write_text(json.dumps(points), encoding="utf-8")


def load_truth(folder: Path) -> dict[str, FloatArray]:
    """Return the points beside a question; none for a real robot.

    Raises:
        ValueError: If the file is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        return {}
    points = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(points, dict):
        raise ValueError(f"{_FILE} is no JSON object")
    return {str(name): np.array(point, dtype=np.float64).reshape(3) for name, point in points.items()}
