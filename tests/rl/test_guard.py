import sys
from collections.abc import Iterator

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.guard import GuardLimits, guard_target, is_pose
from rl.guidance import WaypointFollower
from rl.transforms import apply_delta, matrix_to_rotvec, pose, pose_difference, rotvec_to_matrix
from rl.types import Box, FloatArray, Guide, Observation, RobotState, Waypoint

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


@pytest.mark.parametrize(
    "damage",
    [
        lambda T: T[:3, :3].__imul__(1.01),
        lambda T: T[0, :3].__imul__(-1.0),
        lambda T: T[3].__iadd__(0.5),
        lambda T: T[:3, 3].__iadd__(1e300),
    ],
)
def test_matrix_that_is_no_pose_holds_the_measured_pose(damage):
    target = HERE.copy()
    damage(target)
    guarded = guard(target)
    np.testing.assert_allclose(guarded.T_base_tcp, HERE, atol=1e-12)
    assert guarded.violations == ("not_finite",)


def test_request_of_another_shape_holds_the_measured_pose():
    assert guard(np.eye(3)).violations == ("not_finite",)


def test_rotation_by_half_a_turn_is_taken_in_small_steps():
    turned = pose(HERE[:3, 3], rotvec_to_matrix(np.array([0.0, 0.0, np.pi])) @ DOWN)
    guarded = guard(turned)
    assert guarded.violations == ("rotation_step",)
    angle = np.linalg.norm(pose_difference(HERE, guarded.T_base_tcp)[3:])
    np.testing.assert_allclose(angle, LIMITS.max_step_rad, atol=1e-9)


def test_guard_does_not_write_into_its_arguments():
    target, ref, tcp = (apply_delta(HERE, np.full(6, 0.3)) for _ in range(3))
    copies = [T.copy() for T in (target, ref, tcp)]
    guard(target, ref=ref, tcp=tcp)
    for T, copy in zip((target, ref, tcp), copies, strict=True):
        np.testing.assert_array_equal(T, copy)


@pytest.mark.parametrize("name", ["max_step_m", "max_step_rad", "max_tilt_rad", "leash_m", "leash_rad"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_limit_that_is_not_a_positive_number_is_refused(name: str, value: float):
    limits = {"workspace": LIMITS.workspace, "max_step_m": 0.01, "max_step_rad": 0.1} | {name: value}
    with pytest.raises(ConfigError, match=name):
        GuardLimits(**limits)


def test_workspace_that_is_empty_or_not_finite_is_refused():
    for lower, upper in (([0.4, 0, 0], [0.3, 1, 1]), ([0, 0, -np.inf], [1, 1, 1]), ([0, 0, np.nan], [1, 1, 1])):
        with pytest.raises(ConfigError, match="workspace"):
            GuardLimits(
                workspace=Box(lower=np.array(lower, float), upper=np.array(upper, float)),
                max_step_m=0.01,
                max_step_rad=0.1,
            )


def test_station_and_task_allow_what_both_allow():
    station = Box(lower=np.array([0.45, -0.5, 0.05]), upper=np.array([0.9, 0.05, 0.15]))
    common = LIMITS.on_station(station).workspace
    np.testing.assert_allclose(common.lower, [0.45, -0.1, 0.05])
    np.testing.assert_allclose(common.upper, [0.6, 0.05, 0.15])


def test_station_without_room_for_the_task_says_along_which_axis():
    station = Box(lower=np.array([0.4, 0.3, 0.0]), upper=np.array([0.6, 0.5, 0.2]))
    with pytest.raises(ConfigError, match=r"share 0.000 m along y"):
        LIMITS.on_station(station)


def test_step_times_rate_is_a_speed_that_the_station_limits():
    limits = LIMITS.on_station(LIMITS.workspace, rate_hz=10.0, max_speed_m_s=0.05, max_speed_rad_s=0.3)
    np.testing.assert_allclose([limits.max_step_m, limits.max_step_rad], [0.005, 0.03])


def test_speed_shortens_the_steps():
    limits = LIMITS.on_station(LIMITS.workspace, speed=0.2)
    np.testing.assert_allclose([limits.max_step_m, limits.max_step_rad], [0.002, 0.012])
    for speed in (0.0, 1.1, -1.0, np.nan):
        with pytest.raises(ConfigError, match="speed"):
            LIMITS.on_station(LIMITS.workspace, speed=speed)


NASTY = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 2.2e-308, 1e-9, np.pi, -np.pi, 1e3]


def random_commands(rng: np.random.Generator, ref: FloatArray) -> Iterator[FloatArray]:
    """Yield what a policy may ask for: steps of every size, now and then into infinity."""
    for scale, step in zip(10.0 ** rng.uniform(-4, 1, 10), rng.normal(size=(10, 6)), strict=True):
        yield apply_delta(ref, scale * step)


def adversarial_commands(rng: np.random.Generator, ref: FloatArray) -> Iterator[FloatArray]:
    """Yield what no program should ask for: entries that are no numbers, huge, denormal; half turns; sheared frames."""
    for _ in range(6):
        T = apply_delta(ref, rng.normal(scale=0.05, size=6))
        rows, columns = rng.integers(0, 4, 2), rng.integers(0, 4, 2)
        T[rows, columns] = rng.choice(NASTY, 2)
        yield T
    axis = rng.normal(size=3)
    half_turn = rotvec_to_matrix(np.pi * axis / np.linalg.norm(axis))
    yield pose(ref[:3, 3], half_turn @ ref[:3, :3])
    yield pose(rng.uniform(-2, 2, 3), half_turn)
    yield ref * (1 + rng.normal(scale=1e-5))
    yield rng.normal(scale=10.0 ** rng.uniform(-300, 300), size=(4, 4))


def agent_commands(rng: np.random.Generator, ref: FloatArray, tcp: FloatArray) -> Iterator[FloatArray]:
    """Yield what the follower makes of an agent's waypoints, wherever those are."""
    waypoints = tuple(
        Waypoint(
            T_base_tcp=pose(
                rng.choice([1.0, 1e3]) * rng.uniform(-1, 1, 3),
                rotvec_to_matrix(rng.uniform(-np.pi, np.pi, 3)),
            ),
            gripper_opening=float(rng.uniform()),
            motion=("free", "guarded", "search")[rng.integers(3)],
            max_step_m=float(10.0 ** rng.uniform(-4, 2)),
            push_m=float(rng.uniform(0, 0.1)),
        )
        for _ in range(3)
    )
    scale = np.array([0.01] * 3 + [0.06] * 3)
    follower = WaypointFollower(Guide(waypoints=waypoints, max_steps=20), action_scale=scale)
    wrench = rng.normal(scale=5, size=6)
    robot = RobotState(T_base_tcp=tcp, twist=rng.normal(scale=0.01, size=6), wrench=wrench, gripper_opening=0.5)
    observation = Observation(images={}, state=np.zeros(19, np.float32), robot=robot, T_base_ref=ref, step=0)
    for _ in range(10):
        action = follower.next_action(observation)
        if action is None:
            return
        yield apply_delta(ref, action[:6] * scale)


def march(rng: np.random.Generator, commands: int) -> dict[str, float]:
    """Send commands of every kind through the guard, check each target, and return the worst of what was seen.

    The arm follows fully, in part, or is pushed anywhere, outside the workspace too.
    """
    low, high = LIMITS.workspace.lower, LIMITS.workspace.upper
    ref = tcp = HERE
    sent, worst_tilt, worst_step, worst_lead = 0, 0.0, 0.0, 0.0
    kinds = dict.fromkeys(("random", "adversarial", "agent"), 0)
    while sent < commands:
        kind = ("random", "adversarial", "agent")[rng.integers(3)]
        if kind == "random":
            source = random_commands(rng, ref)
        elif kind == "adversarial":
            source = adversarial_commands(rng, ref)
        else:
            source = agent_commands(rng, ref, tcp)
        for request in source:
            target = guard_target(request, T_base_ref=ref, T_base_tcp=tcp, limits=LIMITS).T_base_tcp
            sent += 1
            kinds[kind] += 1
            position = target[:3, 3]
            assert (low <= position).all() and (position <= high).all(), (request, ref, tcp)
            assert is_pose(target), (request, ref, tcp)
            cosine = 0.5 * (np.trace(target[:3, :3] @ DOWN.T) - 1.0)
            worst_tilt = max(worst_tilt, float(np.arccos(min(cosine, 1.0))))
            if inside(tcp) and np.linalg.norm(tcp[:3, 3] - ref[:3, 3]) < LIMITS.leash_m:
                worst_step = max(worst_step, float(np.linalg.norm(position - ref[:3, 3])))
                worst_lead = max(worst_lead, float(np.linalg.norm(position - tcp[:3, 3])))
            ref = target
        tcp = apply_delta(tcp, rng.uniform() * pose_difference(tcp, ref))
        if rng.uniform() < 0.02:
            tcp = apply_delta(HERE, rng.normal(scale=[0.1] * 3 + [0.3] * 3))
    assert worst_tilt <= LIMITS.max_tilt_rad + 1e-6
    assert worst_step <= LIMITS.max_step_m + 1e-9
    assert worst_lead <= LIMITS.leash_m + 1e-9
    assert min(kinds.values()) > commands / 10
    return {"worst_tilt_rad": worst_tilt, "worst_step_m": worst_step, "worst_lead_m": worst_lead, **kinds}


def inside(T: FloatArray) -> bool:
    return LIMITS.workspace.contains(T[:3, 3])


def test_no_target_leaves_the_bounds_whatever_is_asked_for(rng: np.random.Generator):
    march(rng, 20_000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_target_leaves_the_bounds_in_a_million_commands(
    rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
):
    seen = march(rng, 1_000_000)
    with capsys.disabled():
        sys.stdout.write(f"\n{seen}\n")
