from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.transforms import pose
from rl.types import Box, FloatArray
from tests.tools.scenes import TOOL, WORKSPACE, scene
from tools.scene import Scene, calibration_hash, load_scene, save_scene


def test_saved_scene_comes_back_with_depth_to_half_a_tenth_of_a_millimetre(tmp_path: Path, rng: np.random.Generator):
    here = scene()
    here.frames["side"].rgb[:] = rng.integers(0, 255, (480, 640, 3))
    here.frames["side"].depth_m[:] = rng.uniform(0, 3, (480, 640))
    save_scene(here, tmp_path / "scene")
    there = load_scene(tmp_path / "scene")
    np.testing.assert_array_equal(there.frames["side"].rgb, here.frames["side"].rgb)
    np.testing.assert_allclose(there.frames["side"].depth_m, here.frames["side"].depth_m, atol=5.1e-5)
    np.testing.assert_array_equal(there.T_base_tcp, here.T_base_tcp)
    np.testing.assert_array_equal(there.workspace.upper, here.workspace.upper)
    assert calibration_hash(there, "side") == calibration_hash(here, "side")


def test_hash_changes_with_the_mounting_but_not_with_the_picture():
    here, other = scene(), scene()
    other.frames["side"].rgb[:] = 0
    assert calibration_hash(other, "side") == calibration_hash(here, "side")
    moved = scene()
    object.__setattr__(moved.frames["side"], "T_base_cam", here.frames["side"].T_base_cam + np.eye(4) * 1e-3)
    assert calibration_hash(moved, "side") != calibration_hash(here, "side")


def test_hash_changes_with_the_workspace_and_with_the_tool():
    here = scene()
    wider = replace(here, workspace=Box(lower=WORKSPACE.lower, upper=WORKSPACE.upper + [0.0, 0.0, 0.001]))
    longer = scene(tool=TOOL + [0.0, 0.0, 0.001])
    assert len({calibration_hash(at, "side") for at in (here, wider, longer)}) == 3


def on_the_hand(tcp: tuple[float, float, float], *, T_tcp_cam: FloatArray) -> Scene:
    """What a camera on the hand sees from there."""
    at = scene(tcp)
    wrist = replace(at.frames["side"], T_base_cam=at.T_base_tcp @ T_tcp_cam, T_mount_cam=T_tcp_cam)
    return replace(at, frames={"side": wrist})


def test_hash_of_a_camera_on_the_hand_stays_while_the_arm_moves():
    T_tcp_cam = pose(np.array([0.085, 0.0, -0.07]))
    here, there = (on_the_hand(tcp, T_tcp_cam=T_tcp_cam) for tcp in [(0.45, 0.05, 0.15), (0.55, 0.0, 0.2)])
    assert calibration_hash(here, "side") == calibration_hash(there, "side")
    bent = on_the_hand((0.45, 0.05, 0.15), T_tcp_cam=pose(np.array([0.086, 0.0, -0.07])))
    assert calibration_hash(bent, "side") != calibration_hash(here, "side")


def test_place_of_a_camera_on_the_hand_is_saved(tmp_path: Path):
    here = on_the_hand((0.45, 0.05, 0.15), T_tcp_cam=pose(np.array([0.085, 0.0, -0.07])))
    save_scene(here, tmp_path)
    assert calibration_hash(load_scene(tmp_path), "side") == calibration_hash(here, "side")


@pytest.mark.parametrize("broken", ["scene.json", "side.png", "side_depth.png"])
def test_damaged_or_missing_file_is_one_clear_line(tmp_path: Path, broken: str):
    save_scene(scene(), tmp_path)
    (tmp_path / broken).write_bytes(b"{}")
    with pytest.raises(ConfigError, match="holds no scene"):
        load_scene(tmp_path)
    (tmp_path / broken).unlink()
    with pytest.raises(ConfigError, match="holds no scene"):
        load_scene(tmp_path)
