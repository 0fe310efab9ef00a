"""What a tool is, and which there are: one function, the model of its arguments, and what it gives.

Ours and everybody else's are found in the same way, as entry points `agps.tools`, see `rl.registry`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rl.errors import ConfigError
from rl.registry import Registry
from rl.types import Box, Waypoint
from tools.answers import Mode
from tools.scene import Scene
from tools.targets import Keypoints

Gives = Literal["box", "waypoints", "text"]
"""What a tool comes to: a box that confines exploration, waypoints to follow, or an answer for the model alone."""

MODES: Mapping[Gives, frozenset[Mode]] = {
    "box": frozenset({"prune"}),
    "waypoints": frozenset({"guide"}),
    "text": frozenset({"prune", "guide"}),
}
"""In which kind of help a tool may be offered, by what it gives."""


class Args(BaseModel):
    """Arguments of a tool: unknown names and values that are not finite are refused. Descriptions are prompt text."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ToolFunction = Callable[[Any, Scene, Keypoints], Box | Sequence[Waypoint] | str]
"""From arguments, scene and found keypoints to a box, waypoints or text. It moves nothing and changes nothing.

`ToolRetry` tells the model what to correct; `ToolFailed` what cannot be had.
"""


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """One tool."""

    name: str
    """What the model calls it."""
    args: type[Args]
    """Its arguments; what it does stands in their docstring, for the model."""
    function: ToolFunction
    gives: Gives
    blend_m: float = 0.0
    """How near to its target its last waypoint is left when a move follows, [m]: a teacher that stops teaches to stop.
    0 ends at rest."""

    def __post_init__(self) -> None:
        """Check what a typing error would break far from here."""
        if not re.fullmatch(r"\w+", self.name):
            raise ConfigError(f"A tool is called {self.name!r}; use letters, digits and underscores.")
        if not (isinstance(self.args, type) and issubclass(self.args, Args)):
            raise ConfigError(f"The arguments of the tool {self.name} are {self.args!r}; derive them from Args.")
        if self.gives not in MODES:
            raise ConfigError(f"The tool {self.name} gives {self.gives!r}; choose one of {', '.join(MODES)}.")
        if not self.blend_m >= 0:
            raise ConfigError(f"The tool {self.name} has blend_m {self.blend_m:g}; give 0 or more, in metres.")

    @property
    def description(self) -> str:
        """What the tool does, for the model."""
        return " ".join((self.args.__doc__ or "").split())

    @property
    def modes(self) -> frozenset[Mode]:
        """The kinds of help in which it may be offered."""
        return MODES[self.gives]


Tools = Mapping[str, ToolSpec]
"""Tools that may be called, by the name that the model uses, in the order in which it is told of them."""

Defaults = Mapping[str, Mapping[str, Any]]
"""Arguments by tool that hold where a call leaves them out: what differs between tasks."""

TOOLS: Registry[ToolSpec] = Registry("agps.tools", "tool")
"""Every tool that is installed or was registered by this program."""


def load_tools(names: Iterable[str]) -> Tools:
    """Return tools by their names: registered ones, `package.module:Name` or `./file.py:Name`.

    Raises:
        ConfigError: If there is no such tool, it is none, or two of them would be called by one name.
    """
    tools: dict[str, ToolSpec] = {}
    for name in names:
        spec = TOOLS.load(name)
        if not isinstance(spec, ToolSpec):
            raise ConfigError(f"{name} is {type(spec).__name__}, no ToolSpec; name a tools.spec.ToolSpec.")
        if name in TOOLS and spec.name != name:
            raise ConfigError(f"The tool {name} calls itself {spec.name}; register it as {spec.name}.")
        if tools.setdefault(spec.name, spec) != spec:
            raise ConfigError(f"{name} is called {spec.name} like another tool that is offered; rename one of them.")
    return tools
