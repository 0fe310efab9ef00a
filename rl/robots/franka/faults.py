"""Faults of the arm, and the words in which they are told."""

from typing import Any

from rl.errors import HardwareFault
from rl.types import Box, FloatArray


class ArmFault(HardwareFault):
    """Control of the arm was lost; it stands, or the control box has braked it."""

    def __init__(self, message: str, *, stop_s: float | None = None, network: bool = False) -> None:
        super().__init__(message)
        self.stop_s = stop_s
        """Time from the fault to the end of motion, [s]; None if it is not known."""
        self.network = network
        """Whether the connection was lost with it."""


def errors_of(franky: Any) -> tuple[type[Exception], ...]:
    """Return the exceptions with which franky answers what goes wrong on the arm."""
    return (
        franky.ControlException,
        franky.NetworkException,
        franky.CommandException,
        franky.ProtocolException,
        franky.InvalidOperationException,
        franky.InvalidMotionTypeException,
        franky.RealtimeException,
    )


def reason(error: BaseException) -> str:
    """Return the first line of an exception's text, without its final point."""
    lines = str(error).strip().splitlines()
    return lines[0].removeprefix("libfranka: ").rstrip(".") if lines else type(error).__name__


def place(T_base_tcp: FloatArray) -> str:
    """Return a pose's position in words."""
    x, y, z = T_base_tcp[:3, 3]
    return f"TCP position ({x:.3f}, {y:.3f}, {z:.3f}) m"


def corners(box: Box) -> str:
    """Return a box's corners in words."""
    return " to ".join("(" + ", ".join(f"{v:.3f}" for v in corner) + ")" for corner in (box.lower, box.upper))
