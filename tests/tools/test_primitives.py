import numpy as np
import pytest

from rl.types import FloatArray, Waypoint
from tests.tools.scenes import TOOL, scene
from tools import primitives
from tools.errors import ToolRetry

PORT = np.array([0.5, 0.0, 0.055])


def tip(waypoint: Waypoint) -> FloatArray:
    return waypoint.T_base_tcp[:3, 3] + waypoint.T_base_tcp[:3, :3] @ TOOL


def test_grasp_and_release_stay_where_the_arm_is():
    (closed,), (opened,) = primitives.grasp(scene()), primitives.release(scene())
    assert (closed.gripper_opening, opened.gripper_opening) == (0.0, 1.0)
    np.testing.assert_array_equal(closed.T_base_tcp, scene().T_base_tcp)


def test_lift_goes_straight_up():
    (up,) = primitives.lift(scene((0.45, 0.05, 0.15)), 0.02)
    np.testing.assert_allclose(up.T_base_tcp[:3, 3], [0.45, 0.05, 0.17], atol=1e-12)


def test_move_delta_moves_in_base_axes_and_turns_about_the_tip():
    (there,) = primitives.move_delta(scene((0.45, 0.05, 0.15)), (0.01, -0.02, 0.0), yaw_rad=0.1)
    np.testing.assert_allclose(tip(there), [0.46, 0.03, 0.12], atol=1e-12)
    assert there.T_base_tcp[1, 0] == pytest.approx(np.sin(0.1))


def test_translate_brings_the_tip_not_the_tcp_above_the_target():
    (there,) = primitives.translate(scene(), PORT, height_m=0.006, yaw_rad=0.05)
    np.testing.assert_allclose(tip(there), [0.5, 0.0, 0.061], atol=1e-12)
    np.testing.assert_allclose(there.T_base_tcp[2], [0, 0, -1, 0.091], atol=1e-12)


def test_translate_from_below_goes_up_first():
    up, across = primitives.translate(scene((0.48, 0.0, 0.08)), PORT)
    np.testing.assert_allclose(tip(up), [0.48, 0.0, 0.061], atol=1e-12)
    np.testing.assert_allclose(tip(across), [0.5, 0.0, 0.061], atol=1e-12)


def test_guarded_descent_is_commanded_below_its_target_but_not_below_the_workspace():
    (down,) = primitives.descend(scene(), PORT)
    assert down.motion == "guarded"
    np.testing.assert_allclose(tip(down), [0.5, 0.0, 0.051], atol=1e-12)
    (floor,) = primitives.descend(scene(), [0.5, 0.0, 0.041])
    np.testing.assert_allclose(tip(floor), [0.5, 0.0, 0.040], atol=1e-12)


def test_free_descent_ends_at_its_height():
    (down,) = primitives.descend(scene(), PORT, height_m=0.01, guarded=False)
    assert down.motion == "free"
    np.testing.assert_allclose(tip(down), [0.5, 0.0, 0.065], atol=1e-12)


def test_pre_grasp_opens_the_gripper():
    waypoints = primitives.pre_grasp(scene(), PORT)
    assert [w.gripper_opening for w in waypoints] == [1.0]


def test_spiral_grows_by_its_pitch_in_equal_steps():
    points = primitives.spiral(0.004, 0.0016, 0.0013)
    radius = np.linalg.norm(points, axis=1)
    angle = np.unwrap(np.arctan2(points[:, 1], points[:, 0]))
    np.testing.assert_allclose(radius, 0.0016 * angle / (2 * np.pi), atol=1e-9)
    assert radius.max() <= 0.004
    assert len(points) == 24  # pi R^2 / pitch = 31.4 mm of way, 1.3 mm each
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert np.all(steps <= 0.0013) and np.all(steps[3:] > 0.00125)


def test_search_goes_straight_in_else_spirals_with_a_push_then_presses_in():
    waypoints = primitives.search(scene(), PORT, pitch_m=0.0016, depth_m=0.012)
    n = len(primitives.spiral(0.004, 0.0016, primitives.SEARCH_ARC_M))
    assert [w.motion for w in waypoints] == ["guarded", *["search"] * n, "free"]
    assert {w.push_m for w in waypoints[1:-1]} == {0.0014}
    np.testing.assert_allclose([tip(w)[2] for w in waypoints[1:-1]], 0.055, atol=1e-12)
    for straight_in in (waypoints[0], waypoints[-1]):
        np.testing.assert_allclose(tip(straight_in), [0.5, 0.0, 0.043], atol=1e-12)


def test_target_outside_the_workspace_says_by_how_much_and_what_to_ask_for():
    with pytest.raises(ToolRetry, match=r"is 11\.0 mm outside the workspace along \+x; ask for x <= 0\.600 m") as retry:
        primitives.descend(scene(), [0.611, -0.08, 0.06])
    assert retry.value.reason == "outside_workspace"
    with pytest.raises(
        ToolRetry, match=r"along -z; ask for z >= 0\.040 m"
    ):  # the TCP's floor is 0.070, the tip's 0.040
        primitives.descend(scene(), [0.5, 0.0, 0.03])


def test_lift_through_the_ceiling_is_refused_not_clipped():
    with pytest.raises(ToolRetry, match=r"ask for z <= 0\.220 m"):
        primitives.lift(scene((0.45, 0.05, 0.24)), 0.02)


@pytest.mark.parametrize(
    "call",
    [
        lambda s: primitives.lift(s, -0.01),
        lambda s: primitives.lift(s, np.nan),
        lambda s: primitives.move_delta(s, (0.2, 0, 0)),
        lambda s: primitives.move_delta(s, (np.nan, 0, 0)),
        lambda s: primitives.move_delta(s, "up"),
        lambda s: primitives.move_delta(s, (0, 0, 0.01), yaw_rad=2.0),
        lambda s: primitives.translate(s, PORT, height_m=-0.001),
        lambda s: primitives.translate(s, PORT, yaw_rad=np.nan),
        lambda s: primitives.descend(s, PORT, height_m=np.inf),
        lambda s: primitives.search(s, PORT, radius_m=0.05),
        lambda s: primitives.search(s, PORT, pitch_m=0.0),
        lambda s: primitives.search(s, PORT, push_m=0.01),
        lambda s: primitives.search(s, PORT, depth_m=-0.01),
        lambda s: primitives.search(s, [0.598, 0.0, 0.06], radius_m=0.008),
    ],
)
def test_values_out_of_range_can_be_fixed(call):
    with pytest.raises(ToolRetry, match="out of range|not a point|exceeds|outside"):
        call(scene())
