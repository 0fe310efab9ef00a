"""What a grid will take before it runs, and what its questions have cost afterwards.

Control steps, hours by the last measured rate, questions and their price.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from agps_agent.measure.experiments.planning import PlannedRun, is_finished
from agps_agent.models.library import is_url
from agps_agent.models.prices import Price, in_dollars, listed_prices, price_of
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.estimate import Usage, calls_of, usage_of
from rl.counting import counted
from rl.errors import AgpsError

CALLS_ALONE = (2, 10)
"""Fewest and most calls of an episode in which the agent acts alone, mean over those of a run in docs/results."""


@dataclass(frozen=True, kw_only=True)
class AskedEstimate:
    """What runs will ask of one model."""

    model: str
    """Its name, and its server."""
    runs: int
    least: Usage
    """Fewest calls, of all runs together."""
    most: Usage
    price: Price | None
    """None: nobody knows one."""
    in_process: bool
    """It is a model of this process: unless a price is given, its tokens cost nothing."""


@dataclass(frozen=True, kw_only=True)
class GridEstimate:
    """What runs will take, as far as it is known."""

    runs: int
    control_steps: int
    """At most: a run that is solved ends earlier."""
    hours: float | None
    """Of one run after the other, at most; None: of a task that is learned no run has been measured here."""
    longest: float | None
    """Of the longest run, at most, [h]."""
    asked: tuple[AskedEstimate, ...]
    """By the model that is asked; what costs nothing is one."""

    @property
    def asking(self) -> int:
        """Runs that ask the agent."""
        return sum(one.runs for one in self.asked)

    @property
    def least(self) -> Usage:
        """Fewest calls, of all runs together."""
        return _together(one.least for one in self.asked)

    @property
    def most(self) -> Usage:
        """Most calls, of all runs together."""
        return _together(one.most for one in self.asked)

    def hours_with(self, at_a_time: int) -> float | None:
        """Return the hours with some runs at a time, at most: a place that becomes free takes the next run.

        R. L. Graham, Bounds for certain multiprocessing anomalies, 1966.
        """
        if self.hours is None or self.longest is None:
            return None
        return self.hours / at_a_time + self.longest * (1.0 - 1.0 / at_a_time)


def estimate_grid(runs: Sequence[PlannedRun], measured: Iterable[Path]) -> GridEstimate:
    """Return what runs will take.

    Args:
        runs: Those that are still to be done.
        measured: Directories of runs that may have been made here, by which the rate is told.
    """
    rates = step_rates(measured)
    learning = [run for run in runs if run.size]
    known = {run.config.task_name for run in learning} <= rates.keys()
    hours = [run.size / rates[run.config.task_name] / 3600.0 for run in learning] if known else None
    return GridEstimate(
        runs=len(runs),
        control_steps=sum(run.size for run in runs),
        hours=None if hours is None else sum(hours),
        longest=None if hours is None else max(hours, default=0.0),
        asked=tuple(_asked(run for run in runs if run.config.helper == "agent")),
    )


def step_rates(measured: Iterable[Path]) -> dict[str, float]:
    """Return control steps per second of wall-clock by task, without evaluations: the median over finished runs."""
    rates: dict[str, list[float]] = {}
    for path in measured:
        try:
            summary = RunDirectory(path).read_summary() if is_finished(path) else {}
        except AgpsError:  # a damaged run measures nothing
            continue
        if summary.get("env_steps") and summary.get("wall_clock_s"):
            rates.setdefault(str(summary.get("task")), []).append(summary["env_steps"] / summary["wall_clock_s"])
    return {task: median(values) for task, values in rates.items()}


def _bounds(run: PlannedRun) -> tuple[Usage, Usage]:
    """Return what a run takes at least and at most."""
    config = run.config
    calls = calls_of(config.task_options, recalls=config.agent.recalls)
    if run.cell.agent_alone:
        calls = (config.eval_episodes * CALLS_ALONE[0], config.eval_episodes * CALLS_ALONE[1])
    return usage_of(config.task_name, calls)


def _together(each: Iterable[Usage]) -> Usage:
    """Return what runs take together."""
    usages = list(each)
    return Usage(
        calls=sum(usage.calls for usage in usages),
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
    )


def _asked(asking: Iterable[PlannedRun]) -> Iterable[AskedEstimate]:
    """Yield what is asked of each model."""
    by_model: dict[tuple[str, Price | None, bool], list[PlannedRun]] = {}
    for run in asking:
        by_model.setdefault(_model(run.config), []).append(run)
    for (model, price, in_process), runs in by_model.items():
        least, most = zip(*map(_bounds, runs), strict=True)
        yield AskedEstimate(
            model=model,
            runs=len(runs),
            least=_together(least),
            most=_together(most),
            price=price,
            in_process=in_process,
        )


def _model(config: RunConfig) -> tuple[str, Price | None, bool]:
    """Return what a run asks: a name for people, its price, and whether it is a model of this process."""
    named, in_process = config.vlm_model or "", not is_url(config.vlm)
    price = price_of(config.vlm, named, given=(config.vlm_price_in, config.vlm_price_out))
    if not in_process:
        return f"{named or 'the model'} at {config.vlm}", price, in_process
    return ("a model in this process" if price is None else config.vlm), price, in_process


def in_words(estimate: GridEstimate, *, jobs: int) -> list[str]:
    """Return an estimate line by line."""
    at_a_time = max(1, min(jobs, estimate.runs))
    work = f"{counted(estimate.runs, 'run')} to do, at most {estimate.control_steps:,} control steps"
    hours = estimate.hours_with(at_a_time)
    if hours is None:
        work += "; hours are not known: no run of each task has been measured here"
    elif estimate.control_steps > 0:  # of the agent alone there are none: its minutes are not counted
        work += f"; at most {hours:.1f} h with {at_a_time} at a time, and evaluations; by runs that are here"
    lines = [f"{work}."]
    if not estimate.asked:
        return lines
    least, most = estimate.least, estimate.most
    asked = (
        f"{counted(estimate.asking, 'run asks', 'runs ask')} the agent: {least.calls:,} to {most.calls:,} model calls, "
        f"{least.prompt_tokens + least.completion_tokens:,} to {most.prompt_tokens + most.completion_tokens:,} tokens."
    )
    if all(one.in_process and one.price is None for one in estimate.asked):
        lines.append(f"{asked} The embedded model costs nothing; a served one in its place:")
        return lines + [f"  {name}: {_range(price, least, most)}" for name, price in listed_prices()]
    return [*lines, asked, *(f"  {one.model}, {counted(one.runs, 'run')}: {_cost(one)}" for one in estimate.asked)]


def _cost(asked: AskedEstimate) -> str:
    if asked.price is not None:
        return _range(asked.price, asked.least, asked.most)
    if asked.in_process:
        return "nothing"
    return "no price is known; give one with --vlm-price-in and --vlm-price-out"


def _range(price: Price, least: Usage, most: Usage) -> str:
    low, high = (in_dollars(price.of(usage.prompt_tokens, usage.completion_tokens)) for usage in (least, most))
    return f"{low} to {high}"


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the questions of finished runs have cost."""

    runs: int
    """Runs that asked."""
    usage: Usage
    seconds: float
    """Until the replies, [s]."""
    usd: float
    """What is known to have been paid, [USD]: nothing for a model in the process."""


def spent(runs: Iterable[PlannedRun]) -> Spent:
    """Return what the questions of those runs have cost that are finished.

    Raises:
        AgpsError: If a summary is damaged.
    """
    summaries = [RunDirectory(run.path).read_summary() for run in runs if run.standing().state == "finished"]
    asked = [summary for summary in summaries if summary.get("agent_calls")]

    def total(name: str) -> float:
        return float(sum(summary.get(name) or 0 for summary in asked))

    usage = Usage(
        calls=int(total("agent_calls")),
        prompt_tokens=int(total("agent_prompt_tokens")),
        completion_tokens=int(total("agent_completion_tokens")),
    )
    return Spent(runs=len(asked), usage=usage, seconds=total("agent_seconds"), usd=total("agent_usd"))


def spent_in_words(cost: Spent) -> list[str]:
    """Return what questions have cost line by line; nothing where nobody asked."""
    usage = cost.usage
    if not cost.runs:
        return []
    paid = f"{in_dollars(cost.usd)} by the prices of its servers" if cost.usd else "nothing where the model is embedded"
    lines = [
        f"{counted(cost.runs, 'finished run')} asked the agent: {usage.calls:,} model calls, "
        f"{usage.prompt_tokens:,} tokens of prompts and {usage.completion_tokens:,} of replies, "
        f"{cost.seconds:,.0f} s until these. They cost {paid}; the same tokens would cost of a served one:"
    ]
    usd = ((name, price.of(usage.prompt_tokens, usage.completion_tokens)) for name, price in listed_prices())
    return lines + [f"  {name}: {in_dollars(amount)}" for name, amount in usd]
