"""What a grid will take before it runs, and what its questions have cost afterwards.

Control steps, hours by the last measured rate, questions and their price.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from agps_agent.measure.experiments.planning import PlannedRun, is_finished
from agps_agent.models.prices import in_dollars, listed_prices, price_of
from agps_agent.run.directory import RunDirectory
from agps_agent.run.estimate import Usage, calls_of, usage_of
from rl.errors import AgpsError

CALLS_ALONE = (2, 10)
"""Fewest and most calls of an episode in which the agent acts alone, mean over those of a run in docs/results."""


@dataclass(frozen=True, kw_only=True)
class GridEstimate:
    """What runs will take, as far as it is known."""

    runs: int
    control_steps: int
    """At most: a run that is solved ends earlier."""
    hours: float | None
    """Of one run after the other, at most; None: of a task that is learned no run has been measured here."""
    asking: int
    """Runs that ask the agent."""
    least: Usage
    """Fewest calls, of all runs together."""
    most: Usage
    prices: tuple[tuple[str, float, float], ...]
    """What that costs at least and at most, [USD], by the name of model and server."""


def estimate_grid(runs: Sequence[PlannedRun], measured: Iterable[Path]) -> GridEstimate:
    """Return what runs will take.

    Args:
        runs: Those that are still to be done.
        measured: Directories of runs that may have been made here, by which the rate is told.
    """
    steps = {run.name: run.size for run in runs}
    rates = step_rates(measured)
    tasks = {run.config.task_name for run in runs if steps[run.name]}
    known = tasks <= rates.keys()
    seconds = sum(steps[run.name] / rates[run.config.task_name] for run in runs if steps[run.name]) if known else None
    asking = [run for run in runs if run.config.helper == "agent"]
    bounds = [_bounds(run) for run in asking]
    least, most = (_together([one[end] for one in bounds]) for end in (0, 1))
    return GridEstimate(
        runs=len(runs),
        control_steps=sum(steps.values()),
        hours=None if seconds is None else seconds / 3600.0,
        asking=len(asking),
        least=least,
        most=most,
        prices=tuple(_prices(asking, least, most)),
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


def _together(each: Sequence[Usage]) -> Usage:
    """Return what runs take together."""
    return Usage(
        calls=sum(usage.calls for usage in each),
        prompt_tokens=sum(usage.prompt_tokens for usage in each),
        completion_tokens=sum(usage.completion_tokens for usage in each),
    )


def _prices(asking: Sequence[PlannedRun], least: Usage, most: Usage) -> Iterable[tuple[str, float, float]]:
    """Yield what it costs: with the served models that the runs name, or else with each whose price is known."""
    config = asking[0].config if asking else None
    if config is None:
        return
    given = config.vlm_price_in, config.vlm_price_out
    own = price_of(config.vlm, config.vlm_model or "", given=given)
    named = listed_prices() if own is None else ((config.vlm_model or config.vlm, own),)
    for name, price in named:
        low, high = (price.of(usage.prompt_tokens, usage.completion_tokens) for usage in (least, most))
        yield name, low, high


def in_words(estimate: GridEstimate, *, jobs: int) -> list[str]:
    """Return an estimate line by line."""
    at_a_time = max(1, min(jobs, estimate.runs))
    work = f"{estimate.runs} runs to do, at most {estimate.control_steps:,} control steps"
    if estimate.hours is None:
        work += "; hours are not known: no run of each task has been measured here"
    elif estimate.control_steps > 0:  # of the agent alone there are none: its minutes are not counted
        hours = estimate.hours / at_a_time
        work += f"; at most {hours:.1f} h with {jobs} at a time, and evaluations; by runs that are here"
    lines = [f"{work}."]
    if estimate.asking:
        least, most = estimate.least, estimate.most
        lines.append(
            f"{estimate.asking} runs ask the agent: {least.calls:,} to {most.calls:,} model calls, "
            f"{least.prompt_tokens + least.completion_tokens:,} to {most.prompt_tokens + most.completion_tokens:,} "
            "tokens. The embedded model costs nothing; a served one in its place:"
        )
        lines += [f"  {name}: {in_dollars(low)} to {in_dollars(high)}" for name, low, high in estimate.prices]
    return lines


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
        f"{cost.runs} finished runs asked the agent: {usage.calls:,} model calls, {usage.prompt_tokens:,} tokens of "
        f"prompts and {usage.completion_tokens:,} of replies, {cost.seconds:,.0f} s until these. They cost {paid}; the "
        "same tokens would cost of a served one:"
    ]
    usd = ((name, price.of(usage.prompt_tokens, usage.completion_tokens)) for name, price in listed_prices())
    return lines + [f"  {name}: {in_dollars(amount)}" for name, amount in usd]
