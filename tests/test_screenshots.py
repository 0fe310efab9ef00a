"""Pictures of pages are those that the script takes, and what it takes fits a desk and a phone."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from rl.errors import AgpsError
from scripts.browser import DESK_PX, PHONE_PX, Page, open_page
from scripts.draw_screenshots import MOST_BYTES, WINDOWS, Look, address, draw, made_pages, show
from tests.agps_agent.report.synthetic import make_run
from tests.browser import needs_browser

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
ENDING = "Out of steps; go on with: agps train usb_insertion --run-dir runs/usb --resume --max-env-steps 4800"


def embedded() -> dict[Path, str]:
    """Each picture that README and docs show, and the words in its place."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {
        (page.parent / picture).resolve(): words
        for page in pages
        for words, picture in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    }


def test_every_embedded_picture_exists_and_has_words_for_who_does_not_see_it() -> None:
    assert [picture.name for picture, words in embedded().items() if not (picture.is_file() and words)] == []


def test_docs_show_what_the_script_takes_and_nothing_else_lies_beside_it() -> None:
    taken = {f"{name}.png" for name in WINDOWS}
    assert {picture.name for picture in embedded() if picture.parent == PICTURES} == taken
    assert {file.name for file in PICTURES.iterdir()} == taken


@pytest.mark.parametrize("name", WINDOWS)
def test_a_picture_is_small_and_as_large_as_its_window(name: str) -> None:
    file = PICTURES / f"{name}.png"
    assert file.stat().st_size <= MOST_BYTES
    with Image.open(file) as image:
        assert (image.size, image.mode) == (WINDOWS[name], "P")


@needs_browser
def test_a_picture_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.draw_screenshots.MOST_BYTES", 10_000)
    noise = Image.frombytes("RGB", (100, 100), random.Random(0).randbytes(3 * 100 * 100))
    noise.save(tmp_path / "noise.png")
    (tmp_path / "page.html").write_text("<img src=noise.png>")
    with pytest.raises(AgpsError, match="show less of the page"):
        draw(Look("comparison", address(tmp_path / "page.html")), tmp_path, tmp_path / "profiles")


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Look]]:
    """Every page, of two runs, one of them in a folder with a long name."""
    folder = tmp_path_factory.mktemp("pages")
    run = make_run(folder / "usb", episodes=40)
    run.write_summary({**run.read_summary(), "ending": ENDING})
    other = make_run(folder / "a_run_with_a_long_name_and_demonstrations", method="conrft", demos=20, episodes=40)
    with made_pages(run.path, other.path, folder) as pages:
        yield {look.name: look for look in pages}


@pytest.fixture(params=[DESK_PX, PHONE_PX])
def width_px(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def unfold(page: Page, look: Look) -> None:
    show(page, look)
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")


@needs_browser
@pytest.mark.parametrize("name", WINDOWS)
def test_no_page_is_wider_than_its_window(looks: dict[str, Look], name: str, width_px: int, tmp_path: Path) -> None:
    with open_page(looks[name].url, tmp_path / "profile", size=(width_px, 900)) as page:
        unfold(page, looks[name])
        assert page.evaluate("document.documentElement.scrollWidth") <= width_px


@needs_browser
def test_a_report_can_be_read_at_both_widths(looks: dict[str, Look], width_px: int, tmp_path: Path) -> None:
    """Figures have letters of 10 points, 4/3 px each; the command in the notice has three options."""
    with open_page(looks["report"].url, tmp_path / "profile", size=(width_px, 900)) as page:
        unfold(page, looks["report"])
        scale = "[...document.querySelectorAll('figure img')].map((image) => image.width / image.naturalWidth)"
        assert min(page.evaluate(scale)) * 10 * 4 / 3 >= 10.0
        lines = "[...document.querySelectorAll('.notice span')].map((option) => option.getClientRects().length)"
        assert page.evaluate(lines) == [1, 1, 1]
        assert page.evaluate(COVERED) == []


COVERED = """[...document.querySelectorAll('.head')].flatMap((head) => {
    const boxes = [...head.children].map((part) => part.getBoundingClientRect());
    return boxes.filter((a, n) => boxes.some((b, m) => m > n &&
        a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).map((a) => [a.left, a.top]);
})"""
"""JavaScript: where labels of a card cover each other."""


@needs_browser
def test_name_and_label_of_a_question_stay_apart(looks: dict[str, Look], width_px: int, tmp_path: Path) -> None:
    with open_page(looks["traces"].url, tmp_path / "profile", size=(width_px, 900)) as page:
        show(page, looks["traces"])
        name, label = (f"document.querySelector('#traces {part}').getBoundingClientRect()" for part in ("b", ".badge"))
        assert page.evaluate(f"{label}.left - {name}.right") >= 4.0
