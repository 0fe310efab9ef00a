"""What is measured of finished runs, on disk: one file per measurement, beside those of the same run.

    runs/fig4a/usb-agps-0-seed0/start-1.5.json

A file is written when its measurement is whole, so that whatever ends the process costs one measurement at most. It
names the run that it is of, and what was asked for: where either has changed it is measured again.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeVar

from pydantic import Field, model_validator

from agps_agent.measure.experiments.declaration import Count, Declared
from agps_agent.measure.experiments.measurement import BOXES, VALUES, Condition, Landscape, Measurement
from agps_agent.measure.experiments.planning import Glance, PlannedRun, Standing
from agps_agent.run.directory import RunDirectory
from agps_agent.run.model_file import read_model
from rl.errors import AgpsError
from rl.ownership import owner_of

MeasuredT = TypeVar("MeasuredT", bound="Measured")


class Measured(Declared):
    """What every file says."""

    of_run: str
    """Digest of the run's summary."""
    commit: str | None
    machine: str | None
    versions: dict[str, str]
    seconds: float
    """How long it took, [s]."""


class Evaluated(Measured):
    """A policy under one condition."""

    condition: Condition
    episodes: int
    seed: int
    """Of the first start; episode k starts from seed + k."""
    failed_seeds: tuple[int, ...]
    mean_steps: float = Field(ge=0)
    policy_steps: Count
    """Control steps of training of the policy."""

    @model_validator(mode="after")
    def _fails_no_more_than_it_tried(self) -> Self:
        if self.episodes < 1 or len(self.failed_seeds) > self.episodes:
            raise ValueError(f"{len(self.failed_seeds)} of {self.episodes} episodes failed")
        return self

    @property
    def successes(self) -> int:
        """Episodes that succeeded."""
        return self.episodes - len(self.failed_seeds)


class ValueMap(Measured):
    """What one policy expects over the plane."""

    landscape: Landscape
    """Its grid."""
    seed: int
    """Of the scene."""
    policy_steps: Count
    values: tuple[tuple[float, ...], ...]
    """Returns, rows by height, the lowest first."""

    @model_validator(mode="after")
    def _fills_its_grid(self) -> Self:
        self.landscape.check(self.values)
        return self


class Boxes(Measured):
    """Where the agent's boxes are in some scenes."""

    landscape: Landscape
    """Its goal is what the centres are relative to."""
    scenes: Count
    seed: int
    """Of the first scene."""
    centres_mm: tuple[tuple[float, float, float], ...]
    """Middle of each box, relative to the TCP at the goal, base axes, [mm]; fewer than scenes where it gave none."""

    @model_validator(mode="after")
    def _has_no_more_than_scenes(self) -> Self:
        if len(self.centres_mm) > self.scenes:
            raise ValueError(f"{len(self.centres_mm)} boxes in {self.scenes} scenes")
        return self


@dataclass(frozen=True)
class Point:
    """One measurement that is declared."""

    path: Path
    what: Condition | str | None
    """A condition; the checkpoint whose landscape is drawn, None for the run's last policy; or `BOXES`."""
    is_there: bool
    """Its file is that of this run, as it is declared now."""


@dataclass(frozen=True)
class MeasuredRun:
    """One finished run, and what is measured of it."""

    unit: ClassVar[str] = "measurements"
    does: ClassVar[Literal["train", "eval"]] = "eval"

    run: PlannedRun
    path: Path
    """Where the measurements lie."""
    measurement: Measurement
    called: str
    """How the command line names the experiment."""

    @property
    def name(self) -> str:
        """Name of its directory, which is that of the run."""
        return self.path.name

    @property
    def size(self) -> int:
        """How many measurements are declared."""
        return len(self.points())

    def points(self) -> list[Point]:
        """Return what is declared, in its order, and whether it is there."""
        return points(self.measurement, RunDirectory(self.run.path), self.path)

    def standing(self) -> Standing:
        """Return how it stands; a process that measures there is what decides first."""
        owner = owner_of(self.path)
        if owner is not None:
            return Standing("in use", f"process {owner} measures in {self.path}")
        return Standing("finished" if all(point.is_there for point in self.points()) else "queued")

    def glance(self) -> Glance:
        """Return how many measurements are there."""
        return Glance(sum(point.is_there for point in self.points()))

    def begin(self) -> tuple[str, ...]:
        """Return what `agps eval` is told."""
        return str(self.run.path), "--experiment", self.called, "--out", str(self.path)


def to_measure(
    measurement: Measurement, runs: Sequence[PlannedRun], folder: Path, *, called: str
) -> tuple[list[MeasuredRun], list[PlannedRun]]:
    """Return what is measured of the runs that are finished, and the runs that are not.

    Args:
        measurement: What is declared.
        runs: Those of the experiment that it measures.
        folder: Where its measurements lie.
        called: How the command line names it.
    """
    finished = [run for run in runs if run.standing().state == "finished"]
    missing = [run for run in runs if run not in finished]
    return [MeasuredRun(run, folder / run.name, measurement, called) for run in finished], missing


def points(measurement: Measurement, run: RunDirectory, folder: Path) -> list[Point]:
    """Return what is declared of one run, in its order, and whether it is there.

    A checkpoint that the run has not kept is left out.
    """
    of_run, found = digest(run), []
    for condition in measurement.conditions:
        path = folder / f"{condition.name}.json"
        found.append(Point(path, condition, _is_evaluated(path, of_run, condition, measurement)))
    landscape = measurement.landscape
    if landscape is None:
        return found
    for name in landscape.checkpoints:
        if name is None or (run.checkpoints / name).is_dir():
            path = folder / map_name(name)
            found.append(Point(path, name, _is_mapped(path, of_run, landscape)))
    if landscape.boxes:
        path = folder / f"{BOXES}.json"
        found.append(Point(path, BOXES, _is_boxed(path, of_run, landscape)))
    return found


def map_name(checkpoint: str | None) -> str:
    """Return the name of the file with the landscape of a checkpoint; None: of the run's last policy."""
    return f"{VALUES}{checkpoint or 'last'}.json"


def digest(run: RunDirectory) -> str:
    """Return what tells a finished run from another in its place."""
    try:
        return hashlib.sha256(run.summary.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def read_evaluated(path: Path) -> Evaluated:
    """Return the policy under one condition.

    Raises:
        AgpsError: If the file is damaged.
    """
    return _read(path, Evaluated)


def read_map(path: Path) -> ValueMap:
    """Return one landscape.

    Raises:
        AgpsError: If the file is damaged.
    """
    return _read(path, ValueMap)


def read_boxes(path: Path) -> Boxes:
    """Return the agent's boxes.

    Raises:
        AgpsError: If the file is damaged.
    """
    return _read(path, Boxes)


def _read(path: Path, kind: type[MeasuredT]) -> MeasuredT:
    return read_model(path, kind, then="delete it, and it is measured again")


def _fits(path: Path, kind: type[MeasuredT], of_run: str, is_as_declared: Callable[[MeasuredT], bool]) -> bool:
    """Return whether a file is of this run, and of what is declared; one that is missing or damaged is neither."""
    try:
        there = _read(path, kind)
    except AgpsError:
        return False
    return there.of_run == of_run and is_as_declared(there)


def _is_evaluated(path: Path, of_run: str, condition: Condition, measurement: Measurement) -> bool:
    wanted = (condition.values, measurement.eval_episodes)
    return _fits(path, Evaluated, of_run, lambda there: (there.condition.values, there.episodes) == wanted)


def _is_mapped(path: Path, of_run: str, landscape: Landscape) -> bool:
    return _fits(path, ValueMap, of_run, lambda there: there.landscape == landscape.plane)


def _is_boxed(path: Path, of_run: str, landscape: Landscape) -> bool:
    wanted = (landscape.goal, landscape.boxes)
    return _fits(path, Boxes, of_run, lambda there: (there.landscape.goal, there.scenes) == wanted)
