"""The arm, gripper and cameras of a station as a `Backend`."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from rl.errors import ConfigError, HardwareFault
from rl.robots.base import Arm, Cameras
from rl.robots.real.reset import ScriptedReset
from rl.robots.real.watchdog import Watchdog
from rl.robots.station import StationConfig, open_arm, open_gripper
from rl.tasks.base import Task
from rl.types import CONTROL_PERIOD_S, ByteArray, FloatArray, RGBDFrame, RobotState

logger = logging.getLogger(__name__)

SLOW_NETWORK = 0.95
"""Fraction of control commands below which the log warns."""


class StationBackend:
    """A task on the arm of a station.

    The watchdog runs from `resume`, or the first `command`, to the next `pause` or `reset`. Whatever fails, the arm
    has been stopped before `HardwareFault` is raised; `recover` and `reset` make it ready again.
    """

    def __init__(
        self,
        task: Task,
        station: StationConfig,
        *,
        cameras: Cameras,
        speed: float = 1.0,
        prompt: Callable[[str], None] | None = None,
    ) -> None:
        """Connect; nothing moves before `reset`.

        Args:
            task: What is done.
            station: Arm, workspace, gripper, and an emulator's address where there is one.
            cameras: Opened; closed with this.
            speed: Factor on the speed of resets; the environment's guard shortens the steps.
            prompt: Asks the operator for something and returns when it is done.

        Raises:
            ConfigError: If something does not answer, or the task has no room on this station.
        """
        limits = task.guard.on_station(station.workspace, speed=speed)
        if task.operator_reset and station.truth is None and prompt is None:
            raise ConfigError(
                f"{task.name} needs somebody before each episode ({task.operator_reset}); run it in a terminal."
            )
        self._task, self._station, self._cameras, self._prompt = task, station, cameras, prompt
        self._deadline_s = 0.0
        self._clock = station.clock
        self._paused = True
        self._counts = {"recoveries": 0.0, "late_commands": 0.0, "max_force_N": 0.0, "min_success_rate": 1.0}
        with ExitStack() as opened:
            self._arm = open_arm(station)
            opened.callback(self._arm.close)
            self._gripper = open_gripper(station, task)
            opened.callback(self._gripper.close)
            self._emulator = self._open_emulator(station, opened)
            self._reset = ScriptedReset(
                task, self._arm, self._gripper, workspace=limits.workspace, renew=self._renew, speed=speed
            )
            self._watchdog = Watchdog(self._arm, clock=station.clock)
            opened.callback(self._watchdog.close)
            self._opened = opened.pop_all()

    @property
    def arm(self) -> Arm:
        """The arm, for calibration and tests."""
        return self._arm

    @property
    def watchdog(self) -> Watchdog:
        """Counts what it had to do."""
        return self._watchdog

    def reset(self, T_base_tcp: FloatArray, rng: np.random.Generator) -> RobotState:
        """Retract, renew the scene, go to the start pose, tare; the arm holds it until the first command.

        Raises:
            HardwareFault: If the arm, its gripper or a camera fails, or something is in the way.
        """
        with self._stopping():
            self.pause()
            if self._arm.fault is not None:
                self.recover()
            self._reset(T_base_tcp, rng)
            self._cameras.wait_newer(self._clock.now())
            self._deadline_s = self._clock.now()
            return self._measure()

    def command(self, T_base_target: FloatArray, gripper_opening: float) -> RobotState:
        """Follow a guarded target to the end of the 100 ms period."""
        with self._stopping():
            if self._watchdog.stopped:
                raise HardwareFault(
                    "No fresh action came for 1 s, so the watchdog stopped the arm; look what took so long, then reset."
                )
            if self._paused:
                self.resume()
            self._arm.command(T_base_target)
            self._watchdog.feed()
            self._gripper.command(gripper_opening)
            now = self._clock.now()
            self._counts["late_commands"] += now > self._deadline_s + 0.2 * CONTROL_PERIOD_S
            self._deadline_s = max(self._deadline_s, now - CONTROL_PERIOD_S / 2) + CONTROL_PERIOD_S
            self._clock.sleep(self._deadline_s - self._clock.now())
            return self._measure()

    def policy_images(self, image_size: int) -> dict[str, ByteArray]:
        """Return the newest image of each policy camera."""
        with self._stopping():
            return self._cameras.policy_images(image_size)

    def capture(self, cameras: Collection[str] | None = None, *, shadows: bool = True) -> tuple[RGBDFrame, ...]:
        """Return RGB-D of agent cameras; those on the hand sit where it was when the frame arrived."""
        with self._stopping():
            return self._cameras.capture(cameras, self._arm.pose_at)

    def truth(self) -> Mapping[str, FloatArray]:
        """Return an emulated scene's named points; a real table tells nothing."""
        with self._stopping():
            return {} if self._emulator is None else self._emulator.truth()

    def snapshot(self) -> Any:
        """Refuse: a real scene cannot be saved."""
        raise ConfigError("A real arm and scene cannot be saved and restored; use the simulation.")

    def restore(self, snapshot: Any) -> None:
        """Refuse: a real scene cannot be restored."""
        self.snapshot()

    def pause(self) -> None:
        """Hold the arm where it is, for as long as nobody commands it: no watchdog counts."""
        self._paused = True
        self._watchdog.pause()

    def resume(self) -> None:
        """End `pause`: commands are expected again."""
        self._paused = False
        self._deadline_s = self._clock.now()
        self._watchdog.resume()

    def stop(self) -> None:
        """Stop the arm; may be called at any time, from any thread, and more than once."""
        self._arm.stop()

    def recover(self) -> None:
        """Make an arm that was stopped by a fault ready for `reset`.

        Raises:
            HardwareFault: If it cannot be, or was too often already.
        """
        self.pause()
        self._gripper.clear()
        if self._arm.fault is not None:
            self._arm.recover()
            self._counts["recoveries"] += 1

    def metrics(self) -> Mapping[str, float]:
        """Return counters and figures of the hardware for the run's log."""
        return {
            **self._counts,
            "watchdog_freezes": float(self._watchdog.freezes),
            "watchdog_stops": float(self._watchdog.stops),
        }

    def close(self) -> None:
        """Stop the arm; close the connections and the cameras."""
        self._arm.stop()
        self._opened.close()
        self._cameras.close()

    def _open_emulator(self, station: StationConfig, opened: ExitStack) -> Any:
        if station.truth is None:
            return None
        from rl.robots.emulator.client import EmulatorClient

        emulator = EmulatorClient(station.truth)
        opened.callback(emulator.close)
        return emulator

    def _renew(self, rng: np.random.Generator) -> None:
        if self._emulator is not None:
            self._emulator.reset(int(rng.integers(2**31)))
        elif self._task.operator_reset and self._prompt is not None:
            self._arm.hold()
            self._prompt(self._task.operator_reset)

    def _measure(self) -> RobotState:
        state = self._arm.measure()
        counts = self._counts
        counts["max_force_N"] = max(counts["max_force_N"], float(np.linalg.norm(state.wrench[:3])))
        rate = self._arm.success_rate()
        if rate is not None:
            if rate < SLOW_NETWORK <= counts["min_success_rate"]:
                logger.warning("Only %.0f %% of control commands arrive in time; check kernel and network.", 100 * rate)
            counts["min_success_rate"] = min(counts["min_success_rate"], rate)
        return RobotState(
            T_base_tcp=state.T_base_tcp,
            twist=state.twist,
            wrench=state.wrench,
            gripper_opening=self._gripper.opening(),
        )

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stop the arm when anything at all goes wrong inside."""
        try:
            yield
        except ConfigError:
            raise  # a request that was refused; nothing has failed
        except BaseException:
            self._arm.stop()
            raise
