"""results.json of an experiment that measures runs of another: page, table and figures are drawn from it alone."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from agps_agent.measure.experiments.declaration import Count
from agps_agent.measure.experiments.measured import (
    Measured,
    MeasuredRun,
    read_boxes,
    read_evaluated,
    read_map,
    to_measure,
)
from agps_agent.measure.experiments.measurement import BOXES, Condition, Landscape, Measurement
from agps_agent.measure.experiments.planning import PlannedRun
from agps_agent.report.experiment.results import (
    Counted,
    Kept,
    KeptResults,
    Origin,
    Part,
    number_of,
    read_kept,
    write_kept,
)


class Trial(Counted):
    """One policy under one condition."""

    condition: str
    mean_steps: float = Field(ge=0)
    policy_steps: Count


class Map(Part):
    """One policy's landscape."""

    at: Count | None
    """Control steps that were asked for; None: the policy that the run ended with."""
    policy_steps: Count
    values: tuple[tuple[float, ...], ...]
    """Rows by height, the lowest first."""


class BoxesOf(Part):
    """The agent's boxes in the scenes of one run."""

    scenes: Count
    centres_mm: tuple[tuple[float, float, float], ...]

    @model_validator(mode="after")
    def _has_no_more_than_scenes(self) -> Self:
        if len(self.centres_mm) > self.scenes:
            raise ValueError(f"{len(self.centres_mm)} boxes in {self.scenes} scenes")
        return self


class MeasuredCell(Kept):
    """A cell of the other experiment, with what was measured of its runs."""

    name: str
    panel: str
    label: str
    declared: Count
    """Runs of it that are declared."""
    options: list[str] = []
    """What its runs were told, without seed and directory; empty in files of earlier versions."""
    trials: list[Trial]
    maps: list[Map]
    boxes: list[BoxesOf]

    def under(self, condition: str) -> list[Trial]:
        """Return what was measured under one condition."""
        return [trial for trial in self.trials if trial.condition == condition]


class MeasuredResults(KeptResults):
    """What an experiment measures, as far as it is done."""

    title: str
    question: str
    command: str
    runs_of: str
    conditions: list[Condition]
    eval_episodes: Count | None = None
    """Of each trial; None in files of earlier versions."""
    landscape: Landscape | None
    cells: list[MeasuredCell]
    missing: list[str]
    """Runs that are not finished, or not measured completely."""

    def parts(self) -> Iterator[Part]:
        """Return all that was measured."""
        for cell in self.cells:
            yield from (*cell.trials, *cell.maps, *cell.boxes)

    @model_validator(mode="after")
    def _measures_what_it_says(self) -> Self:
        named = {condition.name for condition in self.conditions}
        for cell in self.cells:
            if unknown := {trial.condition for trial in cell.trials} - named:
                raise ValueError(f"{cell.name} has trials under {min(unknown)}, which is none of the conditions")
            for one in cell.maps:
                if self.landscape is None:
                    raise ValueError(f"{cell.name} has a landscape, and no grid for it stands in the file")
                self.landscape.check(one.values)
        return self

    @property
    def declared(self) -> int:
        """Runs that are declared."""
        return sum(cell.declared for cell in self.cells)

    @property
    def finished(self) -> int:
        """Runs that are measured completely."""
        return self.declared - len(self.missing)

    @property
    def is_empty(self) -> bool:
        """Nothing is measured."""
        return not any(cell.trials or cell.maps or cell.boxes for cell in self.cells)


def gather_measured(
    measurement: Measurement, runs: Sequence[PlannedRun], folder: Path, *, called: str
) -> MeasuredResults:
    """Read everything that is measured of the finished runs.

    Args:
        measurement: What is declared.
        runs: Those of the experiment that it measures.
        folder: Where its measurements lie.
        called: How the command line names it.

    Raises:
        AgpsError: If a file is damaged.
    """
    measured, unfinished = to_measure(measurement, runs, folder, called=called)
    missing = [run.name for run in unfinished]
    origins: list[Origin] = []
    cells: dict[str, MeasuredCell] = {}
    for run in runs:
        cell = run.cell
        told = {"name": cell.name, "panel": cell.panel, "label": cell.label, "trials": [], "maps": [], "boxes": []}
        told["options"] = _without_seed(run.arguments)
        before = cells.get(cell.name) or MeasuredCell.model_validate({**told, "declared": 0})
        cells[cell.name] = before.model_copy(update={"declared": before.declared + 1})
    for one in measured:
        if _read_into(cells[one.run.cell.name], one, origins) < one.size:
            missing.append(one.name)
    return MeasuredResults(
        name=measurement.name,
        title=measurement.title,
        question=measurement.question,
        command=f"agps reproduce {shlex.quote(called)}",
        runs_of=measurement.runs_of,
        conditions=list(measurement.conditions),
        eval_episodes=measurement.eval_episodes,
        landscape=measurement.landscape,
        origins=origins,
        cells=list(cells.values()),
        missing=missing,
    )


def write_measured(results: MeasuredResults, folder: Path) -> Path:
    """Write results.json, unless that would take measurements away that stand there.

    Raises:
        ConfigError: If the file there has some that these have not.
        AgpsError: If it cannot be written.
    """
    return write_kept(results, folder, holds=_measurements, what="measurements", indent=None)


def read_measured(folder: Path, *, of: str | None = None) -> MeasuredResults:
    """Return what results.json holds, see `read_kept`."""
    return read_kept(folder, MeasuredResults, of=of)


def _measurements(results: MeasuredResults) -> set[tuple[str, int, str]]:
    found = set()
    for cell in results.cells:
        found |= {(cell.name, trial.seed, trial.condition) for trial in cell.trials}
        found |= {(cell.name, one.seed, f"values at {one.at or 'the end'}") for one in cell.maps}
        found |= {(cell.name, one.seed, "boxes") for one in cell.boxes}
    return found


def _without_seed(arguments: Sequence[str]) -> list[str]:
    given = list(arguments)
    if "--seed" in given:
        at = given.index("--seed")
        del given[at : at + 2]
    return given


def _read_into(cell: MeasuredCell, run: MeasuredRun, origins: list[Origin]) -> int:
    """Add what is measured of a run to its cell; return how many measurements that were."""
    there = [point for point in run.points() if point.is_there]
    for point in there:
        if isinstance(point.what, Condition):
            evaluated = read_evaluated(point.path)
            trial = Trial(
                condition=point.what.name,
                seed=run.run.seed,
                origin=_origin(evaluated, origins),
                successes=evaluated.successes,
                episodes=evaluated.episodes,
                mean_steps=evaluated.mean_steps,
                policy_steps=evaluated.policy_steps,
            )
            cell.trials.append(trial)
        elif point.what == BOXES:
            boxes = read_boxes(point.path)
            of = _origin(boxes, origins)
            cell.boxes.append(BoxesOf(seed=run.run.seed, origin=of, scenes=boxes.scenes, centres_mm=boxes.centres_mm))
        else:
            drawn = read_map(point.path)
            at = None if point.what is None else int(point.what.rpartition("-")[2])
            of = _origin(drawn, origins)
            steps = drawn.policy_steps
            cell.maps.append(Map(at=at, seed=run.run.seed, origin=of, policy_steps=steps, values=drawn.values))
    return len(there)


def _origin(measured: Measured, origins: list[Origin]) -> int:
    return number_of(Origin(commit=measured.commit, machine=measured.machine, versions=measured.versions), origins)
