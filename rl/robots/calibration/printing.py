"""The board as a PDF page at its exact size."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from rl.errors import AgpsError, ConfigError
from rl.robots.calibration.board import CharucoBoard, Rectangle

PAGE_MM = (297.0, 210.0)
"""A4, landscape."""
_MARGIN_MM = 8.0
"""Printers leave about 5 mm blank."""
_FOOTER_MM = 36.0
"""Scale bar and sentences."""
_POINTS_PER_MM = 72.0 / 25.4


def write_pdf(board: CharucoBoard, path: Path) -> None:
    """Draw the board on one A4 page, with a bar of 100 mm and what to do with the page; whole or not at all.

    Raises:
        ConfigError: If the board is larger than the page.
        AgpsError: If the disk refuses.
    """
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    square = 1e3 * board.square_m
    room = (PAGE_MM[0] - 2 * _MARGIN_MM, PAGE_MM[1] - 2 * _MARGIN_MM - _FOOTER_MM)
    largest = min(room[0] / board.columns, room[1] / board.rows)
    if square > largest:
        raise ConfigError(
            f"A board of {board.columns}x{board.rows} squares of {square:g} mm is larger than A4; ask for squares of "
            f"at most {np.floor(10 * largest) / 10:g} mm, or for fewer."
        )
    figure = Figure(figsize=(PAGE_MM[0] / 25.4, PAGE_MM[1] / 25.4))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0.0, PAGE_MM[0]), ylim=(PAGE_MM[1], 0.0))
    axes.axis("off")
    left = (PAGE_MM[0] - board.columns * square) / 2
    top = _MARGIN_MM + (room[1] - board.rows * square) / 2
    black, white = board.rectangles()
    _fill(axes, black, left, top, square, "black")
    _fill(axes, white, left, top, square, "white")
    _footer(axes, board, left, top)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasPdf(figure).print_pdf(unfinished)  # type: ignore[no-untyped-call]  # matplotlib's own
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise AgpsError(f"Cannot write {path}: {error.strerror or error}; make room, or name another file.") from error


def _fill(axes: Any, rectangles: list[Rectangle], left: float, top: float, square: float, colour: str) -> None:
    """Fill rectangles as one path: neighbours in separate paths show a seam in many viewers."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)]
    vertices = [
        (left + square * (x + u * width), top + square * (y + v * height))
        for x, y, width, height in rectangles
        for u, v in corners
    ]
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY] * len(rectangles)
    axes.add_patch(PathPatch(Outline(vertices, codes), facecolor=colour, linewidth=0.0, snap=False))


def _footer(axes: Any, board: CharucoBoard, left: float, top: float) -> None:
    """Draw the mark at the origin, the scale bar and the sentences."""
    square = 1e3 * board.square_m
    axes.plot(left - 2.5, top - 2.5, marker="o", markersize=1.6 * _POINTS_PER_MM, color="black")
    bar_y = PAGE_MM[1] - _MARGIN_MM - _FOOTER_MM + 12.0
    ends = (_MARGIN_MM + 4.0, _MARGIN_MM + 104.0)
    line: dict[str, Any] = {"color": "black", "linewidth": 0.25 * _POINTS_PER_MM, "solid_capstyle": "butt"}
    axes.plot(ends, (bar_y, bar_y), **line)
    for tick in range(11):
        axes.plot((ends[0] + 10 * tick,) * 2, (bar_y - (3.0 if tick % 10 == 0 else 1.5), bar_y), **line)
    text: dict[str, Any] = {"fontsize": 9, "family": "DejaVu Sans", "va": "center"}
    axes.text(ends[1] + 4.0, bar_y - 1.5, "this bar is 100 mm between its long ticks", **text)
    axes.text(
        ends[0],
        bar_y + 6.0,
        f"ChArUco board of {board.columns} x {board.rows} squares, {square:g} mm each, {board.dictionary}. "
        "Print at 100 %, without fitting to the page, and glue it flat on something stiff.",
        **text,
    )
    axes.text(
        ends[0],
        bar_y + 12.0,
        "Measure one square with callipers, best across several, and tell it: agps calibrate CAMERA --square-mm "
        "<measured>. The dot is at the board's origin.",
        **text,
    )
