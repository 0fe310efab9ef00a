"""Take the pictures of pages that the documentation shows, with a headless Chromium.

python scripts/draw_screenshot.py --out docs/marking.png                               # the page that marks keypoints
python scripts/draw_screenshot.py --page runs/demo/report.html --out report.png        # any other page
"""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from PIL import Image

from agps_agent.keypoints.marking import serve_marking
from agps_agent.run.build import build_env, capture_scene
from agps_agent.run.config import RunConfig
from prompts.loader import load_task_prompt
from rl.errors import AgpsError

COLOURS = 128
"""Of the picture's palette: pages have few."""


def main() -> None:
    """Write a picture."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--page", type=Path, help="a file; without it the marking page of a task")
    options.add_argument("--task", default="usb_insertion")
    options.add_argument("--width", type=int, default=1100)
    options.add_argument("--height", type=int, default=760)
    options.add_argument("--out", type=Path, required=True)
    told = options.parse_args()
    size = (told.width, told.height)
    if told.page is not None:
        shoot(told.page.resolve().as_uri(), told.out, size=size)
        return
    with marking_page(told.task) as url:
        shoot(url, told.out, size=size)


@contextmanager
def marking_page(task: str) -> Iterator[str]:
    """Serve the page of `agps keypoints mark` with one scene of a task, and yield its URL."""
    with closing(build_env(RunConfig(task=task), dry=True)) as env:
        env.reset(seed=0)
        frames = list(capture_scene(env).frames.values())
    with serve_marking(frames, load_task_prompt(task)) as server:
        try:
            yield server.url
        finally:
            server.shutdown()


def shoot(url: str, out: Path, *, size: tuple[int, int]) -> None:
    """Save what a page shows.

    Args:
        url: Of the page.
        out: PNG.
        size: Width and height of the window, [px].

    Raises:
        AgpsError: If there is no Chromium, or it takes no picture.
    """
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    if browser is None:
        raise AgpsError("There is no Chromium here; install the package chromium.")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000"]
        flags += [f"--user-data-dir={folder}/profile", f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}"]
        done = subprocess.run([browser, *flags, url], capture_output=True, text=True, timeout=300, check=False)
        if not picture.is_file():
            raise AgpsError(f"Chromium took no picture of {url}: {done.stderr.strip()[-300:]}")
        with Image.open(picture) as image:
            image.convert("RGB").quantize(COLOURS).save(out, optimize=True)


if __name__ == "__main__":
    main()
