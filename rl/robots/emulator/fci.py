"""franky-sim's FCI arm and gripper servers over the task's own MuJoCo model; the one module that needs franky-sim.

The protocol, its two ports and the joint controllers of the arm's internal modes are franky-sim's. Added here: the
model, the external wrench, errors and reflexes, and faults that tests plant.
"""

import os
import queue
import select
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from franky_sim import BaseRobot, BaseSimulator, FrankaRobotServer, LocalHostnames, RobotParameters
from franky_sim.base_simulator import InnerRobotState
from franky_sim.constants import FRANKA_HAND_MAX_WIDTH
from franky_sim.franka_gripper_protocol import GripperCommandStatus
from franky_sim.franka_gripper_server import FrankaGripperServer
from franky_sim.franka_robot_protocol import (
    AutomaticErrorRecoveryCommand,
    MoveCommand,
    MoveStatus,
    RobotCommand,
    RobotMode,
)
from franky_sim.franka_server import BaseCommand

from rl.robots.clock import REAL_TIME, Clock
from rl.robots.emulator.pace import run_free
from rl.robots.emulator.shared import SharedScene
from rl.robots.emulator.world import TIMESTEP_S, World
from rl.tasks.base import SimulatedTask
from rl.types import FloatArray

ERRORS = {"joint_reflex": 6, "cartesian_reflex": 7, "communication_constraints_violation": 25}
"""Bits of the protocol's error fields that the emulator sets."""
_ERROR_BITS = 41
ANSWER_S = 0.02
"""Longest wait for the client's command to a state before the arm moves on, [s]."""
LOST_COMMANDS = 25
"""States without an answer after which the arm stops, as the real one does after 20."""
RECOVERY_STEPS = 50
"""Milliseconds that a recovery from errors takes."""
TURNED_AWAY = 10
"""Looks, 20 ms apart, after which a second client that still waits is turned away."""
_BEHIND_S = 0.05
"""Once the clock is this late it starts anew instead of catching up, [s]."""
_KP = (4500.0, 4500.0, 3500.0, 3500.0, 1000.0, 1000.0, 1000.0)
_KV = (160.0, 160.0, 110.0, 110.0, 25.0, 25.0, 25.0)
"""Joint controllers of the internal modes, [N m/rad] and [N m s/rad]; stable at 1 ms with this model's inertia."""


class EmulatedRobot(BaseRobot):  # type: ignore[misc]  # franky-sim has no types
    """The FR3 of our model behind franky-sim's interface."""

    def __init__(self, world: World) -> None:
        # Weightless for franky-sim: the model compensates gravity itself.
        super().__init__(robot_parameters=RobotParameters(gravity=(0.0, 0.0, 0.0)), kp=_KP, kv=_KV)
        self.world = world
        self.errors: set[str] = set()
        """Errors since the last recovery; with any the arm refuses to move."""
        self.success_rate = 1.0
        """Share of the last states that the client answered in time, about 100 of them."""
        self._torque: FloatArray = np.zeros(7)

    def _get_state(self) -> Any:
        world = self.world
        return InnerRobotState(
            q=tuple(world.q.tolist()), dq=tuple(world.dq.tolist()), tau_j=tuple(self._torque.tolist())
        )

    def _torque_control(self, torques: FloatArray) -> None:
        self._torque = np.asarray(torques, dtype=np.float64)
        self.world.set_torque(self._torque)

    def set_hand_goal(self, width: float, max_velocity: float, max_force: float) -> None:
        """Move the fingers."""
        self.world.set_fingers(width, max_velocity, max_force)

    def _get_hand_width(self) -> float:
        return self.world.width_m

    @property
    def state(self) -> Any:
        """The robot state with external wrench and errors."""
        state = super().state
        wrench = self.world.wrench
        changes: dict[str, Any] = {
            "tau_ext_hat_filtered": (0.0,) * 7,
            "control_command_success_rate": self.success_rate,
        }
        if wrench.any():
            T_O_K = _matrix(state.O_T_EE) @ _matrix(self.EE_T_K)
            shift = self.world.T_base_tcp[:3, 3] - T_O_K[:3, 3]
            force, torque = wrench[:3], wrench[3:] + np.cross(shift, wrench[:3])
            in_K = [*(force @ T_O_K[:3, :3]), *(torque @ T_O_K[:3, :3])]
            changes |= {
                "O_F_ext_hat_K": (*force.tolist(), *torque.tolist()),
                "K_F_ext_hat_K": tuple(in_K),
                "tau_ext_hat_filtered": tuple((self.world.jacobian().T @ wrench).tolist()),
            }
        if self.errors:
            bits = tuple(bit in {ERRORS[error] for error in self.errors} for bit in range(_ERROR_BITS))
            changes |= {"errors": bits, "reflex_reason": bits}
        return state.replace(**changes)


def _matrix(column_major: tuple[float, ...]) -> FloatArray:
    return np.array(column_major).reshape((4, 4), order="F")


class EmulatedSimulator(BaseSimulator):  # type: ignore[misc]  # franky-sim has no types
    """One robot in one world, published after each step."""

    def __init__(self, world: World, scene: SharedScene) -> None:
        super().__init__()
        self.robot = EmulatedRobot(world)
        self.clock = REAL_TIME
        """The station's."""
        self._world, self._scene = world, scene

    def _get_robots(self) -> list[Any]:
        return [self.robot]

    def _step(self) -> None:
        self._world.step()
        self._scene.write(self._world.data, self.clock.now())


class _Recovery(AutomaticErrorRecoveryCommand):  # type: ignore[misc]  # franky-sim has no types
    """Clears the errors; the reply comes when states have shown that, as the arm's does."""

    def handle(self, server: Any) -> None:
        server.robot.errors.clear()
        server.replies.append((RECOVERY_STEPS, super().handle))


class _Move(MoveCommand):  # type: ignore[misc]  # franky-sim has no types
    """Refused while there are errors, as the arm does."""

    def handle(self, server: Any) -> None:
        if server.robot.errors:
            self.reply(MoveStatus.kCommandNotPossibleRejected)
        else:
            super().handle(server)


class EmulatedGripperServer(FrankaGripperServer):  # type: ignore[misc]  # franky-sim has no types
    """The hand; `fault` makes its motions fail or never end."""

    def __init__(self, robot: EmulatedRobot, hostname: str) -> None:
        super().__init__(robot, hostname)
        self.fault = ""
        """`fail`, `hang`, `unhomed` or nothing."""
        self._hung: list[tuple[Any, int, Any]] = []

    def _get_state_bytes(self) -> Any:
        """Say that the width is not known until homing, where that is the fault."""
        self._max_width = 0.0 if self.fault == "unhomed" else FRANKA_HAND_MAX_WIDTH
        return super()._get_state_bytes()

    def _start_motion(self, motion_state: Any, command_type: Any, command_id: int, tcp_socket: Any) -> None:
        if self.fault in ("fail", "hang"):
            self._robot.set_hand_goal(self._robot.hand_width, 0.05, 70.0)
        if self.fault == "fail":
            _answer_gripper(tcp_socket, command_type, command_id, GripperCommandStatus.kFail)
        elif self.fault == "hang":
            self._hung.append((command_type, command_id, tcp_socket))
        else:
            super()._start_motion(motion_state, command_type, command_id, tcp_socket)

    def stop(self, command_id: int, tcp_socket: Any) -> None:
        """Stop, and end what is in progress or hangs with an answer."""
        self.release()
        if self._pending_command_id is not None:
            pending = (self._pending_tcp_socket, self._pending_command_type, self._pending_command_id)
            _answer_gripper(*pending, GripperCommandStatus.kAborted)
        super().stop(command_id, tcp_socket)

    def drop(self) -> None:
        """Lose the client, as after a pulled cable; it may connect again."""
        self._pending_command_id = None
        self._hung.clear()
        self.reset_state()

    def release(self) -> None:
        """Answer what hangs."""
        for command_type, command_id, tcp_socket in self._hung:
            _answer_gripper(tcp_socket, command_type, command_id, GripperCommandStatus.kAborted)
        self._hung.clear()


def _answer_gripper(tcp_socket: Any, command_type: Any, command_id: int, status: GripperCommandStatus) -> None:
    BaseCommand.send_response(
        tcp_socket, command_type, command_id, status, command_type_struct="H", status_type_struct="H"
    )


class EmulatedRobotServer(FrankaRobotServer):  # type: ignore[misc]  # franky-sim has no types
    """The arm; it can abort a motion, and does when the client no longer answers."""

    def __init__(self, robot: EmulatedRobot, hostnames: Any) -> None:
        super().__init__(robot, hostnames)
        self.hand: EmulatedGripperServer
        self.clock = REAL_TIME
        """The station's."""
        self._unanswered = self._knocking = self._steps = 0
        self.replies: list[tuple[int, Any]] = []
        """Replies to give after that many more steps: (steps, function of this server)."""
        commands = self._FrankaServer__command_class_map
        commands[RobotCommand.kAutomaticErrorRecovery] = _Recovery
        commands[RobotCommand.kMove] = _Move

    def _bind_children(self, hostname: str) -> None:
        self.hand = EmulatedGripperServer(self.robot, hostname)
        self.hand.init()
        self._FrankaRobotServer__gripper_server = self.hand

    def process_commands(self) -> None:
        """Handle commands, and turn away a second client, as the arm does: left to wait, it would wait for ever."""
        super().process_commands()
        self._steps += 1
        if self._steps % 20 == 0:
            listener = self._FrankaServer__server_socket
            knocks = self.tcp_connected and bool(select.select([listener], [], [], 0.0)[0])
            self._knocking = self._knocking + 1 if knocks else 0
            if self._knocking > TURNED_AWAY:
                listener.accept()[0].close()
                self._knocking = 0

    def wait_for_answer(self) -> None:
        """Wait until the client has answered the last state, so that slow cores slow time and not the control."""
        udp = self._FrankaServer__udp_socket
        if self.current_motion_id and udp is not None:
            self._unanswered += 1
            answered, _, _ = select.select([udp], [], [], self.clock.host_s(ANSWER_S))
            self.robot.success_rate += (float(bool(answered)) - self.robot.success_rate) / 100
        else:
            self.robot.success_rate = 1.0

    def _handle_udp_command(self, command_data: bytes) -> None:
        self._unanswered = 0
        super()._handle_udp_command(command_data)

    def _post_process_commands(self) -> None:
        due = [reply for steps, reply in self.replies if steps <= 0]
        self.replies = [(steps - 1, reply) for steps, reply in self.replies if steps > 0]
        for reply in due:
            reply(self)
        if not self.current_motion_id:
            self._unanswered = 0
        elif self._unanswered > LOST_COMMANDS:
            self.abort("communication_constraints_violation")
        super()._post_process_commands()

    def abort(self, error: str) -> None:
        """Stop the motion in progress, hold the arm, and refuse motions until the error is recovered from."""
        motion = self.current_motion_id
        self.robot.errors.add(error)
        self.stop_motion(send_preemption_signal=False)
        if motion and self._tcp_socket is not None:
            BaseCommand.send_response(self._tcp_socket, RobotCommand.kMove, motion, MoveStatus.kReflexAborted)
        self.reset_current_motion_id()

    def pack_states(self) -> None:
        """Make the states of arm and hand that a client would get."""
        self._get_state_bytes()
        self.hand._get_state_bytes()

    @property
    def robot_state(self) -> Any:
        """The state to send, in mode reflex while there are errors."""
        state = super().robot_state
        return state.replace(robot_mode=RobotMode.kReflex) if self.robot.errors else state


@dataclass
class ArmProcess:
    """The loop of the process that is the control box: commands in, one step, state out, 1,000 times a second.

    Seconds are the station's clock's. The protocol does not mind a slow one: the client follows the states, and takes
    the box for lost only after a second of host time without one.
    """

    world: World
    server: EmulatedRobotServer
    simulator: EmulatedSimulator
    requests: "queue.SimpleQueue[tuple[str, Any]]" = field(default_factory=queue.SimpleQueue)
    frozen_until_s: float = 0.0
    """Until this time nothing is answered, [s]; the arm holds still."""
    pause_s: float = 0.0
    """Time stands still for this long, once, [s]."""
    steps: int = 0
    """Milliseconds of the arm's clock."""
    clock: Clock = REAL_TIME
    """The station's."""
    due_s: float = 0.0
    """When the next step is due, [s]."""

    def run(self, answer: Any) -> None:
        """Run until the process ends.

        Args:
            answer: Called with the reply to each request.
        """
        self.run_at(self.clock)
        while True:
            while not self.requests.empty():
                answer(self._handle(*self.requests.get()))
            if self.pause_s:
                self.clock.sleep(self.pause_s)
                self.pause_s = 0.0
            self._tick()
            self.due_s += TIMESTEP_S
            wait_s = self.due_s - self.clock.now()
            if wait_s > 0.0:
                self.clock.sleep(wait_s)
            elif wait_s < -_BEHIND_S:
                self.due_s = self.clock.now()

    def run_at(self, clock: Clock) -> None:
        """Go on by another clock."""
        self.clock = self.simulator.clock = self.server.clock = clock
        self.due_s = clock.now()

    def _tick(self) -> None:
        self.steps += 1
        if self.clock.now() < self.frozen_until_s:
            self.server.robot.joint_position_control(self._held_q)
            self.simulator.step()
            return
        if self.frozen_until_s:
            self._thaw()
        self.server.wait_for_answer()
        self.server.process_commands()
        self.simulator.step()
        self.server.send_state()

    def _thaw(self) -> None:
        self.frozen_until_s = 0.0
        if self.server.current_motion_id:
            self.server.abort("communication_constraints_violation")

    def _handle(self, kind: str, value: Any) -> str:
        if kind == "reset":
            self.world.reset(int(value))
        elif kind == "steps":
            return f"{self.steps} {time.process_time():.3f}"
        elif kind == "pace":
            return self._pace()
        elif kind == "clock":
            self.run_at(value)
        elif kind == "fault":
            self._plant(*value)
        return "ok"

    def _pace(self) -> str:
        """Run as fast as it goes, with what a client would cost, and return rate and longest step."""

        def step() -> None:
            self._tick()
            self.server.pack_states()

        rate, longest_s = run_free(step, time.monotonic, timestep_s=TIMESTEP_S)
        self.due_s = self.clock.now()
        return f"{rate} {longest_s}"

    def _plant(self, name: str, values: list[str]) -> None:
        if name == "reflex":
            self.server.abort("cartesian_reflex")
        elif name == "freeze":
            self._held_q = self.world.q.copy()
            self.frozen_until_s = self.clock.now() + (float(values[0]) if values else 1e9)
        elif name == "die":
            os._exit(1)
        elif name == "slow":
            self.pause_s = float(values[0])
        elif name == "force":
            self.world.added_wrench = np.array([0.0, 0.0, -float(values[0]), 0.0, 0.0, 0.0])
        elif name == "gripper" and values == ["drop"]:
            self.server.hand.drop()
        elif name == "gripper":
            self.server.hand.fault = values[0] if values else "fail"
        elif name == "clear":
            self.world.added_wrench = np.zeros(6)
            self.server.hand.fault = ""
            self.server.hand.release()
            self.frozen_until_s = min(self.frozen_until_s, self.clock.now())

    _held_q: FloatArray = field(default_factory=lambda: np.zeros(7))


def run_arm(task: SimulatedTask, seed: int, hostname: str | None, memory: Any, connection: Any) -> None:
    """Be the arm's process: say the address, then run until the other end of the connection closes.

    Args:
        task: Scene and start.
        seed: Of the scene.
        hostname: Loopback address to bind; the first free one if None.
        memory: Memory for `SharedScene`.
        connection: Where requests come from and replies go to.
    """
    os.setsid()  # Linux shares cores out by sessions: the arm is not to wait for the cameras
    world = World(task, seed=seed)
    scene = SharedScene(world.model, memory)
    scene.write(world.data, REAL_TIME.now())
    simulator = EmulatedSimulator(world, scene)
    simulator.init()
    server = EmulatedRobotServer(simulator.robot, [hostname] if hostname else LocalHostnames())
    server.init()
    simulator.start()
    process = ArmProcess(world, server, simulator)

    def listen() -> None:
        try:
            while True:
                process.requests.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)  # whoever started us is gone

    threading.Thread(target=listen, daemon=True).start()
    connection.send(server.hostname)
    process.run(connection.send)
