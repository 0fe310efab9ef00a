"""Faults of the arm, and the words in which they are told."""

from typing import Any, Literal

from rl.errors import HardwareFault

DEAD_MAN_S = 1.0
"""Robot time without a sign of life from Python after which the 1 kHz thread stops the arm, [s]."""

StopReason = Literal["force", "dead man"]
"""Why the 1 kHz thread stopped the arm by itself."""


class ArmFault(HardwareFault):
    """Control of the arm was lost; it stands, or the control box has braked it."""

    def __init__(self, message: str, *, stop_s: float | None = None, network: bool = False) -> None:
        super().__init__(message)
        self.stop_s = stop_s
        """Of a stop at the force limit: time from the fault to the end of motion, [s]; None for any other fault."""
        self.network = network
        """Whether the connection was lost with it."""

    @property
    def force(self) -> bool:
        """Whether the arm was stopped at the force limit: the control box is in no error."""
        return self.stop_s is not None


def errors_of(franky: Any) -> tuple[type[Exception], ...]:
    """Return the exceptions with which franky answers what goes wrong on the arm or the hand."""
    return (
        *network_errors_of(franky),
        franky.ControlException,
        franky.CommandException,
        franky.ProtocolException,
        franky.InvalidOperationException,
        franky.InvalidMotionTypeException,
        franky.RealtimeException,
        franky.GripperException,
    )


def network_errors_of(franky: Any) -> tuple[type[Exception], ...]:
    """Return the exceptions of a lost connection: franky's, and a socket's own that libfranka lets through."""
    return franky.NetworkException, RuntimeError  # the latter says "Net Exception"


def reason(error: BaseException) -> str:
    """Return the first line of an exception's text, without its final point."""
    lines = str(error).strip().splitlines()
    return lines[0].removeprefix("libfranka: ").rstrip(".") if lines else type(error).__name__


def lost(ip: str, error: BaseException) -> str:
    """Return what happened when the control box does not answer any more: it brakes an arm that nobody commands."""
    return f"The connection to the arm at {ip} was lost ({reason(error)}); check the cable and the control box."


def stopped_itself(what: StopReason, *, force_N: float, limit_N: float, stop_s: float | None) -> str:
    """Return what happened when the 1 kHz thread stopped the arm."""
    if what == "force":
        return (
            f"The force on the TCP reached {force_N:.1f} N, above the limit of {limit_N:.0f} N (stop_force_factor x "
            f"max_contact_force_N); the arm stood {stop_s or 0.0:.2f} s later. Clear the contact."
        )
    return (
        f"Python did not answer for {DEAD_MAN_S:.1f} s, so the 1 kHz thread stopped the arm by itself. Something held "
        "the interpreter: give training a smaller model or a process of its own."
    )
