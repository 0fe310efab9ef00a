"""The FR3 behind FCI: Cartesian impedance tracking at 1 kHz in franky's own thread, targets from here at 10 Hz.

Layers, from the inside out: the control box's collision thresholds; in the 1 kHz thread the error clip (which bounds
the contact force to stiffness x clip), a force reaction and a dead man's switch that stop the arm without Python; here
the guard, a monitor that notices lost control and stale states, and bounded, logged recovery.
"""

import atexit
import logging
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import numpy as np

from rl.errors import ConfigError, HardwareFault
from rl.guard import GuardLimits, guard_target, is_pose
from rl.robots.base import Arm
from rl.robots.clock import REAL_TIME, Clock, check_clock
from rl.robots.franka import faults
from rl.robots.franka.config import ArmConfig
from rl.robots.franka.connection import connect, import_franky
from rl.robots.franka.faults import ArmFault, StopReason
from rl.robots.franka.joints import FrankaJointReset, reaches
from rl.robots.franka.motions import Tracking, check_way
from rl.robots.franka.state import ArmState, Silence
from rl.robots.real.history import PoseHistory
from rl.robots.real.line import corners, follow_line, place
from rl.types import Box, FloatArray

logger = logging.getLogger(__name__)

STALE_S = 0.3
"""Age at which a state of the arm counts as stale: the control box is silent, [s]."""
OUTSIDE_M = 0.03
"""How far outside the workspace the measured TCP may be when the arm starts, [m]."""
_MONITOR_S = 0.02
RENEW_EVERY = 10
"""Rounds of the monitor from one sign of life to the next: 0.2 s."""
_STILL_RAD_S = 0.05
"""Joint speed below which the arm is at rest, [rad/s]."""

Mode = Literal["idle", "tracking", "joints"]


class FrankaArm(Arm):
    """One FR3. Nothing moves before `start`, and leaving the context, by whatever way, stops the arm.

    Every method may be called in any state and from any thread: what does not apply raises `HardwareFault` with the
    reason, and `stop` and `close` never raise. After a fault every command raises it again until `recover`.
    """

    config_class: ClassVar[type[Any]] = ArmConfig
    gripper: ClassVar[str] = "franka"

    def __init__(self, config: ArmConfig, workspace: Box, *, clock: Clock = REAL_TIME) -> None:
        """Connect.

        Args:
            config: Address, gains and limits.
            workspace: Where the TCP may be commanded to, base frame, [m].
            clock: What limits are measured with: the station's.

        Raises:
            ConfigError: If the arm cannot be reached or used from this machine, or the clock is not for this arm.
        """
        check_clock(clock, config.ip)
        self.config, self.clock = config, clock
        self.limits = GuardLimits(
            workspace=workspace, max_step_m=0.05, max_step_rad=0.3, max_tilt_rad=1.6, leash_m=0.05, leash_rad=0.4
        )
        """Of each target, on top of the environment's."""
        self._franky: Any = import_franky()
        self._errors, self._network_errors = faults.errors_of(self._franky), faults.network_errors_of(self._franky)
        self._lock = threading.RLock()
        self._mode: Mode = "idle"
        self._fault: ArmFault | None = None
        self._event: tuple[StopReason, float, float] | None = None
        """What the 1 kHz thread stopped the arm for, the force then, [N], and when, [s]."""
        self._bias: FloatArray = np.zeros(6)
        self._recoveries: defaultdict[bool, deque[float]] = defaultdict(deque)
        """When the arm was recovered within the hour: True, from stops at the force limit; False, from all else."""
        self._history = PoseHistory(poses=int(3.0 / _MONITOR_S), clock=clock)
        self._T_target: FloatArray = np.eye(4)
        self._motion: Any = None
        self._since_renewal = 0
        self._closing = threading.Event()
        self._note = _noter(self)
        self._robot: Any = connect(self._franky, config)
        self._T_target = self.measure().T_base_tcp
        atexit.register(self.close)
        self._monitor = threading.Thread(target=self._watch, name="arm monitor", daemon=True)
        self._monitor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def tracking(self) -> bool:
        """Whether the arm follows targets."""
        return self._mode == "tracking"

    @property
    def fault(self) -> HardwareFault | None:
        """Why control was lost; None if it was not, or after `recover`."""
        return self._fault

    def measure(self) -> ArmState:
        """Return the present measurement.

        Raises:
            HardwareFault: If control or the connection was lost.
        """
        self._check()
        state = self._read()
        T, q = np.array(state.O_T_EE.matrix), np.array(state.q)
        jacobian = self._robot.model.zero_jacobian(self._franky.Frame.EndEffector, state)
        # The box reports what the arm exerts on the world.
        wrench = self._bias - np.array(state.O_F_ext_hat_K)
        if not np.all(np.isfinite(T)) or not np.all(np.isfinite(wrench)):
            raise self._fail("The arm measures values that are not finite; restart the control box.")
        return ArmState(
            T_base_tcp=T,
            twist=np.array(jacobian) @ np.array(state.dq),
            wrench=wrench,
            q=q,
            time_s=self.clock.now(),
            robot_time_s=state.time.to_sec(),
            success_rate=float(state.control_command_success_rate),
        )

    def pose_at(self, time_s: float) -> FloatArray:
        """Return T_base_tcp (4, 4), [m], at a time of the last 3 s, interpolated.

        Raises:
            HardwareFault: If the time is older than that.
        """
        return self._history.at(time_s)

    def tare(self) -> None:
        """Take the wrench of the next 0.2 s as zero.

        Raises:
            HardwareFault: If the arm moves, or carries more than `resting_force_N` that it does not know of.
        """
        self._wait_still(timeout_s=2.0)
        samples = []
        for _ in range(20):
            samples.append(np.array(self._read().O_F_ext_hat_K))
            self.clock.sleep(0.01)
        bias = np.median(samples, axis=0)
        force_N = float(np.linalg.norm(bias[:3]))
        if force_N > self.config.resting_force_N:
            raise self._fail(
                f"The arm feels {force_N:.1f} N at rest, more than {self.config.resting_force_N:g} N "
                "(resting_force_N); free it, and set the mass of tools and cameras in Desk or as arm.load_kg."
            )
        with self._lock:
            self._bias = bias
            if self._mode == "tracking":
                self._track()

    def start(self) -> None:
        """Begin to follow targets, the first of which is the measured pose; nothing if it does already.

        Raises:
            HardwareFault: If the arm is in error, stopped by hand, or outside the workspace.
        """
        with self._lock:
            self._check()
            if self._mode == "tracking":
                return
            state = self.measure()
            self._check_inside(state.T_base_tcp)
            self._check_ready()
            self._T_target = self._guarded_here()
            self._event = None
            self._track()
            self._mode = "tracking"

    def command(self, T_base_target: FloatArray) -> FloatArray:
        """Set the target and return at once what it is after the guard, (4, 4), [m].

        Raises:
            HardwareFault: If control was lost or the arm was stopped.
        """
        self._check()  # before the lock, which a monitor that brakes may hold
        with self._lock:
            self._check_tracking()
            guarded = guard_target(
                T_base_target,
                T_base_ref=self._T_target,
                T_base_tcp=self._here(),
                limits=self.limits,
            )
            if guarded.violations:
                logger.warning("The arm's guard changed a target: %s.", ", ".join(guarded.violations))
            self._T_target = guarded.T_base_tcp
            self._motion.set_target(self._T_target)
            return guarded.T_base_tcp

    def hold(self) -> None:
        """Make the measured pose the target; nothing if the arm does not follow targets."""
        with self._lock:
            if self._mode != "tracking" or self._fault is not None:
                return
            self._T_target = self._guarded_here()
            self._motion.set_target(self._T_target)

    def stop(self) -> None:
        """Bring the arm to rest and give control back; may be called twice and from any thread."""
        with self._lock:
            if self._mode == "tracking" and (self._event is not None or not self._robot.is_in_control):
                self._lost_control()  # it was stopped already: remember why
            self._brake()

    def move_to(self, T_base_tcp: FloatArray, *, speed_m_s: float = 0.1) -> None:
        """Go to a pose in a straight line, by tracking; every target on the way is guarded.

        Args:
            T_base_tcp: Where to go. Shape (4, 4), [m].
            speed_m_s: Speed of the target, at most 0.25; rotation takes its time at 0.5 rad/s, [m/s].

        Raises:
            HardwareFault: If the arm does not get there within 15 mm and 0.1 rad: something is in the way.
            ConfigError: If the pose is outside the workspace, or the speed out of its range.
        """
        self._check_tracking()
        blocked = follow_line(self, T_base_tcp, T_start=self._T_target, speed_m_s=speed_m_s, clock=self.clock)
        if blocked:
            raise self._fail(blocked)

    def move_joints(self, q: FloatArray) -> None:
        """Go to a posture at `config.speed`, if the way between here and there stays in the workspace; blocking.

        Args:
            q: Joint angles. Shape (7,), [rad].

        Raises:
            ConfigError: If the posture, or the way there, leaves the workspace or the joint ranges.
            HardwareFault: If the arm is not where it can start from, or is stopped on the way.
        """
        q = np.asarray(q, dtype=np.float64)
        self.stop()
        with self._lock:
            state = self.measure()
            self._check_inside(state.T_base_tcp)
            self._check_ready()
            check_way(self._franky, self._robot, state.q, q, workspace=self.limits.workspace, slack_m=OUTSIDE_M)
            self._event, self._mode = None, "joints"
            self._call(lambda: self._robot.move(self._franky.JointMotion([float(v) for v in q]), asynchronous=True))
        while self._mode == "joints" and self._fault is None:
            if self._call(lambda: self._robot.join_motion(self.clock.host_s(_MONITOR_S))):
                break
        with self._lock:
            stopped, self._mode = self._mode != "joints", "idle"
        self._check()
        if stopped or np.max(np.abs(self.measure().q - q)) > 0.02:
            raise HardwareFault("The joint motion was stopped on its way; look at the arm, then try again.")
        self._T_target = self.measure().T_base_tcp

    def joint_reset(self, T_base_home: FloatArray) -> FrankaJointReset:
        """Return what brings the elbow back at the task's home, see `joint_reset_every`."""
        return FrankaJointReset(self, T_base_home)

    def reaches(self, T_base_tcp: FloatArray) -> bool:
        """Return whether the arm can go to a pose from here with room to its joints' ends."""
        return reaches(T_base_tcp, self.measure().q)

    def success_rate(self) -> float | None:
        """Return the fraction of commands that arrived in time; None before the first motion."""
        return float(self._read().control_command_success_rate) or None

    def recover(self) -> None:
        """Leave a fault behind: the arm is idle afterwards and wants `start`.

        Raises:
            HardwareFault: If the arm moves, is outside the workspace, cannot be recovered, or had to be too often.
        """
        self.stop()
        with self._lock:
            self._check_open()
            if self._fault is None and not self._call(lambda: self._robot.has_errors):
                return
            fault = self._fault
            self._count_recovery(fault)
            if fault is not None and fault.network:
                self._reconnect()
            self._fault, self._event = None, None
            try:
                self._recover_box()
            except HardwareFault as error:
                self._fault = error if isinstance(error, ArmFault) else ArmFault(str(error))
                raise

    def close(self) -> None:
        """Stop the arm, end the monitor and let the connection go; may be called twice."""
        self.stop()
        self._closing.set()
        if threading.current_thread() is not self._monitor:
            self._monitor.join(timeout=3.0)
        atexit.unregister(self.close)
        self._robot = self._motion = None

    # What follows is called with the lock held, or only reads.

    def _call(self, action: Callable[[], Any]) -> Any:
        """Return the result of a call of franky, or raise its error as a fault."""
        try:
            return action()
        except self._network_errors as error:
            raise self._fail(faults.lost(self.config.ip, error), network=True) from error
        except self._errors as error:
            raise self._fail(f"The arm refused: {faults.reason(error)}.") from error

    def _read(self) -> Any:
        return self._call(lambda: self._robot.state)

    def _fail(self, message: str, *, stop_s: float | None = None, network: bool = False) -> ArmFault:
        """Stop the arm, remember the first fault and return it."""
        fault = self._fault
        if fault is None:
            fault = self._fault = ArmFault(message, stop_s=stop_s, network=network)
            logger.error("%s", message)
        with self._lock:
            self._brake()
        return fault

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise HardwareFault("The connection to the arm was closed; open it again.")

    def _check(self) -> None:
        self._check_open()
        if self._fault is not None:
            raise self._fault

    def _check_tracking(self) -> None:
        self._check()
        with self._lock:
            if self._mode == "tracking" and (self._event is not None or not self._robot.is_in_control):
                self._lost_control()
            self._check()
        if self._mode != "tracking":
            raise HardwareFault("The arm was stopped and follows no targets; call start.")

    def _here(self) -> FloatArray:
        """Return the measured pose of the TCP; no target is safe without one."""
        here = np.array(self._read().O_T_EE.matrix)
        if not is_pose(here):
            raise self._fail("The arm measures no pose of its TCP (not finite, or not rigid); restart the control box.")
        return here

    def _guarded_here(self) -> FloatArray:
        """Return the measured pose as a target: a little inside where it is a little outside."""
        here = self._here()
        return guard_target(here, T_base_ref=here, T_base_tcp=here, limits=self.limits).T_base_tcp

    def _check_inside(self, T_base_tcp: FloatArray) -> None:
        position = T_base_tcp[:3, 3]
        out_m = float(np.max(np.abs(position - self.limits.workspace.project(position))))
        if out_m > OUTSIDE_M:
            raise HardwareFault(
                f"{place(T_base_tcp)} is {1000 * out_m:.0f} mm outside the workspace "
                f"{corners(self.limits.workspace)}; guide the arm into it by hand."
            )

    def _check_ready(self) -> None:
        state = self._read()
        mode = str(state.robot_mode).split(".")[-1]
        if mode == "UserStopped":
            raise HardwareFault("The arm's stop button is pressed; release it.")
        if mode == "Guiding":
            raise HardwareFault("The arm is being guided by hand; let go of it.")
        if mode == "Reflex" or self._robot.has_errors:
            raise self._fail(f"The arm stands in an error: {state.current_errors}.")

    def _track(self) -> None:
        """Let a fresh tracking motion take over: the sign of life that rewinds the dead man's switch."""
        tracking = Tracking(
            self._franky, self.config, T_base_target=self._T_target, bias_N=self._bias[:3], note=self._note
        )
        self._call(lambda: self._robot.move(tracking.motion, asynchronous=True))
        self._motion, self._since_renewal = tracking, 0

    def _watch(self) -> None:
        """Notice lost control and stale states, keep the pose history, and renew the dead man's switch."""
        silence = Silence()
        while not self.clock.wait(self._closing, _MONITOR_S):
            try:
                if self._fault is not None:
                    continue
                state = self._robot.state
                now = self.clock.now()
                if silence.look(state.time.to_sec(), now):
                    self._history.add(now, np.array(state.O_T_EE.matrix))
                self._renew(silence.duration_s)
            except HardwareFault:
                continue  # remembered, for whoever commands the arm next
            except Exception as error:  # whatever it is: a monitor that ends in silence would be worse
                self._fail(faults.lost(self.config.ip, error), network=isinstance(error, self._network_errors))

    def _renew(self, age_s: float) -> None:
        with self._lock:
            if self._mode == "idle":
                return
            if not self._robot.is_in_control:
                if self._mode == "tracking":
                    self._lost_control()
                return
            if age_s > STALE_S:
                self._fail(
                    f"The control box has been silent for {age_s:.2f} s, more than {STALE_S} s; it brakes the arm by "
                    "itself. Check the cable and the box.",
                    network=True,
                )
            elif self._mode == "tracking" and self._event is not None:
                self._lost_control()
            elif self._mode == "tracking":
                self._since_renewal += 1
                if self._since_renewal >= RENEW_EVERY:
                    self._track()

    def _lost_control(self) -> None:
        """Find out why the arm stopped, or is about to, and remember it as the fault."""
        try:
            self._robot.join_motion(self.clock.host_s(0.5))
        except self._network_errors as error:
            self._fail(faults.lost(self.config.ip, error), network=True)
        except self._errors as error:
            self._fail(f"The control box stopped the arm: {faults.reason(error)}. Look why before it goes on.")
        for _ in range(100):  # franky's thread tells the event as soon as it gets the interpreter
            if self._event is None and self._fault is None:
                self.clock.sleep(0.01)
        if self._event is None:
            self._fail("The arm left its motion without a reason; look at Desk.")
            return
        what, force_N, fired_s = self._event
        self._brake()  # if a fresh motion took over before the stop was known
        stop_s = self.clock.now() - fired_s if what == "force" else None
        limit_N = self.config.stop_force_factor * self.config.max_contact_force_N
        self._fail(faults.stopped_itself(what, force_N=force_N, limit_N=limit_N, stop_s=stop_s), stop_s=stop_s)

    def _brake(self) -> None:
        mode, self._mode = self._mode, "idle"
        if mode == "idle":
            return
        franky = self._franky
        try:
            if self._robot.is_in_control:
                brake = franky.TorqueStopMotion() if mode == "tracking" else franky.JointStopMotion()
                self._robot.move(brake, asynchronous=True)
            self._robot.join_motion(self.clock.host_s(3.0))
        except self._errors as error:
            logger.warning("The arm ended its motion with: %s", error)
        except BaseException:  # Ctrl-C in between: the next stop has to brake
            self._mode = mode
            raise
        self._motion = None

    def _reconnect(self) -> None:
        self._robot = self._motion = None  # the box serves one client: the old connection has to end first
        try:
            self._robot = connect(self._franky, self.config)
        except ConfigError as error:
            raise ArmFault(f"The arm does not come back: {error}", network=True) from error

    def _count_recovery(self, fault: ArmFault | None) -> None:
        """Note a recovery, or raise `ArmFault` when there were too many of its kind within the hour."""
        by_force, now = fault is not None and fault.force, self.clock.now()
        limit = self.config.max_force_stops_per_hour if by_force else self.config.max_recoveries_per_hour
        recent = self._recoveries[by_force]
        while recent and recent[0] < now - 3600.0:
            recent.popleft()
        if len(recent) >= limit:
            what = "stopped at its force limit" if by_force else "recovered"
            raise ArmFault(
                f"The arm has been {what} {limit} times within an hour; find out why and start again. "
                f"The last fault: {fault}"
            )
        recent.append(now)
        logger.warning("Recovery %d of %d per hour, after: %s", len(recent), limit, fault)

    def _recover_box(self) -> None:
        state = self._read()
        if np.max(np.abs(state.dq)) > _STILL_RAD_S:
            raise ArmFault("The arm still moves, so it is not recovered; wait for it to stand.")
        self._check_inside(np.array(state.O_T_EE.matrix))
        if self._robot.has_errors:
            logger.warning("Errors of the last motion: %s", state.last_motion_errors)
        self._call(self._robot.recover_from_errors)
        deadline_s = self.clock.now() + 1.0  # its answer may be older than the recovery
        while self._call(lambda: self._robot.has_errors):
            if self.clock.now() > deadline_s:
                raise ArmFault("The control box refuses to recover; look at the error in Desk, release the brakes.")
            self.clock.sleep(0.02)

    def _wait_still(self, *, timeout_s: float) -> None:
        deadline_s = self.clock.now() + timeout_s
        while True:
            self._check()
            speed = float(np.max(np.abs(self._read().dq)))
            if speed < _STILL_RAD_S:
                return
            if self.clock.now() > deadline_s:
                raise self._fail(f"The arm still moves at {speed:.2f} rad/s after {timeout_s:.0f} s; it should rest.")
            self.clock.sleep(0.02)


def _noter(arm: FrankaArm) -> Callable[[StopReason, Any], None]:
    """Return what remembers why the 1 kHz thread stopped the arm; one of franky's threads calls it."""
    this = weakref.ref(arm)  # franky keeps callbacks: a strong one would never let the connection go

    def note(what: StopReason, state: Any) -> None:
        arm = this()
        if arm is not None:
            force_N = float(np.linalg.norm(np.array(state.O_F_ext_hat_K)[:3] - arm._bias[:3]))
            arm._event = (what, force_N, arm.clock.now())

    return note
