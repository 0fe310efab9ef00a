"""The table of an experiment: how often, how sure, after how many steps, at what cost."""

from collections.abc import Iterable, Sequence
from statistics import median

from agps_agent.models.prices import in_dollars, listed_prices
from agps_agent.report.curves import NEVER
from agps_agent.report.experiment.intervals import median_interval
from agps_agent.report.experiment.results import CellOutcome, Results
from rl.evaluation import wilson_interval

HEAD = (
    "regime",
    "method",
    "runs",
    "policy alone",
    "95 % (Wilson)",
    "control steps to 80 %",
    "95 % (bootstrap)",
    "control steps",
    "robot time [min]",
    "wall-clock [min]",
    "agent calls",
    "memory hits",
    "cost",
    "human [s]",
    "triggers per 10, peak",
    "at the end",
    "stage 1 alone",
    "contact force peak, training [N]",
    "policy alone [N]",
)
ALWAYS = 7
"""Columns that stand in every table; others that say nothing are left out."""
NOTHING = "-"


def table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return head and rows, one per cell, those that have not run among them; columns that say nothing are left out."""
    rows = [_row(cell) for cell in results.cells]
    told = [n < ALWAYS or any(row[n] not in (NOTHING, "0") for row in rows) for n in range(len(HEAD))]
    kept = [n for n, says in enumerate(told) if says]
    return [HEAD[n] for n in kept], [[row[n] for n in kept] for row in rows]


def cost_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return head and rows, one per cell that asked a model: what a run's questions took, and cost by each price list.

    Medians over seeds. The money is that of the tokens that were counted, whichever model was asked.
    """
    prices = listed_prices()
    head = ["regime", "method", "model calls", "prompt tokens", "reply tokens", "seconds to the replies"]
    rows = []
    for cell in results.cells:
        asked = [run for run in cell.runs if run.agent_calls and (run.agent_tokens or run.agent_prompt_tokens)]
        if asked:
            counts = ("agent_calls", "agent_prompt_tokens", "agent_completion_tokens", "agent_seconds")
            told = [f"{median(getattr(run, count) for run in cell.runs):,.0f}" for count in counts]
            costs = [
                in_dollars(median(price.of(run.agent_prompt_tokens, run.agent_completion_tokens) for run in cell.runs))
                for _, price in prices
            ]
            rows.append([cell.panel, cell.label, *told, *costs])
    return [*head, *(name for name, _ in prices)], rows


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as GitHub-flavoured Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"


def steps_to_80(cell: CellOutcome) -> tuple[str, str]:
    """Return the median over seeds of the control steps to 80 %, and its bootstrap interval.

    A run that never got there counts as later than all; the median may then be never, too.
    """
    if not cell.runs or cell.budget == 0:
        return NOTHING, NOTHING
    steps = [NEVER if run.steps_to_80 is None else float(run.steps_to_80) for run in cell.runs]
    reached = sum(run.steps_to_80 is not None for run in cell.runs)
    said = _steps(median(steps), cell.budget)
    if 0 < reached < len(steps):
        said += f" ({reached} of {len(steps)} runs)"
    low, high = median_interval(steps)
    return said, NOTHING if len(steps) == 1 else f"{_steps(low, cell.budget)} to {_steps(high, cell.budget)}"


def count_of(runs: int, declared: int) -> str:
    """Return how many runs there are of those that are declared; whoever wants more may have run more."""
    return f"{runs} of {declared}" if runs <= declared else f"{runs}, where {declared} are declared"


def _row(cell: CellOutcome) -> list[str]:
    runs = cell.runs
    wins, trials = sum(run.successes for run in runs), sum(run.episodes for run in runs)
    low, high = wilson_interval(wins, trials) if runs else (0.0, 1.0)
    money = [run.agent_usd for run in runs if run.agent_usd is not None]
    stage_1 = [run.stage_1 for run in runs if run.stage_1 is not None]
    peaks = [max(run.triggers) for run in runs if run.triggers]
    return [
        cell.panel,
        cell.label,
        count_of(len(runs), cell.declared),
        f"{wins}/{trials}" if runs else NOTHING,
        f"{low:.0%} to {high:.0%}" if runs else NOTHING,
        *steps_to_80(cell),
        _middle((run.env_steps for run in runs), "{:,.0f}"),
        _middle((run.robot_time_s / 60 for run in runs), "{:.1f}"),
        _middle((run.wall_clock_s / 60 for run in runs), "{:.1f}"),
        _middle((run.agent_calls for run in runs), "{:,.0f}"),
        _middle((run.memory_hits for run in runs), "{:,.0f}"),
        in_dollars(median(money)) if money else NOTHING,
        _middle((run.human_s for run in runs), "{:,.0f}"),
        _middle(peaks, "{:.1f}"),
        _middle((run.triggers[-1] for run in runs if run.triggers), "{:.1f}"),
        _middle(stage_1, "{:.0%}"),
        _middle((run.training_force_N for run in runs if run.training_force_N is not None), "{:.1f}"),
        _middle((run.policy_force_N for run in runs if run.policy_force_N is not None), "{:.1f}"),
    ]


def _middle(values: Iterable[float], form: str) -> str:
    """Return the median over seeds; nothing where none is above 0."""
    known = list(values)
    return form.format(median(known)) if any(known) else NOTHING


def _steps(steps: float, budget: int) -> str:
    return f"never in {budget:,}" if steps == NEVER else f"{steps:,.0f}"
