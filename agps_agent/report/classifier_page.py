"""What `agps reward eval` leaves: a reliability plot, a gallery of mistakes, and a page with both."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from agps_agent.report.figures import BAD, GOOD, GRID, INK, MUTED, POLICY
from agps_agent.report.html import figure, header, page, picture, section, table, tiles, wide
from rl.files import write_atomically
from rl.rewards.classifier.judging import FrameScore, VerdictScore

RELIABILITY, MISTAKES, PAGE = "reliability.png", "mistakes.png", "index.html"

MOST_MISTAKES = 48
"""Mistakes drawn; what is left out is said."""
_TILE_PX = 128
"""Side of one camera's image in the gallery, [px]."""
_CAPTION_PX = 30
_LEAST_PX = 240
"""Least width of a frame in the gallery: that of its caption, [px]."""
_COLUMNS = 4


def write_classifier_page(
    folder: Path, score: FrameScore, verdicts: Sequence[VerdictScore], *, title: str, n: int
) -> dict[str, str]:
    """Write the plot, the gallery and the page into a folder; return their paths by kind.

    Args:
        folder: Made if it is missing.
        score: Frames.
        verdicts: Rollouts, for several numbers of positive frames in a row; may be empty.
        title: Head of the page.
        n: Number of frames in a row that training uses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plot, gallery = reliability_plot(score), mistakes_picture(score)
    plot.savefig(folder / RELIABILITY, dpi=100)
    gallery.save(folder / MISTAKES)
    left_out = max(0, len(score.mistakes) - MOST_MISTAKES)
    note = "False successes first: each would be a wrong reward. Below each frame: what it is, and the probability."
    sections = [
        header(title, f"{len(score.frames)} held-out frames of {len(set(score.frames.episode))} episodes"),
        tiles(_headline(score, verdicts, n)),
        section(
            "Verdicts on whole rollouts",
            "How often a success is declared, when so many positive frames in a row are asked for.",
            wide(table(_VERDICT_HEAD, map(_verdict_row, verdicts))) if verdicts else "Not measured.",
        ),
        section(
            "Frames by what the arm was doing",
            f"Counts at the threshold {score.threshold:.3f}.",
            wide(table(_SOURCE_HEAD, _source_rows(score))),
        ),
        section("Reliability", "Where the line is on the diagonal, 0.8 means eight of ten.", _embedded(plot)),
        section(
            "Mistakes",
            note + (f" {left_out} more are not shown." if left_out else ""),
            wide(picture(gallery, "Frames that were judged wrongly", width_px=1040)),
        ),
    ]
    write_atomically(folder / PAGE, page(title, sections))
    return {"page": str(folder / PAGE), "reliability": str(folder / RELIABILITY), "mistakes": str(folder / MISTAKES)}


def reliability_plot(score: FrameScore) -> Figure:
    """Draw observed success over predicted probability, and how many frames have which probability."""
    drawing = Figure(figsize=(9.2, 3.6), layout="constrained")
    left, right = drawing.subplots(1, 2)
    bins = score.reliability
    predicted, observed = [b.predicted for b in bins], [b.observed for b in bins]
    low, high = zip(*(b.interval_95 for b in bins), strict=True)
    spread = np.abs(np.array([np.subtract(observed, low), np.subtract(high, observed)]))
    left.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1.0)
    left.errorbar(predicted, observed, yerr=spread, fmt="o-", color=POLICY, ecolor=GRID, linewidth=1.8, capsize=2)
    left.axvline(score.threshold, color=INK, linewidth=1.0, label=f"threshold {score.threshold:.2f}")
    left.set_xlabel("predicted probability of success")
    left.set_ylabel("share of successes")
    left.legend(frameon=False, loc="upper left")
    edges = np.linspace(0.0, 1.0, 21)
    for label, color, name in ((False, BAD, "failures"), (True, GOOD, "successes")):
        values = score.probability[score.frames.success == label]
        right.hist(values, bins=edges, color=color, alpha=0.7, label=f"{len(values)} {name}")
    right.axvline(score.threshold, color=INK, linewidth=1.0)
    right.set_yscale("symlog", linthresh=1.0)
    right.set_xlabel("predicted probability of success")
    right.set_ylabel("frames")
    right.legend(frameon=False, loc="upper center")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(-0.02, 1.02)
    return drawing


def mistakes_picture(score: FrameScore) -> Image.Image:
    """Draw the frames with a wrong verdict, the cameras of each side by side."""
    frames, chosen = score.frames, score.mistakes[:MOST_MISTAKES]
    width = max(_TILE_PX * len(frames.cameras), _LEAST_PX) + 8
    height = _TILE_PX + _CAPTION_PX
    rows = -(-len(chosen) // _COLUMNS)
    sheet = Image.new("RGB", (width * _COLUMNS, max(rows * height, _CAPTION_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    if not len(chosen):
        draw.text((4, 8), "No mistakes.", fill=INK)
    for place, index in enumerate(chosen):
        x, y = (place % _COLUMNS) * width, (place // _COLUMNS) * height
        for offset, camera in enumerate(frames.cameras):
            tile = Image.fromarray(frames.images[camera][index]).resize((_TILE_PX, _TILE_PX), Image.Resampling.NEAREST)
            sheet.paste(tile, (x + offset * _TILE_PX, y))
        success = bool(frames.success[index])
        what = "success, missed" if success else "failure, taken for success"
        draw.text((x + 2, y + _TILE_PX + 1), f"{what}: {score.probability[index]:.2f}", fill=GOOD if success else BAD)
        where = f"{frames.source[index]}, seed {frames.seed[index]}, step {frames.step[index]}"
        draw.text((x + 2, y + _TILE_PX + 14), where, fill=MUTED)
    return sheet


_VERDICT_HEAD = ("in a row", "rollouts", "right", "false", "missed", "precision", "recall", "delay [steps]")
_SOURCE_HEAD = ("the arm", "successes found", "missed", "failures taken for success", "failures known")


def _headline(score: FrameScore, verdicts: Sequence[VerdictScore], n: int) -> list[tuple[str, str]]:
    counts = score.counts
    numbers = [
        (_with_interval(counts.precision, counts.precision_95), "precision of a frame"),
        (_with_interval(counts.recall, counts.recall_95), "recall of a frame"),
        (f"{score.average_precision:.3f}", "average precision"),
    ]
    numbers += [(f"{v.false} of {v.rollouts}", f"rollouts ended wrongly, {n} in a row") for v in verdicts if v.n == n]
    return numbers


def _with_interval(share: float, interval: tuple[float, float]) -> str:
    return f"{share:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _verdict_row(verdict: VerdictScore) -> tuple[str, ...]:
    counts = verdict.counts
    numbers = (verdict.n, verdict.rollouts, verdict.right, verdict.false, verdict.missed)
    shares = (
        _with_interval(counts.precision, counts.precision_95),
        _with_interval(counts.recall, counts.recall_95),
        f"{verdict.mean_delay:.1f}",
    )
    return (*map(str, numbers), *shares)


def _source_rows(score: FrameScore) -> list[tuple[str, ...]]:
    return [
        (source, *map(str, (c.true_positives, c.false_negatives, c.false_positives, c.true_negatives)))
        for source, c in score.by_source.items()
    ]


def _embedded(drawing: Figure) -> str:
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return figure(buffer.getvalue(), "Observed success over predicted probability")
