import math
from dataclasses import replace

import numpy as np
import pytest

from tests.tools.scenes import PORT
from tools.errors import ToolRetry
from tools.targets import NotedKeypoints, halfway, line_yaw, resolve_target


def test_target_is_a_label_two_labels_or_the_middle_of_left_and_right():
    for target in ("port", ("port_left", "port_right")):
        np.testing.assert_allclose(resolve_target(target, PORT), [0.5, 0.0, 0.055], atol=1e-12)
    np.testing.assert_allclose(resolve_target("port_left", PORT), [0.5, -0.01, 0.055], atol=1e-12)


def test_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(ToolRetry, match="known ones: port_left, port_right") as retry:
        resolve_target("socket", PORT)
    assert retry.value.reason == "unknown_keypoint"


def test_fraction_goes_beyond_the_second_of_two_labels():
    target = resolve_target(("port_left", "port_right"), PORT, fraction=1.5)
    np.testing.assert_allclose(target, [0.5, 0.02, 0.055], atol=1e-12)


def test_label_counts_in_any_case():
    np.testing.assert_allclose(resolve_target(("Port Left", "PORT-RIGHT"), PORT), [0.5, 0.0, 0.055], atol=1e-12)
    np.testing.assert_allclose(resolve_target("Port", PORT), [0.5, 0.0, 0.055], atol=1e-12)


def test_pair_gives_the_point_half_way_between():
    (label, middle), *others = halfway(PORT).items()
    assert (label, middle.label, middle.camera, others) == ("port", "port", "side", [])
    np.testing.assert_allclose(middle.xyz, [0.5, 0.0, 0.055])
    assert halfway({**PORT, "port": middle}) == halfway({"port_left": PORT["port_left"]}) == {}


def test_noted_keypoints_tell_what_was_asked_for():
    noted = NotedKeypoints(PORT)
    assert sorted(noted) == ["port_left", "port_right"] and len(noted) == 2 and noted.asked == ()
    resolve_target("Port Right", noted)
    assert noted.asked == ("port_right",)
    assert "hook" not in noted and noted.asked == ("port_right",)
    dict(noted)
    assert noted.asked == ("port_right", "port_left")


@pytest.mark.parametrize(
    ("degrees", "yaw_degrees"),
    [(0, 0), (90, 0), (8, 8), (98, 8), (84, -6), (-172, 8), (278, 8), (44, 44), (46, -44), (91.5, 0)],
)
def test_line_turns_the_tool_from_the_nearer_axis(degrees: float, yaw_degrees: float):
    x, y = 0.01 * np.cos(np.radians(degrees)), 0.01 * np.sin(np.radians(degrees))
    turned = {
        "a": replace(PORT["port_left"], label="a", xyz=np.array([0.5 - x, -y, 0.05])),
        "b": replace(PORT["port_left"], label="b", xyz=np.array([0.5 + x, y, 0.07])),
    }
    assert math.degrees(line_yaw(("a", "b"), turned)) == pytest.approx(yaw_degrees, abs=1e-6)


def test_line_of_two_points_above_each_other_is_refused():
    upright = {**PORT, "top": replace(PORT["port_left"], label="top", xyz=PORT["port_left"].xyz + [0.001, 0.0, 0.03])}
    with pytest.raises(ToolRetry, match="port_left and top lie 1 mm apart.*at least 5 mm"):
        line_yaw(("port_left", "top"), upright)


def test_keypoint_that_only_gives_a_direction_is_not_aimed_at():
    noted = NotedKeypoints({**PORT, **halfway(PORT)})
    line_yaw(("port_left", "Port Right"), noted)
    assert noted.asked == ("port_left", "port_right") and noted.aimed_at == ()
    resolve_target("port", noted)
    resolve_target("port_left", noted)
    assert set(noted.asked) == {"port_left", "port_right", "port"} and set(noted.aimed_at) == {"port", "port_left"}
