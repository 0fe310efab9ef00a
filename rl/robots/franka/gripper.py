"""The Franka Hand: asynchronous, debounced, never in the way of the control loop."""

import logging
import threading
from typing import Any, ClassVar

from rl.errors import ConfigError, HardwareFault
from rl.robots.base import CLOSED_BELOW, Gripper
from rl.robots.clock import REAL_TIME, Clock, check_clock
from rl.robots.franka.config import ArmConfig, GripperConfig
from rl.robots.franka.connection import CONNECT_S, import_franky, within
from rl.robots.franka.faults import errors_of

logger = logging.getLogger(__name__)

MOTION_TIMEOUT_S = 5.0
"""Longest opening or closing; a `move` that meets an object can last for minutes (libfranka #18)."""
_STATE_MAX_AGE_S = 3.0


class FrankaGripper(Gripper):
    """Opens and closes on a change of the command; a thread of its own talks to the hand.

    Closing is a grasp that accepts any width. A failure is raised by the next call, as `HardwareFault`. A lost
    connection is made anew; the motion that was under way fails.
    """

    config_class: ClassVar[type[Any]] = GripperConfig

    def __init__(self, config: GripperConfig, arm: ArmConfig, *, clock: Clock = REAL_TIME) -> None:
        """Connect; nothing moves.

        Args:
            config: Speeds and forces.
            arm: Tells the address of the control box.
            clock: The station's.

        Raises:
            ConfigError: If there is no franky-control, no hand answers, or the clock is not for this arm.
        """
        self._ip = ip = arm.ip
        check_clock(clock, ip)
        self._config, self._clock = config, clock
        self._fault: HardwareFault | None = None
        self._wanted: bool | None = None
        """True: open; None: nothing has been asked for."""
        self._opening = 0.0
        self._read_s = clock.now()
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._threads: tuple[threading.Thread, ...] = ()
        if not config.enabled:
            return
        self._franky = import_franky()
        self._errors = errors_of(self._franky)
        try:
            self._gripper: Any = self._connect()
            self._read()
        except (*self._errors, self._franky.IncompatibleVersionException) as error:
            raise ConfigError(
                f"No gripper answers at {ip} ({error}); mount the Franka Hand and activate it in Desk, or set "
                "enabled = false in [gripper]."
            ) from error
        self._threads = (
            threading.Thread(target=self._poll, name="gripper state", daemon=True),
            threading.Thread(target=self._work, name="gripper", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def command(self, opening: float) -> None:
        """Open from 0.5 on, else close; returns at once, and does nothing while the wish is the same.

        Raises:
            HardwareFault: If an earlier motion failed.
        """
        self._check()
        if not self._config.enabled or not opening == opening:  # not a number keeps
            return
        wanted = opening >= CLOSED_BELOW
        with self._changed:
            if wanted != self._wanted:
                self._wanted = wanted
                self._changed.notify()

    def opening(self) -> float:
        """Return the last measured opening: 0 closed, 1 open.

        Raises:
            HardwareFault: If a motion failed or the hand is silent.
        """
        self._check()
        if self._threads and self._clock.now() - self._read_s > _STATE_MAX_AGE_S:
            raise HardwareFault(
                f"The gripper has been silent for more than {_STATE_MAX_AGE_S:.0f} s; check its cable and Desk."
            )
        return self._opening

    def wait(self, *, timeout_s: float = MOTION_TIMEOUT_S) -> None:
        """Wait until the last wish has been carried out.

        Raises:
            HardwareFault: If it failed or takes longer.
        """
        deadline_s = self._clock.now() + timeout_s
        while self._threads and self._wanted != self._done:
            self._check()
            if self._clock.now() > deadline_s:
                raise HardwareFault(f"The gripper did not finish within {timeout_s:.1f} s; free its fingers.")
            self._clock.sleep(0.02)
        self._check()

    def clear(self) -> None:
        """Forget a failure, and carry out the next command whatever was wanted before."""
        with self._changed:
            self._fault, self._wanted, self._done = None, None, None

    def close(self) -> None:
        """End the threads; what is held stays held."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        for thread in self._threads:
            thread.join(timeout=2.0)
        self._gripper = None  # lets the connection go: the hand serves one client

    _done: bool | None = None
    """The last wish that was carried out."""

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _fail(self, what: str) -> None:
        logger.error("%s", what)
        self._fault = HardwareFault(what)

    def _connect(self) -> Any:
        return within(
            CONNECT_S,
            lambda: self._franky.Gripper(self._ip),
            f"The gripper at {self._ip} does not answer within {CONNECT_S:.0f} s; close other programs that use it.",
        )

    def _read(self) -> None:
        self._opening = min(max(float(self._gripper.width) / self._config.max_width_m, 0.0), 1.0)
        self._read_s = self._clock.now()

    def _poll(self) -> None:
        silences: tuple[type[BaseException], ...] = (*self._errors, ConfigError)
        lost = False
        while not self._clock.wait(self._closing, 0.05):
            try:
                if lost:
                    self._gripper = self._connect()
                self._read()
            except silences as error:
                logger.warning("The gripper does not answer: %s", error)  # `opening` says so when it stays silent
                lost = True
            else:
                if lost:
                    logger.warning("The gripper answers again: its connection was lost, and made anew.")
                lost = False

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing.is_set() or self._wanted != self._done)
                wanted = self._wanted
            if self._closing.is_set():
                return
            if wanted is None:
                self._done = None
                continue
            began_s = self._clock.now()
            if not self._already(wanted):
                self._move(wanted)
                self._clock.wait(self._closing, max(0.0, began_s + self._config.debounce_s - self._clock.now()))
            if self._fault is not None:
                with self._changed:  # rests until `clear`
                    self._changed.wait_for(lambda: self._closing.is_set() or self._fault is None)
            else:
                self._done = wanted

    def _already(self, wanted: bool) -> bool:
        """Return whether the fingers are as wanted without a motion: the operator may have closed them by hand."""
        try:
            return self._opening > 0.9 if wanted else bool(self._gripper.is_grasped)
        except self._errors:
            return False

    def _move(self, wanted: bool) -> None:
        config = self._config
        name = "open" if wanted else "close"
        try:
            if wanted:
                self._gripper.stop()  # ends a grasp; a move during one is refused
                motion = self._gripper.move_async(config.max_width_m, config.speed_m_s)
            else:
                motion = self._gripper.grasp_async(
                    0.0, config.speed_m_s, config.force_N, epsilon_inner=1.0, epsilon_outer=1.0
                )
            if not self._wait_for(motion):
                if self._closing.is_set():
                    return
                self._gripper.stop()
                self._fail(f"The gripper did not {name} within {MOTION_TIMEOUT_S:.0f} s; free its fingers.")
            elif not motion.get():
                self._fail(f"The gripper could not {name}; home it in Desk and free its fingers.")
        except self._errors as error:
            self._fail(f"The gripper could not {name}: {error}; home it in Desk and check its cable.")

    def _wait_for(self, motion: Any) -> bool:
        deadline_s = self._clock.now() + MOTION_TIMEOUT_S
        while self._clock.now() < deadline_s and not self._closing.is_set():
            if motion.wait(self._clock.host_s(0.05)):
                return True
        return bool(motion.wait(0.0))
