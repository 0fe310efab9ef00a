"""Adds what results.json has already to what is found here: an experiment may come together on several machines."""

from collections.abc import Sequence
from typing import TypeVar

from agps_agent.measure.experiments.measurement import Condition
from agps_agent.measure.experiments.planning import run_name
from agps_agent.report.experiment.measured import MeasuredCell, MeasuredResults
from agps_agent.report.experiment.results import Kept, Origin, Results, number_of

KeptT = TypeVar("KeptT", bound=Kept)


def add_runs(here: Results, kept: Results) -> Results:
    """Return results with the runs that were kept of earlier ones, unless they are here too.

    A cell that was told otherwise then keeps none of its runs, and that is said.

    Args:
        here: What the folder of runs holds; nothing of it is replaced.
        kept: What results.json holds.
    """
    origins, left_out = list(here.origins), list(here.left_out)
    before = {cell.name: cell for cell in kept.cells}
    cells = []
    for cell in here.cells:
        there = before.get(cell.name)
        if there is not None and there.runs and there.options != cell.options:
            left_out.append(f"{len(there.runs)} runs of {cell.name} in results.json were told otherwise")
        elif there is not None:
            known = {run.seed for run in cell.runs}
            more = [run for run in there.runs if run.seed not in known]
            runs = sorted([*cell.runs, *_moved(more, kept.origins, origins)], key=lambda run: run.seed)
            cell = cell.model_copy(update={"runs": runs})  # noqa: PLW2901  # the same cell, with more
        cells.append(cell)
    return here.model_copy(update={"cells": cells, "origins": origins, "left_out": left_out})


def add_measurements(here: MeasuredResults, kept: MeasuredResults) -> MeasuredResults:
    """Return what is measured with the measurements that were kept of earlier ones, unless they are here too.

    Those of a condition, a landscape, or runs that are declared otherwise now are not taken; what a condition is called
    on the axis of figures does not matter.

    Args:
        here: What the folders of measurements hold; nothing of it is replaced.
        kept: What results.json holds.
    """
    origins = list(here.origins)
    conditions = [_unlabelled(condition) for condition in kept.conditions]
    same = [condition.name for condition in here.conditions if _unlabelled(condition) in conditions]
    if kept.eval_episodes not in (None, here.eval_episodes):
        same = []
    drawn = here.landscape == kept.landscape
    before = {cell.name: cell for cell in kept.cells}
    cells = []
    for cell in here.cells:
        there = before.get(cell.name)
        if there is not None and there.options in ([], cell.options):
            trials = [trial for trial in there.trials if trial.condition in same]
            more = {
                "trials": _joined(cell.trials, trials, ("condition", "seed"), kept.origins, origins),
                "maps": _joined(cell.maps, there.maps if drawn else [], ("at", "seed"), kept.origins, origins),
                "boxes": _joined(cell.boxes, there.boxes if drawn else [], ("seed",), kept.origins, origins),
            }
            cell = cell.model_copy(update=more)  # noqa: PLW2901  # the same cell, with more
        cells.append(cell)
    whole = {run_name(cell.name, seed) for cell in cells for seed in _whole(cell, here)}
    missing = [name for name in here.missing if name not in whole]
    return here.model_copy(update={"cells": cells, "origins": origins, "missing": missing})


def standing_in(results: Results) -> set[tuple[str, tuple[str, ...], int]]:
    """Return the runs that stand there: cell, what it was told, and seed."""
    return {(cell.name, tuple(cell.options), run.seed) for cell in results.cells for run in cell.runs}


def _unlabelled(condition: Condition) -> Condition:
    return condition.model_copy(update={"label": ""})


def _joined(
    here: Sequence[KeptT], kept: Sequence[KeptT], named: tuple[str, ...], old: Sequence[Origin], origins: list[Origin]
) -> list[KeptT]:
    def key(one: KeptT) -> tuple[object, ...]:
        return tuple(getattr(one, name) for name in named)

    known = {key(one) for one in here}
    return [*here, *_moved([one for one in kept if key(one) not in known], old, origins)]


def _moved(kept: Sequence[KeptT], old: Sequence[Origin], origins: list[Origin]) -> list[KeptT]:
    """Return copies whose origins are counted in another list, which those of theirs join."""
    return [one.model_copy(update={"origin": number_of(old[one.origin], origins)}) for one in kept]  # type: ignore[attr-defined]


def _whole(cell: MeasuredCell, results: MeasuredResults) -> set[int]:
    """Return the seeds of which everything is there that is declared of every run."""
    parts = [{trial.seed for trial in cell.under(condition.name)} for condition in results.conditions]
    if results.landscape is not None:
        parts.append({one.seed for one in cell.maps if one.at is None})
        if results.landscape.boxes:
            parts.append({one.seed for one in cell.boxes})
    return set.intersection(*parts)
