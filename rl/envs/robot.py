"""The environment on a real arm: what fails there ends an episode, not the run."""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError, HardwareFault
from rl.guard import GuardLimits
from rl.robots.base import RobotBackend
from rl.robots.clock import REAL_TIME, Clock
from rl.tasks.base import Task
from rl.types import CONTROL_PERIOD_S, Box, Observation, RGBDFrame

_log = logging.getLogger(__name__)

LATE_S = 1.2 * CONTROL_PERIOD_S
"""A control step that comes later than this after the one before it is a late tick, [s]."""
RESET_ATTEMPTS = 2
"""Times that an episode is begun before the arm counts as broken; the backend bounds recoveries per hour besides."""

Step = tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]


class Keys(Protocol):
    """An operator's keyboard."""

    def read(self) -> Literal["success", "fail", "stop"] | None:
        """Return the key that was pressed since the last call, at once."""


class Ticks:
    """When control steps were sent, one after the other, by the station's clock."""

    def __init__(self, clock: Clock = REAL_TIME) -> None:
        self._clock = clock
        self._last_s: float | None = None
        self._intervals_s: list[float] = []

    def __call__(self) -> None:
        """Note that a control step is sent now."""
        now_s = self._clock.now()
        if self._last_s is not None:
            self._intervals_s.append(now_s - self._last_s)
        self._last_s = now_s

    def interrupt(self) -> None:
        """Leave out the pause until the next control step."""
        self._last_s = None

    def metrics(self) -> dict[str, float]:
        """Return milliseconds from one control step to the next, and how many were late."""
        intervals_ms = 1e3 * np.array(self._intervals_s or [CONTROL_PERIOD_S])
        jitter_ms = np.abs(intervals_ms - 1e3 * CONTROL_PERIOD_S)
        return {
            "ticks": float(len(self._intervals_s)),
            "tick_p50_ms": float(np.percentile(intervals_ms, 50)),
            "tick_p99_ms": float(np.percentile(intervals_ms, 99)),
            "tick_max_ms": float(intervals_ms.max()),
            "tick_jitter_p99_ms": float(np.percentile(jitter_ms, 99)),
            "late_ticks": float(np.sum(intervals_ms > 1e3 * LATE_S)),
        }


class RobotEnv(ManipulationEnv):
    """`ManipulationEnv` on hardware; `command` of the backend keeps the control rate.

    Beside what every info holds: `operator`, the key that judged the step, if one did, and `fault`, the sentence of
    the fault that ended the episode, if one did. A fault truncates its episode: the last observation is repeated, the
    executed action is zero. The next reset recovers the arm. Where that fails, `broken` is set and the next step
    raises it, so that the step before it can be stored.

    Success is the truth where an emulated scene tells it, else the operator's key or nothing: `ClassifierReward`
    judges images.

    The arm is held from the end of `reset` to the first step, and from `pause` to the next step.
    """

    def __init__(
        self,
        task: Task,
        backend: RobotBackend,
        *,
        image_size: int = 64,
        limits: GuardLimits | None = None,
        knows_truth: bool = False,
        keys: Keys | None = None,
        figures: Callable[[], Mapping[str, float]] = dict,
        settle_s: float = 1.5,
        clock: Clock = REAL_TIME,
    ) -> None:
        """Put a task on a real arm; nothing moves before `reset`.

        Args:
            task: What to do and within which limits.
            backend: Arm and cameras.
            image_size: Side of the policy images, [px].
            limits: Of each control step, see `limits_at`; the task's if None.
            knows_truth: Whether the backend's `truth` says where things are.
            keys: Where an operator's keys come from.
            figures: What else `metrics` reports, e.g. of the cameras.
            settle_s: Time that an arm gets to come to rest before it is recovered, [s].
            clock: The station's.
        """
        super().__init__(task, backend, image_size=image_size, limits=limits)
        self.robot_backend = backend
        self.broken: HardwareFault | None = None
        """The fault that the arm was not recovered from."""
        self.ticks = Ticks(clock)
        self.keys = keys
        self._knows_truth = knows_truth
        self._figures = figures
        self._settle_s = settle_s
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._fault: HardwareFault | None = None
        """What ended the last episode and is still to be recovered from."""
        self._paused = True
        self._seen: Observation | None = None
        """Newest observation of the episode."""

    @property
    def knows_truth(self) -> bool:
        """Whether success is what really happened in the scene: only an emulator knows."""
        return self._knows_truth

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Recover the arm if need be, and start an episode.

        Raises:
            HardwareFault: If that fails at the very first reset; later it is the next step that raises.
            KeyboardInterrupt: If the operator pressed a key that stops.
        """
        if self.broken is None:
            self.pause()
            for _ in range(RESET_ATTEMPTS):
                try:
                    self._recover()
                    observation, info = super().reset(seed=seed, options=options)
                except HardwareFault as fault:
                    self._take_note(fault)
                else:
                    self.pause()
                    self._seen = info["observation"]
                    self._forget_keys()
                    return observation, info
            self.broken = self._fault
        if self._seen is None:
            assert self.broken is not None
            raise self.broken
        _log.error("The arm cannot go on: %s", self.broken)
        return self._policy_view(self._seen), self._still_info(self._seen)

    def step(self, action: npt.NDArray[np.float32]) -> Step:
        """Command one guarded target, wait for the end of the control period, and see what came of it.

        Raises:
            ConfigError: Before the first `reset`, or if the action has another shape.
            HardwareFault: If the arm was not recovered from an earlier one.
            KeyboardInterrupt: If the operator pressed a key that stops.
        """
        if self.broken is not None:
            raise self.broken
        if self._fault is not None:  # it came while the arm was held
            return self._end(self._fault)
        self._checked(action)  # before the arm is told anything
        try:
            if self._paused:
                self._paused = False
                self.robot_backend.resume()
            self.ticks()
            observation, reward, terminated, truncated, info = super().step(action)
        except HardwareFault as fault:
            self._take_note(fault)
            return self._end(fault)
        self._counts.update(f"guard/{name}" for name in info["violations"])
        self._counts["guarded_steps"] += bool(info["violations"])
        self._seen = info["observation"]
        key = None if self.keys is None else self.keys.read()
        if key is None:
            return observation, reward, terminated, truncated, info
        if key == "stop":
            self.halt()
            raise KeyboardInterrupt
        success = key == "success"
        self._counts[f"key_{key}"] += 1
        info = {**info, "is_success": success, "operator": key}
        return observation, self.task.reward(success), success, not success, info

    def capture(self, cameras: Collection[str] | None = None, *, shadows: bool = True) -> tuple[RGBDFrame, ...]:
        """Return full-resolution RGB-D of agent cameras; a fault is raised, and ends the episode at the next step."""
        try:
            return super().capture(cameras, shadows=shadows)
        except HardwareFault as fault:
            self._take_note(fault)
            raise

    def pause(self) -> None:
        """Hold the arm until the next step; a fault meanwhile ends the episode there."""
        self.ticks.interrupt()
        if self._paused or self.broken is not None:
            return
        self._paused = True
        try:
            self.robot_backend.pause()
        except HardwareFault as fault:
            self._take_note(fault)

    def halt(self) -> None:
        """Stop the arm; `reset` starts it again. Never raises: it is what is done when something else did."""
        self.ticks.interrupt()
        self._paused = True
        for act in (self.robot_backend.pause, self.robot_backend.stop):  # a watchdog need not see to it
            try:
                act()
            except Exception:  # the reason why we stop must not be hidden by a failure to stop
                _log.exception("The arm did not confirm that it stopped; use the emergency stop.")

    def metrics(self) -> dict[str, float]:
        """Return counters and figures of guard, rate and hardware since the environment was made."""
        counts = {name: float(count) for name, count in sorted(self._counts.items())}
        faults = {name: counts.get(name, 0.0) for name in ("faults", "recoveries")}
        return {**faults, **counts, **self.ticks.metrics(), **self.robot_backend.metrics(), **self._figures()}

    def _forget_keys(self) -> None:
        """Drop what was pressed between two episodes: it judged the one before."""
        if self.keys is not None and self.keys.read() == "stop":
            self.halt()
            raise KeyboardInterrupt

    def _recover(self) -> None:
        if self._fault is not None:
            self._clock.sleep(self._settle_s)
            self.robot_backend.recover()
            self._counts["recoveries"] += 1
            self._fault = None

    def _take_note(self, fault: HardwareFault) -> None:
        _log.warning("%s", fault)
        self._counts["faults"] += 1
        self._fault = fault

    def _end(self, fault: HardwareFault) -> Step:
        """Return the truncated last step of an episode in which the hardware failed."""
        assert self._seen is not None
        self.ticks.interrupt()
        self._paused = True
        with contextlib.suppress(HardwareFault):  # known already
            self.robot_backend.pause()
        info = {**self._still_info(self._seen), "fault": str(fault)}
        return self._policy_view(self._seen), self.task.reward(False), False, True, info

    def _still_info(self, seen: Observation) -> dict[str, Any]:
        still = np.zeros(self.task.actions, np.float32)
        return self._info(seen, success=False, executed=still, violations=())


def limits_at(task: Task, workspace: Box, *, speed: float = 1.0) -> GuardLimits:
    """Return the limits of a task within those of the station that it runs on.

    Raises:
        ConfigError: If the middle of the start region is outside of the station, or speed is out of range.
    """
    home = task.home[:3, 3]
    if not workspace.contains(home):
        raise ConfigError(
            f"The start of {task.name} at {_metres(home)} m is outside of the station's workspace, "
            f"{_metres(workspace.lower)} to {_metres(workspace.upper)} m; correct [workspace], or the place in [task]."
        )
    return task.guard.on_station(workspace, speed=speed)


def _metres(point: npt.NDArray[Any]) -> str:
    return f"({', '.join(f'{value:.3f}' for value in point)})"
