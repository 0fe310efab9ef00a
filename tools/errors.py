"""Errors of tools, by audience: the model can fix the call, or must plan around it."""

from typing import Literal

from rl.errors import AgpsError

ToolReason = Literal[
    "bad_arguments",
    "unknown_tool",
    "tool_not_allowed",
    "unknown_keypoint",
    "outside_image",
    "no_depth",
    "outside_workspace",
    "box_misses_workspace",
    "answers_spent",
]
"""What went wrong, as a closed set, so that it can be counted."""


class ToolError(AgpsError):
    """A tool could not do what the model asked for. The message is sent to the model."""

    def __init__(self, message: str, *, reason: ToolReason = "bad_arguments") -> None:
        super().__init__(message)
        self.reason: ToolReason = reason


class ToolRetry(ToolError):
    """The model can fix the call: a value is out of range; the message names value and limit."""


class ToolFailed(ToolError):
    """The model must plan around it: no depth there, nothing to recall, the target cannot be reached."""


class BrokenTool(AgpsError):
    """A tool does not do what every tool must: whoever wrote it has to mend it."""


class MemoryUnavailable(AgpsError):
    """The memory cannot be opened, read or written; what was remembered before is still there."""
