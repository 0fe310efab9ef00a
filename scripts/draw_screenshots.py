"""Take the pictures of pages that the documentation shows, with a headless Chromium, from two runs of `agps train`.

python -m scripts.draw_screenshots --run runs/usb --other runs/usb20 --out docs/pictures   # what the docs show
python -m scripts.draw_screenshots --run runs/usb --other runs/usb20 --whole --out look    # all pages, to look at

The reports of both runs are written anew. Questions of --run are asked again, which makes replay and traces.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from agps_agent.keypoints.marking import serve_marking
from agps_agent.measure.replay.replay import Query, load_queries, recorded_task
from agps_agent.report import write_report
from agps_agent.report.compare import write_comparison
from agps_agent.run.directory import RunDirectory
from agps_agent.tracing.collector import serve_traces
from agps_agent.tracing.report import write_trace_report
from agps_agent.tracing.store import TraceStore
from prompts.loader import TaskPrompt
from rl.errors import AgpsError
from scripts.browser import DESK_PX, PHONE_PX, Page, open_page
from tools.perception import project

WINDOWS = {
    "report": (1100, 1300),
    "comparison": (1100, 975),
    "replay": (1100, 1205),
    "traces": (1100, 760),
    "marking": (1100, 660),
}
"""Pictures that the docs show, and their windows, (width, height), [px]; docs/pictures has no others."""
COLOURS = 256
"""Of a picture's palette."""
MOST_BYTES = 150_000
QUESTIONS = 9
MODELS = ("embedded", "embedded,point-error-px=3,miss-share=0.05")
"""Models that are asked again: one that points well, and the same with errors."""
SITE_PAGES = ("index", "tutorial/first_run", "extend/task", "prompts", "results", "reference/tasks")
"""Pages of the documentation that --whole looks at: prose, code, pictures, wide tables, signatures."""
PLANNED = """(async () => {
    [...document.querySelectorAll('[data-run=EmbeddedVLM]')].at(-1).click();
    const image = document.querySelector('#run img');
    await image.decode();
    image.scrollIntoView({block: 'center'});
})()"""
"""JavaScript that opens the model call that plans, at the image that was sent with it."""
LOOKED_AT_PX = 900
"""Height of the window of whole pages."""


@dataclass(frozen=True)
class Look:
    """A page that can be looked at."""

    name: str
    url: str
    ready: str = "true"
    """JavaScript that is true once it shows what it has."""
    act: str = "true"
    """JavaScript of what a person would do first."""


def main() -> None:
    """Write the pictures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--run", type=Path, required=True, help="finished run that the agent helped in")
    options.add_argument("--other", type=Path, required=True, help="finished run to compare it with")
    options.add_argument("--whole", action="store_true", help="all of each page, as wide as a desk and a phone show it")
    options.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    told = options.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # Chromium may still write there
        folder = Path(name)
        with made_pages(told.run, told.other, folder) as looks:
            for look in [*looks, *(site_pages(folder / "site") if told.whole else [])]:
                if told.whole:
                    draw_whole(look, told.out, folder / "profiles")
                else:
                    draw(look, told.out, folder / "profiles")


@contextmanager
def made_pages(run: Path, other: Path, folder: Path) -> Iterator[list[Look]]:
    """Make every page of `WINDOWS` from two runs, and yield them.

    Args:
        run: Run directory with questions.
        other: Run directory.
        folder: Where pages are written that belong to no run.

    Raises:
        AgpsError: If a run is damaged or has no questions.
    """
    first = load_queries(run)[0]
    words = recorded_task(run, [first])
    runs = [RunDirectory.open(run), RunDirectory.open(other)]
    report, _ = map(write_report, runs)
    comparison = write_comparison(runs, folder / "comparison.html")
    asked, traced = asked_again(run, folder)
    frames = list(first.scene.frames.values())
    looks = [
        Look("report", address(report)),
        Look("comparison", address(comparison)),
        Look("replay", address(asked)),
        Look("traces", address(traced), "!!document.querySelector('[data-run=EmbeddedVLM]')", PLANNED),
    ]
    with serve_marking(frames, words) as server:
        shown = "document.getElementById('image')?.naturalWidth > 0"
        try:
            yield [*looks, Look("marking", server.url, shown, _marks(first, words))]
        finally:
            server.shutdown()


def address(file: Path) -> str:
    """Return the URL of a file."""
    return file.resolve().as_uri()


def asked_again(run: Path, folder: Path) -> tuple[Path, Path]:
    """Ask recorded questions of a run again as a user does, with tracing on; return the pages of replay and traces.

    Raises:
        AgpsError: If a command fails.
    """
    store, page, traces = TraceStore(folder / "traces"), folder / "replay.html", folder / "traces.html"
    command = [sys.executable, "-m", "agps_agent.cli", "prompts", "replay", str(run), "--vlm", *MODELS]
    with serve_traces(store) as server:
        told = {"LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": server.url}
        done(command + ["--limit", str(QUESTIONS), "--out", str(page)], **told)
        server.shutdown()
    write_trace_report(store, traces, newest=50)
    store.close()
    return page, traces


def done(command: Sequence[str], *, folder: Path | None = None, **environment: str) -> None:
    """Run a command to its end.

    Raises:
        AgpsError: With its last words, if it fails.
    """
    told = {**os.environ, **environment}
    ended = subprocess.run(command, cwd=folder, env=told, capture_output=True, text=True, timeout=1_000, check=False)
    if ended.returncode != 0:
        raise AgpsError(f"{' '.join(command)} failed: {ended.stderr.strip()[-300:]}")


def _marks(query: Query, words: TaskPrompt) -> str:
    """Return JavaScript that clicks on the first keypoint, and moves the cross to the second; nothing without truth."""
    frame = next(iter(query.scene.frames.values()))
    known = [label for label in words.keypoints if label in query.truth][:2]
    if not known:
        return "true"
    places = json.dumps([[round(float(value)) for value in project(frame, query.truth[label])[0]] for label in known])
    return f"""(async () => {{
        const size = document.getElementById('image').getBoundingClientRect();
        const scale = size.width / {frame.rgb.shape[1]};
        const stage = document.getElementById('stage'), said = document.getElementById('said'), places = {places};
        const at = ([u, v]) => ({{clientX: size.left + (u + .5) * scale, clientY: size.top + (v + .5) * scale}});
        stage.dispatchEvent(new MouseEvent('click', at(places[0])));
        while (!said.textContent) await new Promise((done) => setTimeout(done, 20));
        stage.dispatchEvent(new PointerEvent('pointermove', {{...at(places.at(-1)), pointerType: 'mouse'}}));
    }})()"""


def site_pages(folder: Path) -> list[Look]:
    """Build the documentation into a folder and return some of its pages.

    Raises:
        AgpsError: If it cannot be built.
    """
    root = Path(__file__).parents[1]
    done([sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)], folder=root)
    return [Look(f"docs_{page.replace('/', '_')}", address(folder / f"{page}.html")) for page in SITE_PAGES]


def draw(look: Look, out: Path, profiles: Path) -> Path:
    """Save what the docs show of a page; return the picture.

    Args:
        look: A page of `WINDOWS`.
        out: Folder of the pictures.
        profiles: Where Chromium may write.

    Raises:
        AgpsError: If Chromium fails, or the picture is too large.
    """
    picture = out / f"{look.name}.png"
    with open_page(look.url, profiles / look.name, size=WINDOWS[look.name]) as page:
        show(page, look)
        # The palette that covers most: a median cut would lose lines and marks, which are few pixels.
        page.picture().quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(picture, optimize=True)
    if picture.stat().st_size > MOST_BYTES:
        raise AgpsError(
            f"{picture} has {picture.stat().st_size:,} bytes, more than {MOST_BYTES:,}; show less of the page."
        )
    return picture


def draw_whole(look: Look, out: Path, profiles: Path) -> None:
    """Save all of a page as wide as a desk and a phone show it, with everything unfolded."""
    for width_px in (DESK_PX, PHONE_PX):
        with open_page(look.url, profiles / f"{look.name}_{width_px}", size=(width_px, LOOKED_AT_PX)) as page:
            show(page, look)
            page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
            page.picture(whole=True).save(out / f"{look.name}_{width_px}.png")


def show(page: Page, look: Look) -> None:
    """Bring a page to where its picture is taken."""
    page.wait_for(f"document.readyState === 'complete' && ({look.ready})")
    page.evaluate(look.act)
    page.load_images()


if __name__ == "__main__":
    try:
        main()
    except AgpsError as error:
        sys.exit(f"error: {error}")
