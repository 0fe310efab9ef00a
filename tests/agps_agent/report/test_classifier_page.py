"""The page about a reward classifier, drawn of scores that are worked by hand."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agps_agent.report.classifier_page import MOST_MISTAKES, mistakes_picture, write_classifier_page
from rl.rewards.classifier.judging import FrameScore, VerdictScore
from rl.rewards.classifier.metrics import average_precision, confusion, reliability
from scripts.browser import PHONE_PX, open_page
from tests.browser import needs_browser
from tests.rl.rewards.classifier.synthetic import synthetic_frames


def score(wrong: int, *, threshold: float = 0.5) -> FrameScore:
    """A classifier that is sure of 180 frames, and of the first `wrong` of them wrongly."""
    frames = synthetic_frames()
    said = frames.success.copy()
    said[:wrong] = ~said[:wrong]
    probability = np.where(said, 0.9, 0.1)
    counts = confusion(probability >= threshold, frames.success)
    return FrameScore(
        frames=frames,
        probability=probability,
        threshold=threshold,
        counts=counts,
        average_precision=average_precision(probability, frames.success),
        reliability=reliability(probability, frames.success),
        by_source={"miss": counts},
    )


def verdict(n: int, false: int = 1) -> VerdictScore:
    return VerdictScore(n=n, rollouts=10, right=6, false=false, missed=2, mean_delay=1.5)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page about a classifier with 60 mistakes."""
    verdicts = [verdict(1, false=3), verdict(2), verdict(3, false=0)]
    folder = tmp_path_factory.mktemp("score") / "new" / "folder"
    written = write_classifier_page(folder, score(60), verdicts, title="usb_insertion <held out>", n=2)
    assert all(Path(path).is_file() for path in written.values()) and set(written) == {
        "page",
        "reliability",
        "mistakes",
    }
    return Path(written["page"]).read_text()


def test_page_tells_verdicts_of_the_number_in_a_row_that_training_uses(text: str) -> None:
    assert "<b>1 of 10</b><span>rollouts ended wrongly, 2 in a row" in text
    assert "<td>2</td><td>10</td><td>6</td><td>1</td><td>2</td>" in text
    assert "180 held-out frames of 30 episodes" in text and "usb_insertion &lt;held out&gt;" in text


@needs_browser
def test_page_fits_a_phone(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(text)
    with open_page((tmp_path / "page.html").as_uri(), tmp_path / "profile", size=(PHONE_PX, 900)) as page:
        page.wait_for("document.readyState === 'complete'")
        page.load_images()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_PX


def test_page_needs_nothing_beside_it(text: str) -> None:
    assert "<script" not in text
    assert all(source.startswith("data:") for source in re.findall(r'(?:src|href)="([^"]*)"', text))


def test_mistakes_that_are_not_shown_are_counted(text: str) -> None:
    assert f"{60 - MOST_MISTAKES} more are not shown" in text


@pytest.mark.parametrize(("wrong", "rows"), [(1, 1), (4, 1), (5, 2), (60, 12)])
def test_gallery_has_four_mistakes_in_a_row(wrong: int, rows: int) -> None:
    """Two cameras of 128 px and a margin of 8 px; 30 px of caption below."""
    assert mistakes_picture(score(wrong)).size == (4 * (2 * 128 + 8), rows * (128 + 30))


def test_gallery_shows_every_camera_of_the_mistake_in_its_own_pixels() -> None:
    scored = score(1)
    sheet = np.asarray(mistakes_picture(scored))
    for n, camera in enumerate(("left", "right")):
        tile = sheet[:128, 128 * n : 128 * (n + 1)]
        np.testing.assert_array_equal(tile[::4, ::4], scored.frames.images[camera][scored.mistakes[0]])


def test_classifier_without_mistakes_has_an_empty_gallery(tmp_path: Path) -> None:
    written = write_classifier_page(tmp_path, score(0), [], title="usb_insertion", n=2)
    text = Path(written["page"]).read_text()
    assert "more are not shown" not in text and "Not measured." in text
    with Image.open(tmp_path / "mistakes.png") as drawn:
        assert np.asarray(drawn).min() < 128  # words


def test_false_successes_come_before_missed_ones() -> None:
    scored = score(40)
    was_success = scored.frames.success[scored.mistakes]
    assert list(was_success) == sorted(was_success)


def test_mistakes_move_with_the_threshold() -> None:
    strict = replace(score(0), threshold=0.95)  # nothing passes: every success is missed
    assert len(strict.mistakes) == strict.frames.success.sum()
