from pathlib import Path

import numpy as np
import pytest

from rl.errors import ConfigError
from tests.tools.scenes import scene
from tools.scene import calibration_hash, load_scene, save_scene


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


@pytest.mark.parametrize("broken", ["scene.json", "side.png", "side_depth.png"])
def test_damaged_or_missing_file_is_one_clear_line(tmp_path: Path, broken: str):
    save_scene(scene(), tmp_path)
    (tmp_path / broken).write_bytes(b"{}")
    with pytest.raises(ConfigError, match="holds no scene"):
        load_scene(tmp_path)
    (tmp_path / broken).unlink()
    with pytest.raises(ConfigError, match="holds no scene"):
        load_scene(tmp_path)
