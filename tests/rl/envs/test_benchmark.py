from rl.envs.benchmark import bench_env


def test_environment_makes_150_control_steps_per_second_with_two_rgbd_cameras():
    result = bench_env("usb_insertion", image_size=128, steps=60)
    assert result["cameras"] == 2
    assert result["steps_per_s_rgbd"] >= 150
