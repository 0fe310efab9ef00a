import numpy as np
import pytest

from rl.guard import GuardLimits, guard_target
from rl.transforms import apply_delta, matrix_to_rotvec, pose, pose_difference
from rl.types import Box

DOWN = np.diag([1.0, -1.0, -1.0])
LIMITS = GuardLimits(
    workspace=Box(lower=np.array([0.4, -0.1, 0.0]), upper=np.array([0.6, 0.1, 0.2])),
    max_step_m=0.010,
    max_step_rad=0.06,
    leash_m=0.015,
)
HERE = pose(np.array([0.5, 0.0, 0.1]), DOWN)


def guard(target: np.ndarray, *, ref: np.ndarray = HERE, tcp: np.ndarray = HERE):
    return guard_target(target, T_base_ref=ref, T_base_tcp=tcp, limits=LIMITS)


def test_target_within_every_limit_is_not_changed():
    target = apply_delta(HERE, np.array([0.004, -0.003, 0.002, 0.01, 0.0, 0.02]))
    guarded = guard(target)
    np.testing.assert_allclose(guarded.T_base_tcp, target, atol=1e-12)
    assert guarded.violations == ()


def test_long_step_keeps_its_direction_and_is_shortened():
    guarded = guard(apply_delta(HERE, np.array([0.03, 0.04, 0, 0, 0, 0])))
    np.testing.assert_allclose(guarded.T_base_tcp[:3, 3], [0.506, 0.008, 0.1], atol=1e-12)
    assert guarded.violations == ("step",)


def test_target_outside_the_workspace_stops_at_its_face():
    at_face = pose(np.array([0.599, 0.0, 0.1]), DOWN)
    guarded = guard(apply_delta(at_face, np.array([0.005, 0, 0, 0, 0, 0])), ref=at_face, tcp=at_face)
    np.testing.assert_allclose(guarded.T_base_tcp[:3, 3], [0.6, 0.0, 0.1], atol=1e-12)
    assert guarded.violations == ("workspace",)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_target_that_is_not_finite_holds_the_measured_pose(bad: float):
    target = HERE.copy()
    target[0, 3] = bad
    guarded = guard(target)
    np.testing.assert_allclose(guarded.T_base_tcp, HERE, atol=1e-12)
    assert guarded.violations == ("not_finite",)


def test_reference_that_runs_ahead_of_the_arm_is_leashed():
    ahead = apply_delta(HERE, np.array([0, 0, -0.012, 0, 0, 0]))
    guarded = guard(apply_delta(ahead, np.array([0, 0, -0.010, 0, 0, 0])), ref=ahead)
    np.testing.assert_allclose(HERE[2, 3] - guarded.T_base_tcp[2, 3], LIMITS.leash_m, atol=1e-12)
    assert "leash" in guarded.violations


def test_tilt_is_limited_whatever_the_steps_add_up_to():
    tilted = apply_delta(HERE, np.array([0, 0, 0, 0.34, 0, 0]))
    guarded = guard(apply_delta(tilted, np.array([0, 0, 0, 0.05, 0, 0])), ref=tilted, tcp=tilted)
    tilt = np.linalg.norm(matrix_to_rotvec(guarded.T_base_tcp[:3, :3] @ DOWN.T))
    np.testing.assert_allclose(tilt, LIMITS.max_tilt_rad, atol=1e-9)


def test_no_random_request_ever_leaves_a_limit(rng: np.random.Generator):
    ref = tcp = HERE
    for _ in range(300):
        guarded = guard(apply_delta(ref, rng.normal(scale=0.05, size=6)), ref=ref, tcp=tcp)
        assert LIMITS.workspace.contains(guarded.T_base_tcp[:3, 3])
        assert np.linalg.norm(pose_difference(tcp, guarded.T_base_tcp)[:3]) <= LIMITS.leash_m + 1e-9
        ref = tcp = guarded.T_base_tcp
