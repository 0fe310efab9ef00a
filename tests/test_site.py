"""The documentation site is built strictly, and everything that its pages name exists in it: no network is needed."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from scripts.browser import DESK_PX, PHONE_PX, open_page
from tests.browser import needs_browser

ROOT = Path(__file__).parents[1]
PACKAGES = ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python")
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("video", "src")}
"""What a browser fetches by itself."""


@dataclass
class Page(HTMLParser):
    """What a page names, and what may be named of it."""

    file: Path
    ids: set[str] = field(default_factory=set)
    names: list[tuple[str, str, str]] = field(default_factory=list)
    """Tag, attribute and value of each address."""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.ids.add(value or "")
            elif name in ("href", "src"):
                self.names.append((tag, name, value or ""))


def broken_links(site: Path) -> list[str]:
    """What the pages of a folder name that is not in it, and what they would fetch from elsewhere."""
    pages = {file.resolve(): Page(file) for file in site.rglob("*.html")}
    return [
        f"{page.file.relative_to(site)}: <{tag} {attribute}={address}> {fault}"
        for page in pages.values()
        for tag, attribute, address in page.names
        if (fault := _fault(pages, page, site, tag, attribute, address))
    ]


def _fault(pages: dict[Path, Page], page: Page, site: Path, tag: str, attribute: str, address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme == "data" or parts.scheme == "mailto":
        return ""
    if parts.scheme or parts.netloc:
        return "is fetched from the network" if (tag, attribute) in LOADED else ""
    folder = site if parts.path.startswith("/") else page.file.parent
    target = (folder / unquote(parts.path).lstrip("/")).resolve() if parts.path else page.file.resolve()
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "does not exist"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
        return "has no such anchor"
    return ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in PACKAGES:
        pytest.importorskip(package, reason="the site needs the extra docs: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    # A proxy that is not there: whatever the build would fetch fails.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **nowhere}, capture_output=True, text=True, timeout=1_000, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_link_of_the_site_leads_somewhere_and_nothing_comes_from_the_network(site: Path) -> None:
    assert not broken_links(site)


def test_every_page_of_the_docs_is_in_the_navigation(site: Path) -> None:
    docs = ROOT / "docs"
    home = Page(site / "index.html")
    linked = {unquote(urlsplit(address).path) for tag, _, address in home.names if tag == "a"}
    pages = {page.relative_to(docs).with_suffix(".html").as_posix() for page in docs.rglob("*.md")}
    assert pages - {"index.html"} <= linked


@pytest.mark.parametrize("name", ["rl.drq.DrQ", "rl.envs.make_env", "rl.tasks.Task", "tools.spec.ToolSpec"])
def test_public_names_have_an_anchor_in_the_reference(site: Path, name: str) -> None:
    assert any(name in Page(page).ids for page in (site / "reference").glob("*.html"))


@needs_browser
@pytest.mark.parametrize("name", ["results", "reference/tasks"])
def test_tables_on_a_phone_have_columns_that_can_be_read(site: Path, name: str, tmp_path: Path) -> None:
    with open_page((site / f"{name}.html").as_uri(), tmp_path / "profile", size=(PHONE_PX, 900)) as page:
        page.wait_for("document.readyState === 'complete'")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_PX
        assert page.evaluate(SQUEEZED) == []


@needs_browser
def test_a_command_and_what_it_does_stand_on_one_line_on_a_desk(site: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md"))
    found = {}
    with open_page((site / "index.html").as_uri(), tmp_path / "profile", size=(DESK_PX, 900)) as page:
        for name in map(str, names):
            page.open((site / f"{name}.html").as_uri())
            page.wait_for("document.readyState === 'complete'")
            found[name] = page.evaluate(CUT_OFF)
    assert {name: lines for name, lines in found.items() if lines} == {}


CUT_OFF = """[...document.querySelectorAll('pre > code')].filter((code) => code.scrollWidth > code.clientWidth)
    .map((code) => code.innerText.split('\\n').reduce((one, other) => (one.length < other.length ? other : one)))"""
"""JavaScript: the longest line of each block of code that has to be scrolled sideways."""


SQUEEZED = """[...document.querySelectorAll('.md-typeset td')].filter((cell) => {
    const words = document.createRange();
    words.selectNodeContents(cell);
    const lines = words.getBoundingClientRect().height / parseFloat(getComputedStyle(cell).lineHeight);
    return cell.clientWidth < 100 && lines > 4;
}).map((cell) => cell.innerText)"""
"""JavaScript: what cells say that are narrow and more than four lines high."""


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ('<a href="gone.html">', "does not exist"),
        ('<a href="#nowhere">', "has no such anchor"),
        ('<a href="other.html#here">', ""),
        ('<a href="https://example.org">', ""),
        ('<script src="https://example.org/x.js">', "is fetched from the network"),
        ('<img src="gone.png">', "does not exist"),
    ],
)
def test_link_checker_finds_what_is_broken(tmp_path: Path, address: str, fault: str) -> None:
    (tmp_path / "index.html").write_text(address)
    (tmp_path / "other.html").write_text('<p id="here">')
    found = broken_links(tmp_path)
    assert [line.partition("> ")[2] for line in found] == ([fault] if fault else [])
