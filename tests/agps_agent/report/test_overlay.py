from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from agps_agent.overlay import WAY, draw_answer, project
from tests.agps_agent.report.synthetic import make_scene
from tools.perception import deproject
from tools.scene import save_scene


def test_projection_undoes_deprojection(rng: np.random.Generator) -> None:
    frame = make_scene(rng).frames["side"]
    uv = np.array([[160.0, 120.0], [200.0, 60.0]])
    points = deproject(uv, frame.depth_m, frame.K, frame.T_base_cam)
    np.testing.assert_allclose(project(points, frame.K, frame.T_base_cam), uv, atol=1e-6)


def test_points_behind_the_camera_have_no_pixel(rng: np.random.Generator) -> None:
    frame = make_scene(rng).frames["side"]
    assert np.all(np.isnan(project(np.array([[0.4, 0.0, 0.9]]), frame.K, frame.T_base_cam)))


def test_way_of_the_tip_is_drawn_where_it_goes(tmp_path: Path, rng: np.random.Generator) -> None:
    scene = make_scene(rng)
    save_scene(scene, tmp_path / "scene")
    target = scene.T_base_tcp.copy()
    target[:3, 3] = (0.45, 0.0, 0.03)  # the tip ends on the optical axis
    image = draw_answer(tmp_path, {"kind": "guide", "waypoints": [{"T_base_tcp": target.tolist()}]})
    assert image is not None
    drawn = np.all(np.array(image) == WAY, axis=2)
    assert drawn[115:126, 155:166].any() and not drawn[:, 215:].any()


def test_answer_is_drawn_in_the_view_that_showed_the_keypoints(tmp_path: Path, rng: np.random.Generator) -> None:
    scene = make_scene(rng)
    turned = replace(scene.frames["side"], name="wrist", K=scene.frames["side"].K - [[0, 0, 100], [0, 0, 0], [0, 0, 0]])
    save_scene(replace(scene, frames={**scene.frames, "wrist": turned}), tmp_path / "scene")
    Image.fromarray(turned.rgb).save(tmp_path / "annotated.png")
    (tmp_path / "intervention.json").write_text('{"keypoints": [{"camera": "wrist"}]}')
    target = scene.T_base_tcp.copy()
    target[:3, 3] = (0.45, 0.0, 0.03)  # the optical axis, at u = 60 in this view
    image = draw_answer(tmp_path, {"kind": "guide", "waypoints": [{"T_base_tcp": target.tolist()}]})
    drawn = np.all(np.array(image) == WAY, axis=2)
    assert drawn[115:126, 55:66].any() and not drawn[:, 125:].any()


def test_question_without_a_scene_has_no_image(tmp_path: Path) -> None:
    assert draw_answer(tmp_path, {"kind": "none"}) is None
