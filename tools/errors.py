"""Errors of tools, by audience: the model can fix the call, or must plan around it."""

from rl.errors import AgpsError


class ToolError(AgpsError):
    """A tool could not do what the model asked for. The message is sent to the model."""


class ToolRetry(ToolError):
    """The model can fix the call: a value is out of range; the message names value and limit."""


class ToolFailed(ToolError):
    """The model must plan around it: no depth there, nothing to recall, the target cannot be reached."""
