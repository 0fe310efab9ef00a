"""What a stranger opens first: links that lead somewhere, a film that is quick to load, a citation of this version."""

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from PIL import Image

from agps_agent.report.experiment.results import read_results
from scripts.write_results_table import RESULTS, results_table, with_table

ROOT = Path(__file__).parents[1]


def anchors(markdown: Path) -> set[str]:
    """What GitHub calls the headings of a file."""
    text = re.sub(r"^```.*?^```", "", markdown.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def leads_nowhere(file: Path, address: str) -> bool:
    parts = urlsplit(address)
    target = file.parent / parts.path if parts.path else file
    return not target.exists() or bool(parts.fragment and parts.fragment not in anchors(target))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "examples/outside_task/README.md"])
def test_links_of_a_file_that_the_repository_shows_lead_somewhere(name: str) -> None:
    file = ROOT / name
    addresses = re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8"))
    inside = [address for address in addresses if not urlsplit(address).scheme]
    assert [address for address in inside if leads_nowhere(file, address)] == []


def test_the_readme_opens_with_a_film_that_is_quick_to_load() -> None:
    (_, first, *_) = [line for line in (ROOT / "README.md").read_text().splitlines() if line]
    (film,) = re.findall(r"^!\[.+\]\((.+)\)$", first)
    assert (ROOT / film).stat().st_size < 1_500_000
    with Image.open(ROOT / film) as image:
        assert image.n_frames > 10


def test_table_of_the_readme_is_that_of_the_results_that_stand_here() -> None:
    """After `agps report --experiment fig3`: `python -m scripts.write_results_table`."""
    text, table = (ROOT / "README.md").read_text(), results_table(read_results(RESULTS))
    assert table.count("\n") > 10 and with_table(text, table) == text and table in text


def test_every_row_of_the_readme_with_an_agent_says_that_it_is_no_vlm() -> None:
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if re.match(r"\|.*\| AGPS", line)]
    assert rows
    assert all("embedded agent, no VLM" in row for row in rows)


def test_what_is_told_of_the_demo_is_what_it_does() -> None:
    (options,) = re.findall(r"^DEMO = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"agps train usb_insertion {options} --seed N" in (ROOT / "docs" / "results.md").read_text()
    (batch,) = re.findall(r"batch-size (\d+)", options)
    told = (ROOT / "docs" / "tutorial" / "first_run.md").read_text()
    assert re.findall(r"batches of (\d+),", told) == [batch]
    assert "gradient-steps 1" in options and "one update per control step" in told


def test_no_page_holds_a_place_for_what_was_to_be_written_later() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    pages += sorted((ROOT / "examples").rglob("*.md"))
    later = re.compile(r"\b(?:TODO|TBD|FIXME|XXX|[A-Z][A-Z0-9_]*_ROW)\b")
    assert {page.name: found for page in pages if (found := later.findall(page.read_text(encoding="utf-8")))} == {}


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    (paper,) = citation["references"]
    assert paper["url"] == "https://arxiv.org/abs/2602.11978" and paper["authors"]
