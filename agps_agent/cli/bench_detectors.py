"""`agps bench detectors`: which failure detector tells bad rollouts from good ones, and how soon."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from annotated_types import Ge, Interval

from agps_agent.cli.options import UsageError, json_only_on_stdout, parse_options
from agps_agent.cli.tasks import check_task
from agps_agent.cli.terminal import say
from agps_agent.measure.detectors import FitOn
from rl.bounds import Count, Seed

TASKS = ("usb_insertion", "knot_hanging", "towel_folding")
"""The tasks of the paper."""
DEMONSTRATIONS = 20
"""Those that detectors are fitted on where nobody says another number."""


@dataclass(frozen=True)
class DetectorsOptions:
    """How well detectors tell bad rollouts from good ones, in simulation, on rollouts made anew from seeds.

    Bad: drift, stall, wrong region, missed grasp, dropped object, each from a known step on. The best detector is
    chosen on one split of the rollouts, and the table says what each is worth on another.
    """

    tasks: tyro.conf.Positional[tuple[str, ...]] = TASKS
    """Tasks."""
    episodes: Count = 10
    """Rollouts of each kind in each split, and three times as many good ones: on USB insertion 17 in all for each."""
    demos: Annotated[int, Ge(2)] | None = None
    """Demonstrations that detectors are fitted on. None: 20."""
    seed: Seed = 0
    """Seed of the first start."""
    image_size: Annotated[int, Interval(ge=16, le=1_024)] = 64
    """Edge of the images, [px]."""
    encoders: tuple[str, ...] = ("thumbnail",)
    """What turns images into embeddings: thumbnail, efficientnet, dinov2, package.module:Name or ./file.py:Name."""
    detectors: tuple[str, ...] = ()
    """Further detectors: package.module:Name or ./file.py:Name."""
    policies: tuple[Path, ...] = ()
    """Run directories of one task whose policies act too, beside the scripted expert at five levels of skill."""
    fit_on: FitOn = "demonstrations"
    """What detectors are fitted on: demonstrations, or the newest 40 good rollouts, as later in a run."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps bench detectors`."""
    options = parse_options(DetectorsOptions, argv, prog="agps bench detectors")
    _check(options)
    from agps_agent.measure.detectors.bench import bench_detectors

    with json_only_on_stdout(options.json) as show:
        results = [
            bench_detectors(
                task,
                episodes=options.episodes,
                demos=DEMONSTRATIONS if options.demos is None else options.demos,
                seed=options.seed,
                image_size=options.image_size,
                encoders=options.encoders,
                detectors=options.detectors,
                policies=options.policies,
                fit_on=options.fit_on,
                progress=say,
            )
            for task in options.tasks
        ]
        show({"tasks": results})
    if not options.json:
        print("\n\n".join("\n".join(in_words(result)) for result in results))
    return 0


def _check(options: DetectorsOptions) -> None:
    """Refuse what can be refused before anything is loaded.

    Raises:
        UsageError: With what to do.
    """
    for option, names in (("TASK", options.tasks), ("--encoders", options.encoders)):
        if not names:
            raise UsageError(f"{option}: name at least one.")
        if len(set(names)) < len(names):
            raise UsageError(f"{option}: name each once, not {' '.join(names)}.")
    for task in options.tasks:
        check_task(task)
    if options.demos is not None and options.fit_on == "successes":
        raise UsageError("--demos: with --fit-on successes detectors are fitted on good rollouts; leave it out.")
    if options.policies and len(options.tasks) > 1:
        raise UsageError("--policies: a policy is for one task; name that task alone.")


def in_words(result: Mapping[str, Any]) -> list[str]:
    """Return the lines about one task: the table of the held-out split, and which detector is best."""
    rows: list[Mapping[str, Any]] = result["rows"]
    kinds = list(rows[0]["held_out"]["caught_by_kind"])
    head = ["", "encoder", "detector", "threshold", "AUROC", "good flagged", "light flagged", "caught", "in 10 steps"]
    head += [*(kind.replace("_", " ") for kind in kinds), "before onset", "t <= 3", "delay", "ms/step"]
    best, shipped = result["best"], result["shipped"]
    marks = ["".join(mark for mark, marked in (("*", shipped), (">", best)) if row == marked) for row in rows]
    table = [head, *([mark, *_cells(row, kinds)] for mark, row in zip(marks, rows, strict=True))]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    good = result["rollouts"]["held_out"]["good"]
    costs = ", ".join(f"{name} {cost['ms_per_step']:.2g} ms" for name, cost in result["encoders"].items())
    return [
        f"{result['task']}: held-out split, {good} good rollouts, {result['episodes']} of each other kind, seed "
        f"{result['seed']}; fitted on {result['fit_on']}; shares in %, with 95 % Wilson intervals; delay in control "
        f"steps after the onset, median; an embedding takes {costs}",
        *lines,
        _sentence("> best on the choosing split", best),
        *([] if shipped is None else [_sentence("* what AGPS ships", shipped)]),
    ]


def _cells(row: Mapping[str, Any], kinds: Sequence[str]) -> list[str]:
    numbers = row["held_out"]
    return [
        row["encoder"],
        row["detector"],
        row["threshold"],
        f"{numbers['auroc']:.3f}",
        *(_share(numbers[name]) for name in ("good_flagged", "light_flagged", "caught", "caught_in_time")),
        *(_percent(numbers["caught_by_kind"][kind]) for kind in kinds),
        _percent(numbers["before_onset"]),
        _percent(numbers["first_frames"]),
        _steps(numbers["delay_steps"]),
        f"{numbers['ms_per_step']:.2f}",
    ]


def _sentence(what: str, row: Mapping[str, Any]) -> str:
    numbers = row["held_out"]
    return (
        f"{what}: {row['detector']}, {row['threshold']} threshold, on {row['encoder']}: flags "
        f"{_share(numbers['good_flagged'])} % of good rollouts, catches {_share(numbers['caught'])} % of bad ones, "
        f"{_share(numbers['caught_in_time'])} % within 10 steps, after {_steps(numbers['delay_steps'])} steps "
        "(held-out split)"
    )


def _share(share: Mapping[str, Any]) -> str:
    if share["share"] is None:
        return "-"
    return f"{100 * share['share']:.0f} [{100 * share['low']:.0f}-{100 * share['high']:.0f}]"


def _percent(share: Mapping[str, Any]) -> str:
    return "-" if share["share"] is None else f"{100 * share['share']:.0f}"


def _steps(steps: float | None) -> str:
    return "-" if steps is None else f"{steps:g}"
