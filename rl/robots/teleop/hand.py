"""What every device in a person's hand has in common: deadband, scale, direction, and when the hand is off."""

import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rl.errors import ConfigError
from rl.supervisor import Hand
from rl.types import POSE_ACTIONS, FloatArray, Observation

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HandConfig:
    """How the deflection of a device becomes an action."""

    actions: int = 6
    """Size of the task's action: 6, or 7 with a gripper command."""
    deadband: float = 0.1
    """Deflection that counts as none, of 1; beyond it the action grows from 0 (ours: a cap pushed one way also
    moves a little in the others)."""
    translation_scale: float = 1.0
    """Action at full deflection, at most 1: less moves finer."""
    rotation_scale: float = 1.0
    """The same for rotations."""
    operator_yaw_rad: float = 0.0
    """Direction in which the operator looks, about the base's z from its x axis, [rad]: 0 stands behind the arm, pi
    faces it."""
    release_s: float = 0.2
    """The hand counts as off when the device has been let go for this long: crossing the middle is no release, [s]."""

    def __post_init__(self) -> None:
        """Refuse what no action can be made of."""
        if self.actions not in (POSE_ACTIONS, POSE_ACTIONS + 1):
            raise ConfigError(f"teleop.actions is {self.actions}; a task has 6, or 7 with a gripper command.")
        if not 0.0 <= self.deadband < 1.0:
            raise ConfigError(f"teleop.deadband is {self.deadband}; ask for a value in [0, 1).")
        for name in ("translation_scale", "rotation_scale"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ConfigError(f"teleop.{name} is {getattr(self, name)}; ask for a value in (0, 1].")
        if not self.release_s >= 0.0:
            raise ConfigError(f"teleop.release_s is {self.release_s}; ask for at least 0.")


@dataclass(frozen=True, kw_only=True)
class Deflection:
    """Where a person holds a device at one moment."""

    axes: FloatArray
    """Forward, left, up, and the turns about them, as the operator sees it. Shape (6,), in [-1, 1]."""
    grip: float = 0.0
    """1: a button asks to open the gripper, -1: to close it, 0: to keep it."""
    held: bool = False
    """A button says that the hand is on the device even while nothing is deflected."""


class DeviceHand(Hand):
    """A hand on a device. A subclass says how the device is deflected, and when it is lost."""

    device: str
    """What the device is called in messages."""

    def __init__(self, config: HandConfig | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with the hand off.

        Args:
            config: How deflection becomes an action.
            clock: Time, [s].
        """
        self.config = config or HandConfig()
        self._clock = clock
        self._touched_s = -np.inf
        self._loss: str | None = None

    @property
    def lost(self) -> bool:
        """Whether the device has gone: no hand will be on it again."""
        return self._loss is not None

    @abstractmethod
    def _deflection(self) -> Deflection | None:
        """Return how the device is held now; None if a dead man's switch says that nobody holds it."""

    def read(self, observation: Observation) -> FloatArray | None:
        """Return the action that the hand asks for, shape (A,), in [-1, 1]; None while it is off or the device lost."""
        if self.lost:
            return None
        deflection = self._deflection()
        if deflection is None or self.lost:
            self._touched_s = -np.inf
            return None
        action = self._action(deflection)
        now_s = self._clock()
        if deflection.held or deflection.grip or np.any(action):
            self._touched_s = now_s
        return action if now_s - self._touched_s <= self.config.release_s else None

    def _action(self, deflection: Deflection) -> FloatArray:
        """Return scale * (|a| - deadband) / (1 - deadband) with the sign of a, per axis, turned into base axes."""
        config = self.config
        axes = np.clip(np.nan_to_num(deflection.axes), -1.0, 1.0)
        beyond = np.maximum(np.abs(axes) - config.deadband, 0.0) / (1.0 - config.deadband)
        wanted = np.sign(axes) * beyond * np.repeat([config.translation_scale, config.rotation_scale], 3)
        c, s = np.cos(config.operator_yaw_rad), np.sin(config.operator_yaw_rad)
        R_base_operator = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        action = np.concatenate([R_base_operator @ wanted[:3], R_base_operator @ wanted[3:]])
        if config.actions > POSE_ACTIONS:
            action = np.append(action, deflection.grip)
        bounded: FloatArray = np.clip(action, -1.0, 1.0).astype(np.float32)
        return bounded

    def _lose(self, reason: str) -> None:
        """End the intervention for good and say so once."""
        if self._loss is None:
            self._loss = reason
            _log.warning("The %s is lost (%s): the policy acts alone; plug it in and start again.", self.device, reason)
