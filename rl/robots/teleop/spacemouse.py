"""A 3Dconnexion SpaceMouse in the operator's hand (`pyspacemouse` 2, HIL-SERL's device)."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rl.errors import ConfigError
from rl.robots.teleop.hand import Deflection, DeviceHand, HandConfig

_POLL_S = 0.004
"""Pause after the last waiting report, [s]; the device sends one each 8 ms."""
_INSTALL = 'run `pip install "agps[teleop]"`'


class SpaceMouseHand(DeviceHand):
    """Moves the arm while the cap is deflected or a button is pressed.

    The first button closes the gripper, the second opens it; where the task has no gripper command, either holds the
    arm still. Seen by an operator who looks along the base's x axis: push forward +x, left +y, pull up +z.

    The device queues a report each 8 ms and `read` of `pyspacemouse` takes one, so a thread drains the queue. A cap
    that is held sends on and on: silence for `timeout_s` means that the axes are 0, whatever the last report said.
    """

    device = "SpaceMouse"

    def __init__(
        self,
        config: HandConfig | None = None,
        *,
        timeout_s: float = 0.25,
        mouse: Any | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the device and start to listen.

        Args:
            config: How deflection becomes an action.
            timeout_s: Silence after which the cap counts as let go, [s].
            mouse: An open `pyspacemouse.SpaceMouseDevice` with ROS axes; None: the first one that is attached.
            clock: Time, [s].

        Raises:
            ConfigError: If the package, its shared library or a device is missing.
        """
        super().__init__(config, clock=clock)
        self._timeout_s = timeout_s
        self._mouse = open_space_mouse() if mouse is None else mouse
        self._lock = threading.Lock()
        self._axes = np.zeros(6)
        self._buttons: tuple[int, ...] = ()
        self._heard_s = -np.inf
        self._mouse.configure(dof_callback=self._hear_axes)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="spacemouse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and release the device."""
        self._closing.set()
        self._thread.join(timeout=1.0)
        self._mouse.close()

    def _deflection(self) -> Deflection | None:
        with self._lock:
            axes, buttons, heard_s = self._axes, self._buttons, self._heard_s
        if self._clock() - heard_s > self._timeout_s:
            axes = np.zeros(6)
        first, second = (any(buttons[i : i + 1]) for i in (0, 1))
        return Deflection(axes=axes, grip=float(second) - float(first), held=any(buttons))

    def _listen(self) -> None:
        """Take every report as it comes, until closed or the device is gone."""
        from pyspacemouse.device import HIDException

        newest = -1.0
        while not self._closing.is_set():
            try:
                state = self._mouse.read()
            except (HIDException, OSError) as error:
                self._lose(str(error) or type(error).__name__)
                return
            if state.t == newest:  # `read` returns the old state where no report waits
                self._closing.wait(_POLL_S)
                continue
            newest = state.t
            with self._lock:
                self._buttons = tuple(state.buttons)

    def _hear_axes(self, state: Any) -> None:
        """Note a report about the cap; one about a button says nothing of it."""
        axes = np.array([state.x, state.y, state.z, state.roll, state.pitch, state.yaw], float)
        with self._lock:
            self._axes, self._heard_s = axes, self._clock()


def open_space_mouse() -> Any:
    """Return the first SpaceMouse that is attached, with axes of a ROS body: x forward, y left, z up.

    Raises:
        ConfigError: If the package, its shared library, a device or the right to read it is missing.
    """
    try:
        import pyspacemouse
    except ModuleNotFoundError:
        raise ConfigError(f"There is no pyspacemouse for a SpaceMouse; {_INSTALL}.") from None
    except (ImportError, OSError) as error:
        raise ConfigError(f"pyspacemouse does not load ({error}); run `apt install libhidapi-hidraw0`.") from error
    try:
        attached = pyspacemouse.get_connected_devices()
    except RuntimeError:  # what easyhid makes of a missing shared library
        raise ConfigError("The HID library is missing; run `apt install libhidapi-hidraw0`.") from None
    if not attached:
        raise ConfigError("No SpaceMouse is attached; plug one in, or choose another device.")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it found
            return pyspacemouse.open(axis_convention=pyspacemouse.AxisConvention.ROS)
    except RuntimeError:
        raise ConfigError(
            f"The {attached[0]} cannot be opened; allow it with a udev rule (docs/hardware.md) and plug it in again."
        ) from None
