"""An experiment that trains nothing: what is measured of the finished runs of another, as it is declared.

A cell of it is a cell of the other experiment, measured with each of its runs under each condition.
"""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from agps_agent.measure.conditions import Conditions
from agps_agent.measure.experiments.declaration import Declared, Episodes, Name
from agps_agent.run.directory import kept_at
from rl.types import FloatArray

MEASURES = "runs_of"
"""Entry by which a file that measures is known from one that trains."""
BOXES, VALUES = "boxes", "values-"
"""How the files of landscapes are called, or begin to be."""
_MOST_POINTS = 20_000
"""Of one landscape: each is rendered."""

Range = tuple[float, float]
"""Least and most."""


class Condition(Conditions):
    """Conditions under which each policy is evaluated, with their name."""

    name: Name
    """Names its files: lower-case letters, digits, `-`, `_` and `.`."""
    label: str = Field(min_length=1)
    """On the axis of figures."""


class Landscape(Declared):
    """A grid in the Y-Z plane through the goal at which each policy's value is drawn."""

    goal: str
    """Point of the simulator's truth that the working point of what is held is at when it is there."""
    y_mm: Range
    """From and to where, beside the goal, [mm]."""
    z_mm: Range
    """From and to where, above the goal, [mm]."""
    step_mm: float = Field(gt=0)
    """Distance of two points, [mm]."""
    at: tuple[Annotated[int, Field(strict=True, ge=1)], ...] = ()
    """Control steps whose policies are drawn as well as the last; a run that has not kept one is drawn without it."""
    boxes: int = Field(0, strict=True, ge=0)
    """Scenes of each run in which the agent is asked for a box. 0: nobody is asked."""

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        for name, (least, most) in (("y_mm", self.y_mm), ("z_mm", self.z_mm)):
            if not most > least:
                raise ValueError(f"{name} goes from {least:g} to {most:g}; write the smaller number first")
        count = (_steps(self.y_mm, self.step_mm) + 1) * (_steps(self.z_mm, self.step_mm) + 1)
        if count > _MOST_POINTS:
            raise ValueError(f"step_mm = {self.step_mm:g} makes {count:,} points, and {_MOST_POINTS:,} are the most")
        return self

    @property
    def ys_mm(self) -> FloatArray:
        """Beside the goal, rising, [mm]. Shape (columns,)."""
        return _grid(self.y_mm, self.step_mm)

    @property
    def zs_mm(self) -> FloatArray:
        """Above the goal, rising, [mm]. Shape (rows,)."""
        return _grid(self.z_mm, self.step_mm)

    @property
    def plane(self) -> "Landscape":
        """The same without what makes no difference to one map of values."""
        return self.model_copy(update={"at": (), "boxes": 0})

    def check(self, values: tuple[tuple[float, ...], ...]) -> None:
        """Refuse values, rows by height, that are not as many as there are points.

        Raises:
            ValueError: If they are not.
        """
        rows, columns = len(self.zs_mm), len(self.ys_mm)
        if [len(row) for row in values] != [columns] * rows:
            raise ValueError(f"the values do not fill the grid of {rows} x {columns} points")

    @property
    def checkpoints(self) -> tuple[str | None, ...]:
        """Names of the checkpoints that are drawn, the oldest first; None: the policy that the run ended with."""
        return (*(kept_at(steps) for steps in sorted(set(self.at))), None)


class Measurement(Declared):
    """What is measured of the finished runs of an experiment."""

    name: Name
    """The file's name without suffix."""
    title: str = Field(min_length=1)
    question: str = Field(min_length=1)
    """What is measured for, in one or two sentences."""
    runs_of: str
    """Experiment whose runs are measured: one that ships, or FILE.toml."""
    cells: tuple[Name, ...] = ()
    """Cells of it that are measured. None named: all."""
    eval_episodes: Episodes = 50
    """Episodes under each condition, from the starts of the final evaluation."""
    conditions: tuple[Condition, ...] = ()
    landscape: Landscape | None = None

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if not self.conditions and self.landscape is None:
            raise ValueError("it measures nothing; declare [[conditions]] or a [landscape]")
        for part in ("name", "label"):
            told = [getattr(condition, part) for condition in self.conditions]
            for word in told:
                if told.count(word) > 1:
                    raise ValueError(f"two conditions have the {part} {word!r}; call each otherwise")
        for condition in self.conditions:
            if condition.name == BOXES or condition.name.startswith(VALUES):
                raise ValueError(
                    f"a condition is called {condition.name}, as files of landscapes are; call it otherwise"
                )
        return self


def _grid(ends: tuple[float, float], step: float) -> FloatArray:
    return ends[0] + step * np.arange(_steps(ends, step) + 1)


def _steps(ends: tuple[float, float], step: float) -> int:
    """Return how many whole steps there are; those of the smallest number that there is are no number."""
    return int(min((ends[1] - ends[0]) / step + 1e-9, 1e9))
