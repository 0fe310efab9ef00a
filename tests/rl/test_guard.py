import sys
from collections.abc import Iterator

import numpy as np
import pytest

from rl.errors import ConfigError, HardwareFault
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
    assert guarded.violations == ("not_a_pose",)


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
    assert guarded.violations == ("not_a_pose",)


def test_request_of_another_shape_holds_the_measured_pose():
    assert guard(np.eye(3)).violations == ("not_a_pose",)


def test_rotation_by_half_a_turn_is_taken_in_small_steps():
    turned = pose(HERE[:3, 3], rotvec_to_matrix(np.array([0.0, 0.0, np.pi])) @ DOWN)
    guarded = guard(turned)
    assert guarded.violations == ("rotation_step",)
    angle = np.linalg.norm(pose_difference(HERE, guarded.T_base_tcp)[3:])
    np.testing.assert_allclose(angle, LIMITS.max_step_rad, atol=1e-9)


def test_tcp_outside_the_workspace_comes_back_within_step_and_leash():
    out = pose(np.array([0.68, 0.0, 0.1]), DOWN)  # 80 mm beyond the face at x = 0.6
    guarded = guard(apply_delta(out, np.array([0.005, 0, 0, 0, 0, 0])), ref=out, tcp=out)
    np.testing.assert_allclose(guarded.T_base_tcp[:3, 3], [0.67, 0.0, 0.1], atol=2e-6)
    ahead = pose(np.array([0.672, 0.0, 0.1]), DOWN)
    guarded = guard(ahead, ref=ahead, tcp=out)
    np.testing.assert_allclose(guarded.T_base_tcp[:3, 3], [0.665, 0.0, 0.1], atol=2e-6)
    assert {"workspace", "leash"} <= set(guarded.violations)


def test_tcp_that_is_tilted_too_far_turns_back_within_step_and_leash():
    tilted = apply_delta(HERE, np.array([0, 0, 0, 1.0, 0, 0]))
    guarded = guard(apply_delta(tilted, np.array([0, 0, 0, 0.05, 0, 0])), ref=tilted, tcp=tilted)
    np.testing.assert_allclose(matrix_to_rotvec(guarded.T_base_tcp[:3, :3] @ DOWN.T), [0.94, 0, 0], atol=1e-5)
    ahead = apply_delta(HERE, np.array([0, 0, 0, 0.95, 0, 0]))
    guarded = guard(ahead, ref=ahead, tcp=tilted)
    np.testing.assert_allclose(matrix_to_rotvec(guarded.T_base_tcp[:3, :3] @ DOWN.T), [0.90, 0, 0], atol=1e-5)
    assert "rotation_leash" in guarded.violations


@pytest.mark.parametrize("pushed", [[0.18, 0, 0, 0, 0, 0], [0, 0.04, 0, 0, 0, 0], [0, 0, 0, 0, 0.3, 0]])
def test_arm_that_was_pushed_away_from_its_reference_holds_still(pushed: list[float]):
    tcp = apply_delta(HERE, np.array(pushed))
    guarded = guard(apply_delta(HERE, np.array([0.005, 0, 0, 0, 0, 0])), tcp=tcp)
    np.testing.assert_array_equal(guarded.T_base_tcp, tcp)
    assert guarded.violations[-1] == "hold"


def test_reference_just_off_the_leash_is_pulled_no_further_than_a_step():
    ref = apply_delta(HERE, np.array([0.0, 0.022, 0, 0, 0, 0]))  # 7 mm off: the leash leaves 7.1 mm of the 10 mm step
    guarded = guard(apply_delta(ref, np.array([0.010, 0.0, 0, 0, 0, 0])), ref=ref)
    x, y, _ = guarded.T_base_tcp[:3, 3] - HERE[:3, 3]
    assert x > 0.004
    assert np.hypot(x, y) <= LIMITS.leash_m + 1e-9
    assert np.hypot(x, y - 0.022) <= LIMITS.max_step_m + 1e-9


@pytest.mark.parametrize("wrong", [[0.7, 0, 0.1, 0, 0, 0], [0.605, 0, 0.1, 0, 0, 0], [0.5, 0, 0.1, 0, 0.5, 0]])
def test_what_is_no_pose_moves_no_arm_that_is_outside(wrong: list[float]):
    tcp = apply_delta(pose(np.zeros(3), DOWN), np.array(wrong))
    guarded = guard(np.full((4, 4), np.nan), ref=tcp, tcp=tcp)
    np.testing.assert_array_equal(guarded.T_base_tcp, tcp)
    assert guarded.violations == ("not_a_pose", "hold")


def test_arm_outside_comes_nearer_with_every_step_until_it_is_inside(rng: np.random.Generator):
    for _ in range(20):
        away = rng.choice([-1, 1], 6) * rng.uniform([0.15, 0.0, 0.0, 0.2, 0.2, 0.0], [0.3, 0.3, 0.3, 0.8, 0.8, 0.8])
        tcp = ref = apply_delta(HERE, away)
        for _ in range(200):
            before_m, before_rad = outside_m(tcp), tilt_rad(tcp) - LIMITS.max_tilt_rad
            if before_m == 0.0 and before_rad < 1e-6:
                break
            request = apply_delta(ref, rng.normal(scale=[0.02] * 3 + [0.2] * 3))
            ref = guard(request, ref=ref, tcp=tcp).T_base_tcp
            tcp = apply_delta(tcp, rng.uniform(0.5, 1.0) * pose_difference(tcp, ref))
            assert outside_m(tcp) < before_m or before_m == 0.0 == outside_m(tcp)
            assert tilt_rad(tcp) < max(before_rad, 0.0) + LIMITS.max_tilt_rad + 1e-6
        assert outside_m(tcp) < 1e-4


def test_measured_pose_that_is_none_is_a_fault():
    for damage in (np.nan, np.inf, 1e3):
        tcp = HERE.copy()
        tcp[0, 3] = damage
        with pytest.raises(HardwareFault, match="measures is no pose"):
            guard(HERE, tcp=tcp)


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


def worst_of(target: FloatArray, ref: FloatArray, tcp: FloatArray) -> dict[str, float]:
    """Return by how much a target exceeds each limit; 0 and less: it keeps it."""
    step, lead = pose_difference(ref, target), pose_difference(tcp, target)
    return {
        "step_m": float(np.linalg.norm(step[:3])) - LIMITS.max_step_m,
        "step_rad": float(np.linalg.norm(step[3:])) - LIMITS.max_step_rad,
        "lead_m": float(np.linalg.norm(lead[:3])) - LIMITS.leash_m,
        "lead_rad": float(np.linalg.norm(lead[3:])) - LIMITS.leash_rad,
        "out_m": outside_m(target) - outside_m(tcp),
        "tilt_rad": tilt_rad(target) - max(LIMITS.max_tilt_rad, tilt_rad(tcp)),
    }


def march(rng: np.random.Generator, commands: int) -> dict[str, float]:
    """Send commands of every kind through the guard, check each target, and return the worst of what was seen.

    The arm follows fully, in part, or is pushed anywhere, outside of the workspace and tilted too.
    """
    ref = tcp = HERE
    worst = dict.fromkeys(worst_of(ref, ref, tcp), -np.inf)
    seen = dict.fromkeys(("random", "adversarial", "agent", "held", "outside", "tilted"), 0)
    while seen["random"] + seen["adversarial"] + seen["agent"] < commands:
        kind = ("random", "adversarial", "agent")[rng.integers(3)]
        if kind == "random":
            source = random_commands(rng, ref)
        elif kind == "adversarial":
            source = adversarial_commands(rng, ref)
        else:
            source = agent_commands(rng, ref, tcp)
        for request in source:
            target = guard_target(request, T_base_ref=ref, T_base_tcp=tcp, limits=LIMITS).T_base_tcp
            assert is_pose(target), (request, ref, tcp)
            seen[kind] += 1
            seen["outside"] += outside_m(tcp) > 0
            seen["tilted"] += tilt_rad(tcp) > LIMITS.max_tilt_rad
            if np.array_equal(target, tcp):  # the arm holds still
                seen["held"] += 1
            else:
                excess = worst_of(target, ref, tcp)
                worst = {name: max(worst[name], excess[name]) for name in worst}
                assert max(excess.values()) < 1e-6, (excess, request, ref, tcp)
            ref = target
        tcp = apply_delta(tcp, rng.uniform() * pose_difference(tcp, ref))
        if rng.uniform() < 0.05:
            tcp = apply_delta(HERE, rng.choice([0.2, 1.0, 3.0]) * rng.normal(scale=[0.1] * 3 + [0.3] * 3))
    assert max(worst[name] for name in ("step_m", "lead_m", "out_m")) < 1e-9
    assert min(seen.values()) > commands / 50
    assert seen["held"] < commands / 3
    return {**worst, **seen}


def outside_m(T: FloatArray) -> float:
    return float(np.linalg.norm(T[:3, 3] - LIMITS.workspace.project(T[:3, 3])))


def tilt_rad(T: FloatArray) -> float:
    return float(np.linalg.norm(matrix_to_rotvec(T[:3, :3] @ DOWN.T)))


def test_every_limit_holds_or_the_arm_does_whatever_is_asked_for_from_wherever(rng: np.random.Generator):
    march(rng, 5_000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_limit_holds_or_the_arm_does_in_a_million_commands(
    rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
):
    seen = march(rng, 1_000_000)
    with capsys.disabled():
        sys.stdout.write(f"\n{seen}\n")
