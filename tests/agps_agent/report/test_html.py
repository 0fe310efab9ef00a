"""Pieces of a page: nothing that a file or a model says becomes markup."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from agps_agent.report import html

NASTY = '<script>alert("1")</script> & <b>'
ESCAPED = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &lt;b&gt;"


def test_options_of_a_command_are_never_broken() -> None:
    said = html.notice("go on with: agps train --run-dir runs/a --resume")
    assert re.findall("<span>(.*?)</span>", said) == ["--run-dir", "--resume"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["float", "stall"], "float, stall"),
        ([], "-"),
        ({}, "-"),
        ({"perceive": 1}, "perceive 1"),
        (None, "-"),
        (0, "0"),
    ],
)
def test_settings_are_written_as_a_person_does(value: object, said: str) -> None:
    assert f"<td>{said}</td>" in html.settings({"run": {"name": value}})


@pytest.mark.parametrize(
    "piece",
    [
        html.page(NASTY, []),
        html.header(NASTY, ""),
        html.header("", NASTY),
        html.section(NASTY, "", ""),
        html.section("", NASTY, ""),
        html.tiles([(NASTY, "steps")]),
        html.tiles([("1", NASTY)]),
        html.figure("<svg/>", NASTY),
        html.link("report.html", NASTY),
        html.link(NASTY, "report"),
        html.table([NASTY], []),
        html.table([], [[NASTY]]),
        html.settings({NASTY: {}}),
        html.settings({"run": {NASTY: 1}}),
        html.settings({"run": {"note": NASTY}}),
        html.badge(NASTY, "guide"),
        html.badges([], NASTY),
        html.notice(f"--run-dir {NASTY}"),
        html.badge("guide", NASTY),
        html.folded(NASTY, "text"),
        html.folded("prompt", NASTY),
    ],
)
def test_every_text_is_escaped(piece: str) -> None:
    assert ESCAPED in piece and "<script>" not in piece


def test_dollar_sign_in_a_text_is_no_placeholder() -> None:
    page = html.page("costs $5 and ${title}", ["<p>$body ${x} $$</p>"])
    assert "costs $5 and ${title}" in page and "<p>$body ${x} $$</p>" in page


def test_sections_stand_in_their_order() -> None:
    page = html.page("run", ["<i>first</i>", "<i>second</i>", "<i>third</i>"])
    assert re.findall(r"<i>(\w+)</i>", page) == ["first", "second", "third"]


def test_only_the_first_number_is_set_apart() -> None:
    tiles = html.tiles([("49 of 50", "successes"), ("3,000", "steps"), ("5", "calls")])
    assert re.findall(r'class="(tile(?: first)?)"', tiles) == ["tile first", "tile", "tile"]


def test_drawing_is_inside_the_page_unchanged() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><text>λ ≥ 1</text></svg>'
    (encoded,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', html.figure(svg, "drawing"))
    assert base64.b64decode(encoded).decode() == svg


def decoded(markup: str) -> Image.Image:
    (encoded,) = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', markup)
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


@pytest.mark.parametrize(
    ("size", "shown"),
    [((1040, 520), (520, 260)), ((640, 480), (520, 390)), ((480, 960), (260, 520)), ((100, 50), (100, 50))],
)
def test_picture_is_scaled_down_in_proportion_and_never_up(size: tuple[int, int], shown: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (200, 30, 30))
    assert decoded(html.picture(image)).size == shown
    assert image.size == size


@pytest.mark.parametrize("mode", ["RGBA", "P", "L"])
def test_picture_of_any_kind_can_be_shown(mode: str) -> None:
    shown = decoded(html.picture(Image.new(mode, (40, 30))))
    assert (shown.size, shown.mode) == ((40, 30), "RGB")


def test_picture_keeps_its_colours() -> None:
    shown = np.asarray(decoded(html.picture(Image.new("RGB", (64, 64), (200, 30, 90)))))
    np.testing.assert_allclose(shown.mean(axis=(0, 1)), (200, 30, 90), atol=4)


def test_link_in_a_table_stays_a_link() -> None:
    table = html.table(("run",), [(html.link("a/report.html", "a"),), ("<a>",)])
    assert '<td><a href="a/report.html">a</a></td>' in table and "<td>&lt;a&gt;</td>" in table


def test_table_without_a_head_has_no_head() -> None:
    assert "<th>" not in html.table((), [("ticks", "300")])
    assert html.table(("name",), []) == "<table><tr><th>name</th></tr></table>"


def test_setting_that_is_not_set_is_a_dash_and_a_false_one_is_told() -> None:
    settings = html.settings({"run": {"demos_dir": None, "resume": False, "seed": 0}})
    assert re.findall(r"<td>([^<]*)</td>", settings) == ["demos_dir", "-", "resume", "False", "seed", "0"]


def test_text_that_is_not_there_leaves_nothing_to_unfold() -> None:
    assert html.folded("prompt", "") == ""
    assert "<summary>prompt</summary><pre>a\nb</pre>" in html.folded("prompt", "a\nb")
