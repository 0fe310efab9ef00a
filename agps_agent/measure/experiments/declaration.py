"""An experiment as it is declared before it runs: a TOML file with its question and its cells.

Those that ship lie beside this file; docs/reproduce.md explains each entry.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator

from agps_agent.run.rows import MOST
from rl.errors import ConfigError
from rl.nearest import did_you_mean

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_RUNNERS_OWN = {
    "--seed": "write seeds = N",
    "--eval-episodes": "write eval_episodes = N",
    "--run-dir": "--runs DIR of `agps reproduce` names the folder",
    "--out": "--runs DIR of `agps reproduce` names the folder",
    "--episodes": "write eval_episodes = N",
    "--agent-alone": "write agent_alone = true",
    "--resume": "a run that was cut off is continued by itself",
    "--threads": "--jobs of `agps reproduce` shares out the cores",
    "--dry-run": "nothing here is on a robot",
    "--json": "the results are in results.json",
    "--help": "a cell is run, not asked",
}
"""Options that a cell must not have, and what to do in their place."""


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no folder; use lower-case letters, digits, '-', '_' and '.'")
    return name


def _checked_options(options: str) -> str:
    try:
        told = shlex.split(options)
    except ValueError as error:
        raise ValueError(f"{options!r} is no command line ({error})") from None
    for argument in told:
        flag = argument.partition("=")[0].replace("_", "-")
        if flag in _RUNNERS_OWN:
            raise ValueError(f"{flag} does not belong here: {_RUNNERS_OWN[flag]}")
    return options


Name = Annotated[str, AfterValidator(_checked_name)]
Options = Annotated[str, AfterValidator(_checked_options)]
MOST_SEEDS = 1_000
"""Of a cell: each is a training of minutes to hours."""
Seeds = Annotated[int, Field(strict=True, ge=1, le=MOST_SEEDS)]
"""How many: 3 are the seeds 0, 1 and 2."""
Episodes = Annotated[int, Field(strict=True, ge=1)]
Count = Annotated[int, Field(ge=0, lt=MOST)]
"""Steps, episodes or tokens that were counted."""


class Declared(BaseModel):
    """Part of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cell(Declared):
    """One combination of settings, run with several seeds."""

    name: Name
    """Names its run directories: lower-case letters, digits, `-`, `_` and `.`."""
    task: str
    """What is learned."""
    panel: str = Field(min_length=1)
    """Title of the axes that it is drawn in, beside what it is compared with."""
    label: str = Field(min_length=1)
    """Its name in the legend: the same label has the same colour in every panel."""
    agent_alone: StrictBool = False
    """Nothing is learned: the agent's waypoints alone act, and `options` are those of `agps eval --agent-alone`."""
    options: Options = ""
    """Further options of `agps train`, as on the command line."""
    seeds: Seeds | None = None
    """None: as many as the experiment's."""
    eval_episodes: Episodes | None = None
    """Episodes of the final evaluation. None: as many as the experiment's."""


class Experiment(Declared):
    """Cells that answer one question."""

    name: Name
    """The file's name without suffix."""
    title: str = Field(min_length=1)
    question: str = Field(min_length=1)
    """What its cells are compared for, in one or two sentences."""
    seeds: Seeds
    eval_episodes: Episodes = 50
    options: Options = ""
    """Options of `agps train` that every cell that trains has; those of a cell come after them."""
    cells: tuple[Cell, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _tells_its_cells_apart(self) -> Self:
        names = [cell.name for cell in self.cells]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two cells are called {name!r}; name each otherwise")
        if self.options and all(cell.agent_alone for cell in self.cells):
            raise ValueError(
                "its options are of `agps train`, and no cell trains; write those of the agent in the cells"
            )
        drawn = [(cell.panel, cell.label) for cell in self.cells]
        for cell in self.cells:
            if drawn.count((cell.panel, cell.label)) > 1:
                raise ValueError(f"the panel {cell.panel!r} has two cells with the label {cell.label!r}")
        return self

    def seeds_of(self, cell: Cell) -> int:
        """Return how many seeds a cell is declared with."""
        return cell.seeds or self.seeds

    def episodes_of(self, cell: Cell) -> int:
        """Return the episodes of a cell's final evaluation."""
        return cell.eval_episodes or self.eval_episodes

    def arguments_of(self, cell: Cell) -> tuple[str, ...]:
        """Return what a cell tells `agps train`, or `agps eval --agent-alone`, without seed and directory."""
        if cell.agent_alone:
            return ("--agent-alone", cell.task, *shlex.split(cell.options), "--episodes", str(self.episodes_of(cell)))
        told = [*shlex.split(self.options), *shlex.split(cell.options)]
        return (cell.task, *told, "--eval-episodes", str(self.episodes_of(cell)))

    def chosen(self, names: Sequence[str]) -> tuple[Cell, ...]:
        """Return cells by name, in the order of the file; all where none is named.

        Raises:
            ConfigError: If there is none of a name.
        """
        known = [cell.name for cell in self.cells]
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f"{self.name} has no cell {name!r}; its cells are {', '.join(known)}.{hint}")
        return tuple(cell for cell in self.cells if not names or cell.name in names)
