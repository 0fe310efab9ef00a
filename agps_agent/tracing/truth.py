"""What the simulator knew when a question was asked: kept beside the question, never shown to the agent."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rl.types import FloatArray

_FILE = "truth.json"


def save_truth(folder: Path, truth: Mapping[str, FloatArray]) -> None:
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
    return {
        str(name): np.array(point, dtype=np.float64)
        for name, point in json.loads(path.read_text(encoding="utf-8")).items()
    }
