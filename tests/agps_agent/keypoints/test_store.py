import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agps_agent.keypoints.store import MarkedImage, MarkedKeypoints, added, check_mark, load_keypoints, save_keypoints
from rl.errors import ConfigError
from rl.types import RGBDFrame
from tests.agps_agent.scenes import LEFT, RIGHT, camera, draw, project


def marked(azimuth: float = 0.0) -> MarkedKeypoints:
    """The drawn port, marked where it is."""
    frame = draw(camera(azimuth))
    left, right = project(frame, np.array([LEFT, RIGHT])).round(2).tolist()
    image = MarkedImage(frame=frame, marks={"port_left": tuple(left), "port_right": tuple(right)})
    return MarkedKeypoints(task="usb_insertion", images=(image,))


def without_depth(frame: RGBDFrame) -> RGBDFrame:
    """A frame without depth in its upper left corner."""
    depth_m = frame.depth_m.copy()
    depth_m[:20, :20] = 0.0
    return replace(frame, depth_m=depth_m)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_keypoints(marked(), tmp_path)
    (loaded,) = load_keypoints(tmp_path).images
    (saved,) = marked().images
    assert dict(loaded.marks) == dict(saved.marks)
    np.testing.assert_array_equal(loaded.frame.rgb, saved.frame.rgb)
    np.testing.assert_allclose(loaded.frame.depth_m, saved.frame.depth_m, atol=6e-5)  # units of 0.1 mm
    np.testing.assert_allclose(loaded.frame.T_base_cam, saved.frame.T_base_cam)


def test_marks_are_added_to_those_of_before(tmp_path: Path) -> None:
    save_keypoints(marked(), tmp_path)
    save_keypoints(added(tmp_path, marked(0.2)), tmp_path)
    both = load_keypoints(tmp_path)
    assert (both.count("port_left"), both.missing(["port_left", "lid"])) == (2, ["lid"])


def test_marks_of_another_task_are_not_mixed(tmp_path: Path) -> None:
    save_keypoints(marked(), tmp_path)
    with pytest.raises(ConfigError, match="are of usb_insertion, not of towel_folding; name another --out"):
        added(tmp_path, MarkedKeypoints(task="towel_folding", images=()))


@pytest.mark.parametrize("uv", [(-1.0, 5.0), (5.0, 480.0), (float("nan"), 5.0)])
def test_mark_outside_of_the_image_is_refused(uv: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="is outside of side, 640 x 480 px"):
        check_mark(draw(camera()), "port_left", uv)


def test_mark_without_depth_is_refused() -> None:
    with pytest.raises(ConfigError, match="no depth at the mark of port_left, .3, 3. in side; mark beside it"):
        check_mark(without_depth(draw(camera())), "port_left", (3.0, 3.0))


DAMAGE = {
    "no json": (lambda folder: (folder / "keypoints.json").write_text("{"), "damaged"),
    "an older version": (lambda folder: edit(folder, version=0), "it is of version 0, this program reads 1"),
    "no task": (lambda folder: edit(folder, task=None, images=3), "damaged"),
    "no image": (lambda folder: (folder / "0000_side.png").unlink(), "damaged"),
    "a cut image": (lambda folder: (folder / "0000_side.png").write_bytes(b"\x89PNG"), "damaged"),
    "no depth": (lambda folder: (folder / "0000_side_depth.png").unlink(), "damaged"),
    "a path as a name": (lambda folder: edit(folder, images=[{"name": "../x"}]), "is no name of an image"),
}


def edit(folder: Path, **changes: object) -> None:
    file = folder / "keypoints.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    save_keypoints(marked(), tmp_path)
    damage, said = DAMAGE[kind]
    damage(tmp_path)
    with pytest.raises(ConfigError, match=said) as refusal:
        load_keypoints(tmp_path)
    assert "mark them again" in str(refusal.value) and "\n" not in str(refusal.value)


def test_folder_without_marks_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no marked keypoints in .*; `agps keypoints mark TASK` makes some"):
        load_keypoints(tmp_path)
