"""What a station says about an FR3 and its hand."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from rl.bounds import NotNegative, Positive, Whole, check_bounds
from rl.errors import ConfigError
from rl.robots.panda import JOINT_LIMITS


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """The FR3, and how hard it may push."""

    ip: str
    """Address of the control box, or of an emulator."""
    realtime: Literal["enforce", "ignore"] = "enforce"
    """`enforce` refuses a kernel without PREEMPT_RT; `ignore` is for emulators and trials."""
    max_contact_force_N: Annotated[float, Interval(gt=0, le=60)] = 20.0
    """Steady force that the impedance can exert: the error clip is this divided by the stiffness, [N]."""
    max_contact_torque_Nm: Annotated[float, Interval(gt=0, le=12)] = 3.0
    """Steady torque that the impedance can exert, [N m]."""
    stop_force_factor: Annotated[float, Interval(ge=1, le=3)] = 2.0
    """Measured force, as a multiple of `max_contact_force_N`, at which the arm stops when it lasts for 50 ms."""
    translational_stiffness: Annotated[float, Interval(gt=0, le=4_000)] = 2000.0
    """[N/m] (HIL-SERL: 2000)."""
    rotational_stiffness: Annotated[float, Interval(gt=0, le=300)] = 150.0
    """[N m/rad] (HIL-SERL: 150)."""
    translational_damping: NotNegative = 89.0
    """[N s/m] (HIL-SERL: 89)."""
    rotational_damping: NotNegative = 7.0
    """[N m s/rad] (HIL-SERL: 7)."""
    nullspace_stiffness: NotNegative = 2.0
    """Pull towards `home_q` in the null space, [N m/rad]."""
    home_q: tuple[float, ...] = (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398)
    """Posture of joint resets, and of the null space. Shape (7,), [rad]."""
    joint_reset_every: Whole = 200
    """Episodes from one joint reset to the next; 0: never."""
    speed: Positive = 0.1
    """Fraction of the arm's own limits in joint and reset motions, at most 0.3."""
    load_kg: NotNegative = 0.0
    """Mass on the flange beyond what Desk knows, e.g. wrist cameras, [kg]; 0: as Desk says."""
    load_com_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Its centre of mass in the flange frame, [m]."""
    max_recoveries_per_hour: Whole = 3
    """Reflexes and lost connections that are recovered without asking; after that a person has to."""
    max_force_stops_per_hour: Whole = 30
    """Stops at the force limit, likewise. The box is in no error then, and a policy that explores contact meets the
    limit now and then: in 2 to 3 % of the rollouts of USB insertion."""
    resting_force_N: Positive = 5.0
    """Largest force that the arm may feel at rest before it is tared: more is a load that it does not know of, [N]."""

    def __post_init__(self) -> None:
        """Refuse what no arm can be driven with."""
        check_bounds(self, "arm.{}".format)
        low, high = JOINT_LIMITS.T
        if len(self.home_q) != len(low) or not all(a <= q <= b for a, q, b in zip(low, self.home_q, high, strict=True)):
            raise ConfigError(
                f"arm.home_q is {list(self.home_q)}; give seven joint angles within the arm's limits, in radians."
            )


@dataclass(frozen=True, kw_only=True)
class GripperConfig:
    """The Franka Hand."""

    enabled: bool = True
    """False: nothing is sent to the gripper."""
    max_width_m: Positive = 0.08
    """Distance of the fingers that counts as an opening of 1, [m]."""
    speed_m_s: Positive = 0.1
    force_N: Positive = 40.0
    """Grasp force, [N]."""
    debounce_s: NotNegative = 0.6
    """Shortest time between two commands (HIL-SERL: 0.6), [s]."""

    def __post_init__(self) -> None:
        """Refuse what no gripper can be driven with."""
        check_bounds(self)
