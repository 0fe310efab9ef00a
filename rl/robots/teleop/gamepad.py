"""A gamepad in the operator's hand (`pygame` 2), for those without a SpaceMouse."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl.errors import ConfigError
from rl.robots.teleop.hand import Deflection, DeviceHand, HandConfig


@dataclass(frozen=True, kw_only=True)
class GamepadMapping:
    """Numbers of a pad's axes and buttons; the defaults are those of an Xbox pad under Linux."""

    left_x: int = 0
    left_y: int = 1
    left_trigger: int = 2
    right_x: int = 3
    right_y: int = 4
    right_trigger: int = 5
    close: int = 0
    """Button A."""
    open: int = 1
    """Button B."""
    deadman: int = 4
    """The left bumper: nothing moves unless it is held."""
    hat: int = 0
    """The cross."""


class GamepadHand(DeviceHand):
    """Moves the arm while the dead man's button is held, and only then.

    Left stick: forward and left. Right trigger: up, left trigger: down. Right stick: turn about the vertical and nod.
    Cross left and right: roll. A closes the gripper, B opens it. A pad is silent while it is held still, so silence
    says nothing here: letting go of the button, or losing the pad, ends the intervention at once.
    """

    device = "gamepad"

    def __init__(
        self,
        config: HandConfig | None = None,
        *,
        mapping: GamepadMapping | None = None,
        joystick: Any | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the first gamepad.

        Args:
            config: How deflection becomes an action.
            mapping: Which axis and button is which.
            joystick: A `pygame.joystick.Joystick`; None: the first one that is attached.
            clock: Time, [s].

        Raises:
            ConfigError: If pygame or a gamepad is missing, or it has fewer axes or buttons than the mapping names.
        """
        super().__init__(config, clock=clock)
        self._mapping = mapping or GamepadMapping()
        self._pygame = load_pygame()
        self._joystick = self._first_joystick() if joystick is None else joystick
        self._moved_triggers: set[int] = set()
        m, pad = self._mapping, self._joystick
        axes = max(m.left_x, m.left_y, m.left_trigger, m.right_x, m.right_y, m.right_trigger) + 1
        buttons = max(m.close, m.open, m.deadman) + 1
        if pad.get_numaxes() < axes or pad.get_numbuttons() < buttons:
            self.close()
            raise ConfigError(
                f"The gamepad has {pad.get_numaxes()} axes and {pad.get_numbuttons()} buttons; "
                f"{axes} and {buttons} are needed: use a pad with two sticks and two triggers."
            )

    def close(self) -> None:
        """Release the pad."""
        self._joystick.quit()

    def _first_joystick(self) -> Any:
        if self._pygame.joystick.get_count() == 0:
            raise ConfigError("No gamepad is attached; plug one in, or choose another device.")
        return self._pygame.joystick.Joystick(0)

    def _deflection(self) -> Deflection | None:
        pygame, pad, m = self._pygame, self._joystick, self._mapping
        for event in pygame.event.get():  # also brings the axes up to date
            if event.type == pygame.JOYDEVICEREMOVED and event.instance_id == pad.get_instance_id():
                self._lose("unplugged or out of reach")
                return None
        if not pad.get_button(m.deadman):
            return None
        roll = pad.get_hat(m.hat)[0] if pad.get_numhats() > m.hat else 0
        up = (self._trigger(m.right_trigger) - self._trigger(m.left_trigger)) / 2.0
        forward, left = -pad.get_axis(m.left_y), -pad.get_axis(m.left_x)
        nod, turn = -pad.get_axis(m.right_y), -pad.get_axis(m.right_x)
        grip = float(pad.get_button(m.open)) - float(pad.get_button(m.close))
        return Deflection(axes=np.array([forward, left, up, roll, nod, turn], float), grip=grip, held=True)

    def _trigger(self, axis: int) -> float:
        """Return -1 released to 1 pressed; SDL reports 0 for a trigger that has not moved yet."""
        value = float(self._joystick.get_axis(axis))
        if value != 0.0:
            self._moved_triggers.add(axis)
        return value if axis in self._moved_triggers else -1.0


def load_pygame() -> Any:
    """Return pygame with joysticks and events but no window.

    Raises:
        ConfigError: If it is missing or does not start.
    """
    # A window is not needed; no greeting on stdout; SIGTERM stays ours; a pad counts also without a focused window.
    for name, value in (
        ("SDL_VIDEODRIVER", "dummy"),
        ("PYGAME_HIDE_SUPPORT_PROMPT", "1"),
        ("SDL_NO_SIGNAL_HANDLERS", "1"),
        ("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1"),
    ):
        os.environ.setdefault(name, value)
    try:
        import pygame
    except ModuleNotFoundError:
        raise ConfigError('There is no pygame for a gamepad; run `pip install "agps[teleop]"`.') from None
    except ImportError as error:
        raise ConfigError(f"pygame does not load ({error}); install it again.") from error
    try:
        pygame.display.init()
        pygame.joystick.init()
    except pygame.error as error:
        raise ConfigError(f"pygame does not start ({error}); unset SDL_VIDEODRIVER or set it to dummy.") from error
    return pygame
