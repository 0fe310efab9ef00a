from dataclasses import replace

import numpy as np
import pytest

from rl.tasks.base import SimulatedTask
from rl.tasks.knot_hanging import KnotHanging
from rl.tasks.towel_folding import TowelFolding
from rl.tasks.usb_insertion import UsbInsertion
from rl.transforms import pose_difference
from rl.types import FloatArray

TASKS: tuple[SimulatedTask, ...] = (UsbInsertion(), KnotHanging(), TowelFolding())


def starts(task: SimulatedTask, count: int = 60) -> FloatArray:
    """Ways from home to each start. Shape (count, 6)."""
    rng = np.random.default_rng(5)
    return np.array([pose_difference(task.home, task.start(rng)) for _ in range(count)])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_scale_of_one_changes_no_bit(task: SimulatedTask) -> None:
    one, other = (np.random.default_rng(1) for _ in range(2))
    np.testing.assert_array_equal(task.start(one), task.sample_start(other))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_scaled_start_lies_further_out_but_no_lower_and_within_the_workspace(task: SimulatedTask) -> None:
    plain, scaled = starts(task), starts(replace(task, start_scale=1.5))
    np.testing.assert_allclose(scaled[:, 5], 1.5 * plain[:, 5], atol=1e-9)
    assert scaled[:, 2].min() >= plain[:, 2].min() - 1e-12
    assert all(task.workspace.contains(task.home[:3, 3] + way[:3]) for way in scaled)
    inside = np.abs(1.5 * plain[:, :2]) < task.workspace.upper[:2] - task.home[:2, 3]
    np.testing.assert_allclose(scaled[:, :2][inside], 1.5 * plain[:, :2][inside], atol=1e-9)


def test_smaller_region_shrinks_on_all_sides() -> None:
    task = UsbInsertion()
    np.testing.assert_allclose(starts(replace(task, start_scale=0.5)), 0.5 * starts(task), atol=1e-9)
