import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.keypoints.marking import MarkingServer, serve_marking
from prompts.loader import load_task_prompt
from rl.errors import AgpsError
from scripts.browser import PHONE_PX, Page, open_page
from tests.agps_agent.keypoints.test_store import without_depth
from tests.agps_agent.scenes import LEFT, RIGHT, camera, draw, project
from tests.browser import needs_browser

FRAMES = [without_depth(draw(camera())), draw(camera(0.3, name="view_1"))]
AT = [[round(float(value)) for value in uv] for uv in project(FRAMES[0], np.array([LEFT, RIGHT]))]


@pytest.fixture
def server() -> Iterator[MarkingServer]:
    with serve_marking(FRAMES, load_task_prompt("usb_insertion")) as running:
        yield running
        running.shutdown()


def post(server: MarkingServer, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(server.url + path, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_done_gives_the_marked_images(server: MarkingServer) -> None:
    status, told = post(server, "api/done", {"marks": [{"port_left": AT[0], "port_right": AT[1]}, {}]})
    assert (status, told) == (200, {"images": 1})
    (image,) = server.wait()
    assert (image.frame.name, image.marks["port_left"]) == ("side", tuple(AT[0]))


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ([{"lid": [1, 2]}, {}], "usb_insertion has no keypoint 'lid'; it has port_left, port_right"),
        ([{"port_left": [9999, 2]}, {}], "outside of side"),
        ([{"port_left": [2, 2]}, {}], "no depth at the mark"),
        ([{"port_left": "here"}, {}], "give u and v in pixels"),
        ([{}, {}], "Nothing is marked"),
        ([{}], "Expected the marks of 2 images"),
    ],
)
def test_wrong_marks_are_refused_and_the_page_stays(server: MarkingServer, marks: Any, said: str) -> None:
    status, told = post(server, "api/done", {"marks": marks})
    assert status == 422 and said in told["detail"]
    assert not server.done.is_set()


def test_another_site_in_the_same_browser_cannot_mark(server: MarkingServer) -> None:
    marks = {"marks": [{"port_left": AT[0]}, {}]}
    assert post(server, "api/done", marks, Origin="http://evil.example")[0] == 403
    assert post(server, "api/done", marks, Host="evil.example")[0] == 403
    assert not server.done.is_set()


def test_port_that_is_taken_is_said(server: MarkingServer) -> None:
    with pytest.raises(AgpsError, match="name another --port"):
        serve_marking(FRAMES, load_task_prompt("usb_insertion"), port=server.server_address[1])


def press(page: Page, key: str, *, times: int = 1, shift: bool = False) -> None:
    event = f"new KeyboardEvent('keydown', {{key: {key!r}, shiftKey: {str(shift).lower()}, bubbles: true}})"
    page.evaluate(f"for (let i = 0; i < {times}; i++) document.dispatchEvent({event})")


def click(page: Page, u: float, v: float) -> None:
    """Click on a pixel of the image, whatever the size at which it is shown."""
    page.evaluate(
        "(() => { const box = document.getElementById('image').getBoundingClientRect(); "
        f"const x = box.left + ({u} + .5) / 640 * box.width, y = box.top + ({v} + .5) / 480 * box.height; "
        "document.getElementById('stage').dispatchEvent(new MouseEvent('click', {clientX: x, clientY: y})); })()"
    )


@needs_browser
def test_person_clicks_takes_back_and_is_done(server: MarkingServer, tmp_path: Path) -> None:
    with open_page(server.url, tmp_path / "profile") as page:
        page.wait_for("document.getElementById('image')?.naturalWidth === 640")
        click(page, *AT[1])
        page.wait_for("document.getElementById('said').textContent.includes('port_left at')")
        page.click("#undo")
        page.wait_for("document.getElementById('said').textContent.includes('taken back')")
        click(page, *AT[0])
        page.wait_for("document.getElementById('now').textContent.startsWith('port_right')")
        page.click("#next")
        page.wait_for("document.getElementById('where').textContent.includes('image 2 of 2')")
        page.click("#skip")
        page.click("#done")
        page.wait_for("document.getElementById('said').textContent.includes('Saved 1 image')")
    (image,) = server.wait()
    assert list(image.marks) == ["port_left"]
    np.testing.assert_allclose(image.marks["port_left"], AT[0], atol=0.6)


@needs_browser
def test_keys_alone_do_it_on_a_narrow_screen(server: MarkingServer, tmp_path: Path) -> None:
    """From the middle of the image, (320, 240): ten pixels a step with Shift, one without."""
    across, down = AT[0][0] - 320, AT[0][1] - 240
    with open_page(server.url, tmp_path / "profile", size=(PHONE_PX, 900)) as page:
        page.wait_for("document.getElementById('image')?.naturalWidth === 640")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        for step, keys in ((across, ("ArrowLeft", "ArrowRight")), (down, ("ArrowUp", "ArrowDown"))):
            press(page, keys[step > 0], times=abs(step) // 10, shift=True)
            press(page, keys[step > 0], times=abs(step) % 10)
        press(page, "Enter")
        page.wait_for("document.getElementById('said').textContent.includes('m away')")
        press(page, "d")
        page.wait_for("document.getElementById('said').textContent.includes('Saved 1 image')")
    (image,) = server.wait()
    assert dict(image.marks) == {"port_left": tuple(AT[0])}


@needs_browser
def test_name_of_a_mark_does_not_cover_it(server: MarkingServer, tmp_path: Path) -> None:
    with open_page(server.url, tmp_path / "profile", size=(PHONE_PX, 900)) as page:
        page.wait_for("document.getElementById('image')?.naturalWidth === 640")
        click(page, *AT[0])
        page.wait_for("!!document.querySelector('#marks text')")
        edges = [f"document.querySelector('#marks {part}').getBoundingClientRect()" for part in ("text", "circle")]
        assert page.evaluate(f"{edges[0]}.bottom <= {edges[1]}.top")


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("said", ["good", "bad"])
def test_what_the_page_says_can_be_read(server: MarkingServer, scheme: Any, said: str, tmp_path: Path) -> None:
    """A contrast of 4.5 is what WCAG asks for."""
    with open_page(server.url, tmp_path / "profile") as page:
        page.prefer(scheme)
        page.wait_for("document.getElementById('image')?.naturalWidth === 640")
        page.evaluate(f"say('told', '{said}')")
        colour = page.evaluate("getComputedStyle(document.getElementById('said')).color")
        ink, paper = luminance(colour), {"light": 1.0, "dark": luminance("rgb(18, 18, 18)")}[scheme]
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` as WCAG defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@needs_browser
def test_mark_without_depth_is_refused_on_the_page(server: MarkingServer, tmp_path: Path) -> None:
    with open_page(server.url, tmp_path / "profile") as page:
        page.wait_for("document.getElementById('image')?.naturalWidth === 640")
        click(page, 2, 2)
        page.wait_for("document.getElementById('said').textContent.includes('There is no depth')")
        assert page.evaluate("document.getElementById('done').disabled")
