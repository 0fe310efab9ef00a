"""Variants side by side: a table for the terminal, and a page that shows where they differ."""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agps_agent.measure.replay.replay import Query, Score, summarise
from agps_agent.report import html
from agps_agent.report.interventions import trigger_in_words
from prompts.loader import load_prompt
from rl.files import write_atomically

_ROWS: tuple[tuple[str, str, str], ...] = (
    ("answered", "answered", "share"),
    ("keypoint_px", "keypoint error, median [px]", "number"),
    ("keypoint_mm", "keypoint error, median [mm]", "number"),
    ("swapped", "keypoints in each other's place", "share"),
    ("box_has_goal", "boxes that contain the goal", "share"),
    ("pruned", "workspace cut off by the box, mean", "share"),
    ("valid_plans", "plans whose tool calls could run", "share"),
    ("model_calls", "model calls per question", "number"),
    ("latency_s", "latency, median [s]", "number"),
    ("tokens", "tokens per question", "count"),
)
MOST_SHOWN = 100
"""Questions on the page."""
SHOWN_PX = 400
"""Longest side of their images: a hundred of them are some 3 MB."""


def comparison_table(results: Mapping[str, Sequence[Score]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: what is measured, and one column per variant."""
    summaries = [summarise(scores) for scores in results.values()]
    rows = [["questions", *(str(s["queries"]) for s in summaries)]]
    rows += [[words, *(_cell(s[key], kind) for s in summaries)] for key, words, kind in _ROWS]
    declined = sorted({reason for s in summaries for reason in s["declined"]})
    rows += [[f"declined: {reason}", *(str(s["declined"].get(reason, 0)) for s in summaries)] for reason in declined]
    return ["", *results], rows


def write_comparison_page(
    path: Path,
    results: Mapping[str, Sequence[Score]],
    *,
    queries: Sequence[Query],
    versions: Mapping[str, Mapping[str, int]],
    source: str,
) -> None:
    """Write the table, what differs between the prompts, and the questions, those with the largest difference first.

    Args:
        path: Page to write.
        results: Scores per variant, in the same order of questions.
        queries: The questions, which are shown and linked to.
        versions: Prompts that each variant asked with in another version than the newest.
        source: Where the questions come from.

    Raises:
        AgpsError: If the file cannot be written.
    """
    head, rows = comparison_table(results)
    body = [
        html.header("Prompts compared", f"{len(next(iter(results.values())))} recorded questions of {source}"),
        html.section(
            "Averages",
            "The same questions were asked once with each variant. A dash: nothing to measure it by. Keypoints of a "
            "pair that were given each other's place, left for right, are counted apart, and are no errors in pixels.",
            html.wide(html.table(head, rows)),
        ),
        *_prompts(versions),
        html.section(
            "Question by question",
            "Where the variants differ most comes first: answered or not, then keypoints in each other's place, then "
            "their error. The image is what the agent was shown when the question was recorded, with what it answered "
            "then.",
            f'<div class="gallery">{"".join(_cards(results, {query.id: query for query in queries}, path))}</div>',
        ),
    ]
    write_atomically(path, html.page("Prompts compared", body))


def _prompts(versions: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what differs between the prompts of each variant and those of the one before it, folded."""
    folded: dict[frozenset[str], str] = {}  # models are compared with each prompt: one pair, many variants
    for before, after in pairwise(versions):
        chosen = versions[before], versions[after]
        for name in sorted({*chosen[0], *chosen[1]}):
            one, other = (load_prompt(name, versions.get(name)) for versions in chosen)
            lines = _lines(one.system, one.user), _lines(other.system, other.user)
            difference = "\n".join(difflib.unified_diff(*lines, one.tag, other.tag, lineterm="", n=2))
            folded.setdefault(
                frozenset((one.tag, other.tag)), html.folded(f"{one.tag} and {other.tag}", difference)
            )  # nothing where they are the same
    if not any(folded.values()):
        return []
    note = "Each variant against the one before it; lines with - are of the former, with + of the latter."
    return [html.section("What differs between the prompts", note, "".join(folded.values()))]


def _lines(system: str, user: str) -> list[str]:
    return ["## system", *system.splitlines(), "## user", *user.splitlines()]


def _cards(results: Mapping[str, Sequence[Score]], queries: Mapping[str, Query], page: Path) -> Iterator[str]:
    """Yield each question with its image, a link to its folder, and what the variants made of it."""
    together = list(zip(*results.values(), strict=True))
    together.sort(key=_difference, reverse=True)
    for scores in together[:MOST_SHOWN]:
        query = queries.get(scores[0].query)
        image = "" if query is None else html.picture(query.picture, width_px=SHOWN_PX)
        told = zip(results, map(_describe, scores), strict=True)
        lines = "".join(f"<p><b>{escape(name)}</b><br>{escape(description)}</p>" for name, description in told)
        yield f'<div class="card">{image}<div class="body">{_title(scores[0].query, query, page)}{lines}</div></div>'


def _title(name: str, query: Query | None, page: Path) -> str:
    if query is None or query.folder is None:
        return f"<b>{escape(name)}</b>"
    beside = Path(os.path.relpath(query.folder.resolve(), page.resolve().parent)).as_posix()
    woken = escape(f"{query.mode}, {trigger_in_words(query.trigger)}")
    return f'<b>{html.link(quote(beside) + "/", name)}</b> <span class="muted">{woken}</span>'


def _difference(scores: Sequence[Score]) -> tuple[bool, int, float]:
    errors = [s.keypoint_px for s in scores if s.keypoint_px is not None]
    swaps = [s.swapped for s in scores]
    spread_px = max(errors, default=0.0) - min(errors, default=0.0)
    return len({s.answered for s in scores}) > 1, max(swaps) - min(swaps), spread_px


def _describe(score: Score) -> str:
    if not score.answered:
        return score.reason
    parts = [] if score.keypoint_px is None else [f"{score.keypoint_px:.1f} px, {score.keypoint_mm:.1f} mm"]
    if score.swapped:
        parts.append(f"{score.swapped} of {score.compared} keypoints in each other's place")
    if score.box_has_goal is not None:
        parts.append("box has the goal" if score.box_has_goal else "box misses the goal")
    return "; ".join([*parts, f"{score.latency_s:.2f} s", f"{score.tokens} tokens"])


def _cell(value: Any, kind: str) -> str:
    if value is None:
        return "-"
    return {"share": f"{100 * value:.0f} %", "number": f"{value:.3g}", "count": f"{value:.0f}"}[kind]
