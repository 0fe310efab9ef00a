"""Variants side by side: a table for the terminal, and a page that shows where they differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agps_agent.measure.replay.replay import Score, summarise
from agps_agent.report import html
from rl.files import write_atomically

_ROWS: tuple[tuple[str, str, str], ...] = (
    ("answered", "answered", "share"),
    ("keypoint_px", "keypoint error, median [px]", "number"),
    ("keypoint_mm", "keypoint error, median [mm]", "number"),
    ("box_has_goal", "boxes that contain the goal", "share"),
    ("pruned", "workspace cut off by the box, mean", "share"),
    ("valid_plans", "plans whose tool calls could run", "share"),
    ("model_calls", "model calls per question", "number"),
    ("latency_s", "latency, median [s]", "number"),
    ("tokens", "tokens per question", "count"),
)
MOST_SHOWN = 100
"""Questions listed on the page."""


def comparison_table(results: Mapping[str, Sequence[Score]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: what is measured, and one column per variant."""
    summaries = [summarise(scores) for scores in results.values()]
    rows = [["questions", *(str(s["queries"]) for s in summaries)]]
    rows += [[words, *(_cell(s[key], kind) for s in summaries)] for key, words, kind in _ROWS]
    declined = sorted({reason for s in summaries for reason in s["declined"]})
    rows += [[f"declined: {reason}", *(str(s["declined"].get(reason, 0)) for s in summaries)] for reason in declined]
    return ["", *results], rows


def write_comparison_page(path: Path, results: Mapping[str, Sequence[Score]], *, source: str) -> None:
    """Write the table, and the questions on which the variants differ most.

    Args:
        path: Page to write.
        results: Scores per variant, in the same order of questions.
        source: Where the questions come from.

    Raises:
        AgpsError: If the file cannot be written.
    """
    head, rows = comparison_table(results)
    body = [
        html.header("Prompts compared", f"{len(next(iter(results.values())))} recorded questions of {source}"),
        html.section("Averages", "The same questions were asked once with each variant.", html.table(head, rows)),
        html.section(
            "Question by question",
            "Where the variants differ most comes first: answered or not, then the keypoints' error.",
            html.table(["question", *results], _differences(results)),
        ),
    ]
    write_atomically(path, html.page("Prompts compared", body))


def _differences(results: Mapping[str, Sequence[Score]]) -> list[list[str]]:
    together = list(zip(*results.values(), strict=True))
    together.sort(key=_difference, reverse=True)
    return [[scores[0].query, *map(_describe, scores)] for scores in together[:MOST_SHOWN]]


def _difference(scores: Sequence[Score]) -> tuple[bool, float]:
    errors = [s.keypoint_px for s in scores if s.keypoint_px is not None]
    return len({s.answered for s in scores}) > 1, max(errors, default=0.0) - min(errors, default=0.0)


def _describe(score: Score) -> str:
    if not score.answered:
        return score.reason
    parts = [] if score.keypoint_px is None else [f"{score.keypoint_px:.1f} px, {score.keypoint_mm:.1f} mm"]
    if score.box_has_goal is not None:
        parts.append("box has the goal" if score.box_has_goal else "box misses the goal")
    return "; ".join([*parts, f"{score.latency_s:.2f} s", f"{score.tokens} tokens"])


def _cell(value: Any, kind: str) -> str:
    if value is None:
        return "-"
    return {"share": f"{100 * value:.0f} %", "number": f"{value:.3g}", "count": f"{value:.0f}"}[kind]
