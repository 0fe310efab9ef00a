import pytest

from rl.envs.benchmark import bench_env
from rl.tasks import get_task
from rl.tasks.registry import TASKS


@pytest.mark.parametrize("task", TASKS.names)
def test_benchmark_times_the_environment_with_every_rgbd_camera(task: str) -> None:
    """How fast it is depends on the computer: `agps bench env` says so."""
    figures = bench_env(task, image_size=64, steps=5)
    assert (figures["task"], figures["steps"], figures["image_size"]) == (task, 5, 64)
    assert figures["cameras"] == len(get_task(task).policy_cameras)
    for figure in ("steps_per_s_rgbd", "steps_per_s_rgb", "wall_steps_per_s", "rgbd_ms", "capture_ms"):
        assert figures[figure] > 0.0
