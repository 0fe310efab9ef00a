"""results.json: what an experiment came to, small enough to commit; page, table and figures are drawn from it alone."""

import shlex
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agps_agent.measure.experiments.declaration import Cell, Count, Experiment
from agps_agent.measure.experiments.planning import PlannedRun, standing
from agps_agent.report.curves import episodes_of, evaluations_of, per_ten_rollouts
from agps_agent.run.directory import RunDirectory
from agps_agent.run.model_file import read_model
from agps_agent.run.rows import MOST, check_reportable
from rl.bounds import Share
from rl.errors import AgpsError, ConfigError
from rl.files import read_json_object, write_atomically

FILE = "results.json"
Amount = Annotated[float, Field(ge=0, lt=MOST)]
"""Seconds, newtons, US dollars."""


class Kept(BaseModel):
    """Part of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Origin(Kept):
    """What made runs."""

    commit: str | None
    """None: it was no checkout, or nobody noted it. A `+` behind it: files differed from it."""
    machine: str | None
    versions: dict[str, str]


class Part(Kept):
    """What one run, or one measurement of it, came to."""

    seed: int
    """Of the run."""
    origin: int = Field(ge=0)
    """Number of its origin in the file."""


class Counted(Part):
    """One that is counted in episodes."""

    successes: Count
    """Of the policy alone."""
    episodes: int = Field(ge=1, lt=MOST)

    @model_validator(mode="after")
    def _succeeds_no_more_than_it_tried(self) -> Self:
        if self.successes > self.episodes:
            raise ValueError(f"{self.successes} of {self.episodes} episodes succeeded")
        return self


class KeptResults(Kept):
    """The results of an experiment."""

    name: str
    """Of the experiment."""
    origins: list[Origin]

    @abstractmethod
    def parts(self) -> Iterable[Part]:
        """Return all that has an origin."""

    @model_validator(mode="after")
    def _knows_its_origins(self) -> Self:
        most = max((part.origin for part in self.parts()), default=-1)
        if most >= len(self.origins):
            raise ValueError(f"origin {most} is named, and {len(self.origins)} are there, counted from 0")
        return self


KeptT = TypeVar("KeptT", bound=KeptResults)


class Point(Kept):
    """One evaluation of the policy alone."""

    env_steps: Count
    robot_time_s: Amount
    wall_clock_s: Amount
    success: Share


class RunOutcome(Counted):
    """One finished run, with the successes of its final evaluation."""

    ended_by: str | None
    env_steps: Count
    steps_to_80: Count | None
    """Control steps at the first evaluation with 80 %; None: never."""
    robot_time_s: Amount
    wall_clock_s: Amount
    agent_calls: Count
    memory_hits: Count
    agent_tokens: Count
    agent_prompt_tokens: Count = 0
    """Of those tokens, as far as they were counted apart."""
    agent_completion_tokens: Count = 0
    agent_seconds: Amount = 0.0
    """Until the model's replies, [s]."""
    agent_usd: Amount | None
    human_s: Amount
    stage_1: Share | None
    """Success of stage 1 alone, for a learner that has one."""
    triggers: list[Amount]
    """Triggers in each ten rollouts."""
    triggers_of_newest_ten: bool = False
    """The last of these is of the newest ten; in older files it is scaled up from the rollouts that were left over."""
    training_force_N: Amount | None = None
    """Median over the training's rollouts of the largest contact force in each, [N]."""
    policy_force_N: Amount | None = None
    """Mean over the final evaluation's episodes of the largest contact force in each, [N]."""
    curve: list[Point]


class CellOutcome(Kept):
    """One cell, with the runs of it that are finished."""

    name: str
    task: str
    panel: str
    label: str
    options: list[str]
    """What `agps train`, or `agps eval`, was told, without seed and directory."""
    declared: Count
    """Seeds that it is declared with."""
    budget: Count
    """Most control steps of a run."""
    runs: list[RunOutcome]


class Results(KeptResults):
    """An experiment, as far as it has run."""

    title: str
    question: str
    command: str
    """Runs it, and all that is missing."""
    cells: list[CellOutcome]
    left_out: list[str]
    """Why runs that are there are not counted: they were made with other settings."""

    def parts(self) -> Iterable[Part]:
        """Return every run."""
        return (run for cell in self.cells for run in cell.runs)

    @property
    def finished(self) -> int:
        """Runs that are finished, of those that are declared: what there is besides completes no other cell."""
        return sum(min(len(cell.runs), cell.declared) for cell in self.cells)

    @property
    def declared(self) -> int:
        """Runs that are declared."""
        return sum(cell.declared for cell in self.cells)

    @property
    def hours(self) -> float:
        """Wall-clock time of all runs one after the other, [h]."""
        return sum(run.wall_clock_s for cell in self.cells for run in cell.runs) / 3600.0


def gather(experiment: Experiment, runs: Sequence[PlannedRun], *, called: str) -> Results:
    """Read every run of an experiment that is finished as declared.

    Args:
        experiment: What is declared.
        runs: All that may be there, more seeds than declared among them.
        called: How the command line names the experiment.

    Raises:
        AgpsError: If a file of a run is damaged.
    """
    origins: list[Origin] = []
    outcomes: dict[str, list[RunOutcome]] = {cell.name: [] for cell in experiment.cells}
    budgets: dict[str, int] = {}
    left_out = []
    for run in runs:
        budgets[run.cell.name] = run.size
        now = standing(run)
        if now.state == "other":
            left_out.append(now.why)
        elif now.state == "finished":
            outcomes[run.cell.name].append(_outcome(run, origins))
    return Results(
        name=experiment.name,
        title=experiment.title,
        question=experiment.question,
        command=f"agps reproduce {shlex.quote(called)}",
        origins=origins,
        cells=[_cell(experiment, cell, budgets[cell.name], outcomes[cell.name]) for cell in experiment.cells],
        left_out=left_out,
    )


def write_results(results: Results, folder: Path) -> Path:
    """Write results.json, unless that would take runs away that stand there.

    Raises:
        ConfigError: If the file there has runs that these have not.
        AgpsError: If it cannot be written.
    """
    return write_kept(results, folder, holds=_runs, what="runs", indent=1)


def read_results(folder: Path, *, of: str | None = None) -> Results:
    """Return what results.json holds, see `read_kept`."""
    return read_kept(folder, Results, of=of)


def write_kept(
    results: KeptT, folder: Path, *, holds: Callable[[KeptT], Set[tuple[Any, ...]]], what: str, indent: int | None
) -> Path:
    """Write results.json, unless that would take something away that stands there.

    Args:
        results: What to write.
        folder: Where.
        holds: What results hold: cell, seed, and whatever else tells one from another.
        what: What they hold, in words.
        indent: Of the JSON; None: one line.

    Raises:
        ConfigError: If the file there holds something that these do not.
        AgpsError: If it cannot be written.
    """
    path = folder / FILE
    if path.is_file():
        gone = sorted(holds(read_kept(folder, type(results), of=results.name)) - holds(results))
        if gone:
            cell, seed, *rest = gone[0]
            words = [part for part in rest if isinstance(part, str)]
            raise ConfigError(
                f"{path} has {len(gone)} {what} that are not in this folder of runs "
                f"({', '.join([cell, f'seed {seed}', *words])}); copy them together, or name another "
                "--out; --add keeps those of cells that are declared now as they were then."
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, results.model_dump_json(indent=indent) + "\n")
    return path


def read_kept(folder: Path, kind: type[KeptT], *, of: str | None = None) -> KeptT:
    """Return what results.json holds.

    Args:
        folder: Where it lies.
        kind: Of what.
        of: Name of the experiment that it has to be of. None: any.

    Raises:
        AgpsError: If it is damaged, or of another version.
        ConfigError: If it is of another experiment.
    """
    kept = read_model(folder / FILE, kind, then="it is damaged, or of another version")
    if of is not None and kept.name != of:
        raise ConfigError(f"{folder / FILE} is of the experiment {kept.name}, not of {of}; name another --out.")
    return kept


def number_of(origin: Origin, origins: list[Origin]) -> int:
    """Return the place of an origin among those that are known, which it joins if it is new."""
    if origin not in origins:
        origins.append(origin)
    return origins.index(origin)


def _runs(results: Results) -> set[tuple[Any, ...]]:
    return {(cell.name, run.seed, tuple(cell.options)) for cell in results.cells for run in cell.runs}


def _cell(experiment: Experiment, cell: Cell, budget: int, runs: list[RunOutcome]) -> CellOutcome:
    return CellOutcome(
        name=cell.name,
        task=cell.task,
        panel=cell.panel,
        label=cell.label,
        options=list(experiment.arguments_of(cell)),
        declared=experiment.seeds_of(cell),
        budget=budget,
        runs=sorted(runs, key=lambda run: run.seed),
    )


def _outcome(run: PlannedRun, origins: list[Origin]) -> RunOutcome:
    directory = RunDirectory(run.path)
    rows, summary = directory.read_metrics(), directory.read_summary()
    check_reportable(rows, summary, run.path)
    final = [row for row in rows if row.get("kind") == "final_eval"]
    if not final:
        raise AgpsError(f"{run.path / 'metrics.jsonl'} lacks the final evaluation; it is damaged, copy it again.")
    episodes = int(summary["eval_episodes"])
    usd = summary.get("agent_usd")
    return RunOutcome(
        seed=run.seed,
        origin=number_of(_origin(directory.config), origins),
        ended_by=summary.get("ended_by"),
        successes=round(summary["success_rate"] * episodes),
        episodes=episodes,
        env_steps=_whole(summary, "env_steps"),
        steps_to_80=None if summary.get("steps_to_80") is None else int(summary["steps_to_80"]),
        robot_time_s=_rounded(summary.get("robot_time_s")),
        wall_clock_s=_rounded(summary.get("wall_clock_s")),
        agent_calls=_whole(summary, "agent_calls"),
        memory_hits=_whole(summary, "memory_hits"),
        agent_tokens=_whole(summary, "agent_tokens"),
        agent_prompt_tokens=_whole(summary, "agent_prompt_tokens"),
        agent_completion_tokens=_whole(summary, "agent_completion_tokens"),
        agent_seconds=_rounded(summary.get("agent_seconds")),
        agent_usd=None if usd is None else float(usd),
        human_s=_rounded(summary.get("human_s")),
        stage_1=summary.get("pretrain_success_rate"),
        triggers=[round(count, 2) for count in per_ten_rollouts(episodes_of(rows), "triggered")],
        triggers_of_newest_ten=True,
        training_force_N=_median(episodes_of(rows), "contact_force_peak_N"),
        policy_force_N=_median(final[-1:], "contact_force_peak_N"),
        curve=[_point(row) for row in evaluations_of(rows)],
    )


def _point(row: dict[str, Any]) -> Point:
    return Point(
        env_steps=_whole(row, "env_steps"),
        robot_time_s=_rounded(row.get("robot_time_s")),
        wall_clock_s=_rounded(row.get("wall_clock_s")),
        success=round(float(row["success_rate"]), 4),
    )


def _origin(config: Path) -> Origin:
    saved = read_json_object(config)
    told = {name: saved.get(name) for name in ("commit", "machine")}
    versions = saved.get("versions") or {}
    try:
        return Origin.model_validate({**told, "versions": {str(n): str(version) for n, version in versions.items()}})
    except (AttributeError, ValidationError) as error:
        raise AgpsError(f"{config}: commit, machine or versions are damaged; copy it again.") from error


def _whole(row: dict[str, Any], name: str) -> int:
    return int(row.get(name) or 0)


def _median(rows: Iterable[dict[str, Any]], name: str) -> float | None:
    known = [row[name] for row in rows if row.get(name) is not None]
    return round(median(known), 2) if known else None


def _rounded(seconds: float | None) -> float:
    return round(float(seconds or 0.0), 1)
