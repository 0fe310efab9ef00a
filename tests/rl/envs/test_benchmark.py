import pytest

from rl.envs.benchmark import bench_env


@pytest.mark.parametrize(
    ("task", "steps_per_s"), [("usb_insertion", 150), ("knot_hanging", 100), ("towel_folding", 80)]
)
def test_environment_is_fast_enough_with_every_rgbd_camera(task, steps_per_s):
    assert bench_env(task, image_size=128, steps=60)["steps_per_s_rgbd"] >= steps_per_s
