"""Straight lines of an arm that follows at once, late, or not at all; and the words for faults."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.guard import GuardLimits
from rl.robots import panda
from rl.robots.franka.faults import ArmFault, lost, reason, stopped_itself
from rl.robots.franka.motions import check_way
from rl.robots.franka.state import ArmState
from rl.robots.real.line import MAX_SPEED_M_S, PERIOD_S, TURN_RAD_S, corners, follow_line, place
from rl.tasks import get_task
from rl.transforms import apply_delta, pose, pose_difference
from rl.types import Box, FloatArray
from tests.clocks import MovedClock

LIMITS: GuardLimits = get_task("usb_insertion").guard
START = pose(0.5 * (LIMITS.workspace.lower + LIMITS.workspace.upper))


@dataclass(frozen=True)
class SleptClock(MovedClock):
    """Whoever sleeps moves it."""

    def sleep(self, duration_s: float) -> None:
        self.move(max(0.0, duration_s))


class Arm:
    """Stands where it was told to, `off_m` short of it along x, or at its start."""

    limits = LIMITS

    def __init__(self, *, off_m: float = 0.0, stuck: bool = False) -> None:
        self.off_m, self.stuck = off_m, stuck
        self.targets: list[FloatArray] = []

    def command(self, T_base_target: FloatArray) -> FloatArray:
        self.targets.append(T_base_target)
        return T_base_target

    def measure(self) -> ArmState:
        T = START.copy() if self.stuck else self.targets[-1].copy()
        T[0, 3] -= self.off_m
        return ArmState(
            T_base_tcp=T,
            twist=np.zeros(6),
            wrench=np.zeros(6),
            q=np.zeros(7),
            time_s=0.0,
            robot_time_s=0.0,
            success_rate=1.0,
        )


def end(*way: float) -> FloatArray:
    return apply_delta(START, np.array([*way, *[0.0] * (6 - len(way))]))


def follow(arm: Arm, T: FloatArray, speed_m_s: float = 0.1) -> tuple[str, float]:
    """What is said, and how long it took, [s]."""
    clock = SleptClock()
    began_s = clock.now()
    return follow_line(arm, T, T_start=START, speed_m_s=speed_m_s, clock=clock), clock.now() - began_s


@pytest.mark.parametrize(("speed_m_s", "duration_s"), [(0.1, 0.2), (0.2, 0.1), (0.05, 0.4)])
def test_line_takes_as_long_as_its_speed_says(speed_m_s: float, duration_s: float) -> None:
    """19 mm at 0.1 m/s are 0.19 s: four targets, one every 50 ms."""
    arm = Arm()
    said, took_s = follow(arm, end(0.019), speed_m_s)
    assert said == "" and took_s == pytest.approx(duration_s)
    assert len(arm.targets) == round(duration_s / PERIOD_S) + 1  # and once more at its end


def test_slow_turn_decides_where_it_takes_longer() -> None:
    """0.24 rad at 0.5 rad/s are 0.48 s, ten targets, whatever the speed of the way."""
    _, took_s = follow(Arm(), end(0.001, 0, 0, 0, 0, 0.24), MAX_SPEED_M_S)
    assert took_s == pytest.approx(10 * PERIOD_S) and took_s >= 0.24 / TURN_RAD_S


def test_targets_are_evenly_spaced_on_the_straight_line() -> None:
    arm = Arm()
    follow(arm, end(0.02, 0.01, -0.02, 0.0, 0.1, 0.1))
    ways = np.array([pose_difference(START, T) for T in arm.targets[:-1]])
    steps = np.diff(ways, axis=0, prepend=np.zeros((1, 6)))
    np.testing.assert_allclose(steps, np.tile(steps[0], (len(steps), 1)), atol=1e-12)
    np.testing.assert_allclose(arm.targets[-1], end(0.02, 0.01, -0.02, 0.0, 0.1, 0.1), atol=1e-12)


def test_arm_that_is_at_the_end_already_needs_one_target() -> None:
    arm = Arm()
    assert follow(arm, START)[0] == "" and len(arm.targets) == 2


@pytest.mark.parametrize(("off_m", "there"), [(0.002, True), (0.010, True), (0.016, False), (0.050, False)])
def test_friction_is_borne_and_an_obstacle_told(off_m: float, there: bool) -> None:
    said, took_s = follow(Arm(off_m=off_m), end(0.02))
    assert (said == "") is there
    assert there or f"The arm stands {1000 * off_m:.0f} mm and 0 degrees from TCP position" in said
    assert (took_s > 4.0) is (off_m >= 0.003)  # it waits for what may still come


def test_arm_that_does_not_move_is_told_after_its_time() -> None:
    said, _ = follow(Arm(stuck=True), end(0.03))
    assert said.startswith("The arm stands 30 mm and 0 degrees") and said.endswith("something is in its way.")


@pytest.mark.parametrize("speed_m_s", [0.0, -0.1, 0.2501, float("nan")])
def test_speed_out_of_its_range_is_refused_before_a_target_is_set(speed_m_s: float) -> None:
    arm = Arm()
    with pytest.raises(ConfigError, match="ask for more than 0 and at most 0.25"):
        follow(arm, end(0.01), speed_m_s)
    assert arm.targets == []


@pytest.mark.parametrize("way", [(9.0, 0, 0), (0, -9.0, 0), (0, 0, 9.0), (float("nan"), 0, 0)])
def test_end_outside_the_workspace_is_refused_before_a_target_is_set(way: tuple[float, ...]) -> None:
    arm = Arm()
    with pytest.raises(ConfigError, match="is outside the workspace .* to .*; go elsewhere"):
        follow(arm, end(*way))
    assert arm.targets == []


def test_end_on_the_very_edge_is_inside() -> None:
    T = START.copy()
    T[2, 3] = LIMITS.workspace.lower[2] - 1e-9  # rounding of whoever projected it
    assert follow(Arm(), T)[0] == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("libfranka: Connection refused.\nat network.cpp:3"), "Connection refused"),
        (RuntimeError("  Net Exception  "), "Net Exception"),
        (RuntimeError(""), "RuntimeError"),
        (TimeoutError("\n"), "TimeoutError"),
    ],
)
def test_reason_is_the_first_line_without_the_librarys_name(error: Exception, words: str) -> None:
    assert reason(error) == words
    assert f"The connection to the arm at 172.16.0.2 was lost ({words}); check the cable" in lost("172.16.0.2", error)


def test_stop_at_the_force_limit_is_told_in_numbers() -> None:
    said = stopped_itself("force", force_N=43.26, limit_N=40.0, stop_s=0.126)
    assert "reached 43.3 N, above the limit of 40 N" in said and "stood 0.13 s later. Clear the contact." in said
    assert "Python did not answer for 1.0 s" in stopped_itself("dead man", force_N=0.0, limit_N=40.0, stop_s=None)


def test_only_a_stop_at_the_force_limit_has_a_time_to_rest() -> None:
    assert ArmFault("pushed", stop_s=0.0).force
    assert not ArmFault("gone", network=True).force and ArmFault("gone", network=True).network


def test_places_are_told_to_the_millimetre() -> None:
    assert place(pose(np.array([0.5, -0.0304, 0.1]))) == "TCP position (0.500, -0.030, 0.100) m"
    box = Box(lower=np.array([0.4, -0.1, 0.0]), upper=np.array([0.6, 0.1, 0.25]))
    assert corners(box) == "(0.400, -0.100, 0.000) to (0.600, 0.100, 0.250)"


HOME_Q = np.array(panda.HOME_Q)
ROOM = Box(lower=np.array([0.2, -0.3, 0.2]), upper=np.array([0.6, 0.3, 0.8]))


class Model:
    """The kinematics of the arm, as the client library asks for them."""

    def pose(self, frame: Any, q: FloatArray, *_: Any) -> Any:
        return SimpleNamespace(matrix=panda.forward_kinematics(np.asarray(q))[0])


def way_to(q_to: FloatArray, *, workspace: Box = ROOM, slack_m: float = 0.02) -> None:
    robot = SimpleNamespace(state=SimpleNamespace(F_T_EE=None, EE_T_K=None), model=Model())
    franky = SimpleNamespace(Frame=SimpleNamespace(EndEffector="tcp"))
    check_way(franky, robot, HOME_Q, q_to, workspace=workspace, slack_m=slack_m)


def test_joint_motion_inside_the_workspace_is_free() -> None:
    way_to(HOME_Q)
    way_to(HOME_Q + np.array([0.1, 0, 0, 0, 0, 0, 0.3]))


@pytest.mark.parametrize("q", [HOME_Q[:6], HOME_Q * np.nan, np.zeros((7, 1))])
def test_what_is_no_posture_is_refused(q: FloatArray) -> None:
    with pytest.raises(ConfigError, match="seven finite joint angles"):
        way_to(q)


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("side", [0, 1])
def test_posture_beyond_a_joints_range_is_refused(joint: int, side: int) -> None:
    q = HOME_Q.copy()
    q[joint] = panda.JOINT_LIMITS[joint, side] + (-0.01, 0.01)[side]
    with pytest.raises(ConfigError, match="is outside the joint ranges"):
        way_to(q)


def test_way_that_leaves_the_workspace_in_its_middle_is_refused() -> None:
    """Half a turn of the base swings the TCP from the left to the right through x = 0.31 m."""
    q_from, q_to = HOME_Q.copy(), HOME_Q.copy()
    q_from[0], q_to[0] = -1.2, 1.2
    narrow = Box(lower=np.array([0.0, -0.4, 0.2]), upper=np.array([0.25, 0.4, 0.8]))
    robot = SimpleNamespace(state=SimpleNamespace(F_T_EE=None, EE_T_K=None), model=Model())
    franky = SimpleNamespace(Frame=SimpleNamespace(EndEffector="tcp"))
    with pytest.raises(ConfigError, match=r"would pass TCP position .* mm outside the workspace .*; go nearer first"):
        check_way(franky, robot, q_from, q_to, workspace=narrow, slack_m=0.02)
    check_way(franky, robot, q_from, q_to, workspace=narrow, slack_m=0.08)
