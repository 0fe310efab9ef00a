"""From a declared experiment to its runs: what each is told, where it lies, and how far it has come."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from agps_agent.measure.experiments.declaration import MOST_SEEDS, Cell, Experiment
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import differing, load_config
from agps_agent.run.directory import RunDirectory
from agps_agent.run.rows import check_types
from rl.errors import AgpsError, ConfigError
from rl.evaluation import FINAL_SEED
from rl.ownership import owner_of

Parse = Callable[[Sequence[str]], RunConfig]
"""The parser of `agps train` and `agps eval --agent-alone`: refuses what they refuse."""
State = Literal["queued", "in use", "finished", "other"]
"""Nothing or only a part is there; a process trains there; finished as declared; something else lies in its place."""

BESIDE_THE_POINT = frozenset(
    {"run_dir", "threads", "max_minutes", "checkpoint_every", "keep_at", "record_every", "wandb", "station"}
)
"""Settings that no result depends on: where and how fast a run went, and what it kept."""
ALONE_APART = 1_000
"""The agent alone begins where policies are evaluated, and its next run so many starts further on."""
FOLLOWS = frozenset({"agent_demos"})
"""Settings that follow from others, which are named before them."""
CUT_OFF = ("interrupted", "fault")
"""What `ended_by` says of a run that goes on."""
_TAIL_BYTES = 1 << 17
"""How much of metrics.jsonl is read to tell how far a run is: some tens of rollouts."""


@dataclass(frozen=True)
class Standing:
    """How a run stands on disk."""

    state: State
    why: str = ""
    """Who uses it, or what differs."""


@dataclass(frozen=True)
class Glance:
    """How far a run has come."""

    done: int = 0
    """Control steps, or what else its `unit` says."""
    success: float | None = None
    """Of the policy alone, at the newest evaluation."""


@dataclass(frozen=True)
class PlannedRun:
    """One seed of one cell."""

    unit: ClassVar[str] = "control steps"
    """What is counted to tell how far it is."""

    cell: Cell
    seed: int
    path: Path
    """Its run directory."""
    arguments: tuple[str, ...]
    """What `agps train`, or `agps eval --agent-alone`, is told, without the directory."""
    config: RunConfig
    """The same, as that command understands it."""

    @property
    def name(self) -> str:
        """Name of its directory."""
        return self.path.name

    @property
    def size(self) -> int:
        """Most control steps; 0 where nothing is learned from them."""
        return 0 if self.config.offline or self.cell.agent_alone else self.config.max_env_steps

    @property
    def does(self) -> Literal["train", "eval"]:
        """The command that does it."""
        return "eval" if self.cell.agent_alone else "train"

    def standing(self) -> Standing:
        """Return how it stands."""
        return standing(self)

    def glance(self) -> Glance:
        """Return how far it has come."""
        return glance(self.path)

    def begin(self) -> tuple[str, ...]:
        """Return what its command is told to begin it, or to go on; what died before its first checkpoint goes."""
        directory = RunDirectory(self.path)
        if self.cell.agent_alone:  # a minute or two, which are done again
            directory.clear()
            return (*self.arguments, "--out", str(self.path))
        if directory.has_checkpoint:  # its own settings hold, which are those declared
            return self.cell.task, "--run-dir", str(self.path), "--resume"
        directory.clear()
        return (*self.arguments, "--run-dir", str(self.path))


def plan(
    experiment: Experiment, folder: Path, parse: Parse, *, seeds: int | None = None, cells: Sequence[str] = ()
) -> tuple[PlannedRun, ...]:
    """Return the runs of an experiment; seeds change last, so that a first answer to each question comes early.

    Args:
        experiment: What is declared.
        folder: Where the run directories lie.
        parse: Refuses a wrong option before anything runs.
        seeds: How many each cell is run with; None: as declared.
        cells: Names of those that are wanted; empty: all.

    Raises:
        ConfigError: If there is no such cell, or `agps train` would refuse one.
    """
    runs: list[PlannedRun] = []
    for cell in experiment.chosen(cells):
        arguments = experiment.arguments_of(cell)
        try:
            config = parse(arguments)
        except ConfigError as error:
            raise ConfigError(f"{experiment.name}, cell {cell.name}: {error}") from None
        except SystemExit:  # a cell that asks for help
            raise ConfigError(f"{experiment.name}, cell {cell.name}: its options ask for help.") from None
        for seed in range(seeds or experiment.seeds_of(cell)):
            told_seed = FINAL_SEED + ALONE_APART * seed if cell.agent_alone else seed
            told = (*arguments, "--seed", str(told_seed))
            path = folder / run_name(cell.name, seed)
            runs.append(PlannedRun(cell, seed, path, told, config.model_copy(update={"seed": told_seed})))
    return tuple(sorted(runs, key=lambda run: run.seed))  # stable: cells stay in their order


def run_name(cell: str, seed: int) -> str:
    """Return the name of a run's directory."""
    return f"{cell}-seed{seed}"


def seeds_found(experiment: Experiment, folder: Path) -> int:
    """Return one more than the largest seed of which there is a run directory; 0: there is none that can be one."""
    names = {entry.name for entry in folder.iterdir() if entry.is_dir()} if folder.is_dir() else set()
    known = {cell.name for cell in experiment.cells}
    parted = (name.rpartition("-seed") for name in names)
    seeds = (int(seed) + 1 for cell, _, seed in parted if cell in known and seed.isdecimal())
    return max((seed for seed in seeds if seed <= MOST_SEEDS), default=0)


def standing(run: PlannedRun) -> Standing:
    """Return how a run stands; a process that trains there is what decides first."""
    owner = owner_of(run.path)
    if owner is not None:
        return Standing("in use", f"process {owner} trains in {run.path}")
    directory = RunDirectory(run.path)
    if not directory.config.is_file():
        if directory.summary.is_file():  # a copy without it: what it is of is not known, and it is somebody's result
            return Standing("other", f"{run.path} is finished, and has no config.json; copy it again, or move it away.")
        return Standing("queued")
    try:
        differs = list(differing(load_config(directory), run.config, but=BESIDE_THE_POINT))
        finished = is_finished(run.path)
    except AgpsError as error:
        return Standing("other", f"{str(error).rstrip('.')}; move {run.path} away, or name another --runs.")
    if differs:
        name, was, now = min(differs, key=lambda one: (one[0] in FOLLOWS, one))
        return Standing(
            "other",
            f"{run.path} was made with {name} = {was}, and {now} is declared; move it away, or name another --runs.",
        )
    return Standing("finished" if finished else "queued")


def is_finished(path: Path) -> bool:
    """Return whether a run came to its own end, whatever it was told.

    Raises:
        AgpsError: If its summary is damaged.
    """
    summary = RunDirectory(path).read_summary()
    return summary.get("success_rate") is not None and summary.get("ended_by") not in CUT_OFF


def glance(path: Path) -> Glance:
    """Return how far a run has come, from the end of its metrics; a line that is damaged, or being written, is none."""
    try:
        with RunDirectory(path).metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return Glance()
    steps, success = 0, None
    for line in reversed(lines):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                continue
            check_types(row, where=str(path))
            steps = max(steps, int(row.get("env_steps") or 0))
        except (ValueError, OverflowError, AgpsError):
            continue
        if success is None and row.get("kind") in ("pretrain_eval", "eval", "final_eval"):
            success = row.get("success_rate")
    return Glance(steps, success)
