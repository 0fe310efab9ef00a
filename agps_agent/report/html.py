"""Pieces of a page. Everything that came from a file or a model is escaped here."""

import base64
import importlib.resources
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template

from PIL import Image


def page(title: str, sections: Iterable[str]) -> str:
    """Return a whole page: no script, nothing fetched, nothing beside it needed."""
    template = importlib.resources.files("agps_agent.report").joinpath("template.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=escape(title), body="\n".join(sections))


def header(title: str, subtitle: str) -> str:
    """Return the head of the page."""
    return f'<header><h1>{escape(title)}</h1><div class="muted">{escape(subtitle)}</div></header>'


def section(title: str, note: str, content: str) -> str:
    """Return a titled section; `note` says in one or two sentences how to read it."""
    return f'<section><h2>{escape(title)}</h2>\n<p class="note">{escape(note)}</p>\n{content}</section>'


def notice(text: str, kind: str = "") -> str:
    """Return a sentence that stands out; `kind` is a class of the template."""
    # An option that were broken after one of its dashes could be read as two words.
    said = re.sub(r"--[\w-]+", lambda option: f"<span>{option[0]}</span>", escape(text))
    return f'<p class="notice {escape(kind)}">{said}</p>'


def tiles(numbers: Sequence[tuple[str, str]]) -> str:
    """Return headline numbers as (value, what it is)."""
    cells = [
        f'<div class="tile{" first" if n == 0 else ""}"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for n, (value, what) in enumerate(numbers)
    ]
    return f'<div class="tiles">{"".join(cells)}</div>'


def figure(svg: str, description: str) -> str:
    """Return an SVG drawing as an image inside the page."""
    encoded = base64.b64encode(svg.encode()).decode()
    return f'<figure><img alt="{escape(description)}" src="data:image/svg+xml;base64,{encoded}"></figure>'


def picture(image: Image.Image, description: str = "What the agent was shown", *, width_px: int = 520) -> str:
    """Return an image, scaled down, inside the page."""
    small = image.convert("RGB")
    small.thumbnail((width_px, width_px))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=82)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(description)}" loading="lazy" src="data:image/jpeg;base64,{encoded}">'


def film(webp: bytes, description: str) -> str:
    """Return a moving picture inside the page."""
    encoded = base64.b64encode(webp).decode()
    return f'<img class="film" alt="{escape(description)}" src="data:image/webp;base64,{encoded}">'


def unfolding(title: str, content: str) -> str:
    """Return a part of a page that is shown on a click."""
    return f'<details class="more"><summary>{escape(title)}</summary>{content}</details>'


class Markup(str):
    """Text that is HTML already: not escaped again."""


def link(target: str, text: str) -> Markup:
    """Return a link to a file beside the page."""
    return Markup(f'<a href="{escape(target)}">{escape(text)}</a>')


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts."""
    cells = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = ["<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table><tr>{cells}</tr>{''.join(lines)}</table>" if head else f"<table>{''.join(lines)}</table>"


def wide(content: str) -> str:
    """Return a part of a page that is moved sideways where it is wider than the page."""
    return f'<div class="wide">{content}</div>'


def settings(groups: Mapping[str, Mapping[str, object]]) -> str:
    """Return groups of name and value in two columns."""
    parts = []
    for group, values in groups.items():
        rows = [(name, _setting(value)) for name, value in values.items()]
        parts.append(f"<section><h3>{escape(group)}</h3>{table((), rows)}</section>")
    return f'<div class="columns">{"".join(parts)}</div>'


def _setting(value: object) -> str:
    """Return a value as a person writes it; a dash for none."""
    if isinstance(value, Mapping):
        value = [f"{name} {_setting(one)}" for name, one in value.items()]
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value)) or "-"
    return "-" if value is None or value == "" else str(value)


def badges(labels: Sequence[str], where: str) -> str:
    """Return coloured labels with what they are about at the right end of the line, or below where it is narrow."""
    return f'<div class="head">{"".join(labels)}<span class="where">{escape(where)}</span></div>'


def _cell(text: str) -> str:
    return text if isinstance(text, Markup) else escape(text)


def badge(text: str, kind: str) -> str:
    """Return a coloured label; `kind` is a class of the template."""
    return f'<span class="badge {escape(kind)}">{escape(text)}</span>'


def folded(title: str, text: str) -> str:
    """Return text that is shown on a click; nothing for empty text."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>" if text else ""
