"""A real headless Chromium, driven over the Chrome DevTools protocol: takes pictures of pages, and tests them."""

import base64
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from websockets.sync.client import connect

from rl.errors import AgpsError

BINARY = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None
)
DESK_PX, PHONE_PX = 1400, 420
"""Widths at which pages are looked at."""
LONGEST_WAIT_S = 120.0


class Page:
    """One tab."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression.

        Raises:
            AgpsError: If it throws.
        """
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AgpsError(f"{expression} failed in the page: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, expression: str, timeout_s: float = LONGEST_WAIT_S) -> Any:
        """Return the first value of an expression that is true.

        Raises:
            AgpsError: If it stays false.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            value = self.evaluate(expression)
            if value:
                return value
            time.sleep(0.05)
        raise AgpsError(f"{expression} did not become true within {timeout_s} s; page: {self.text[:500]}")

    def open(self, url: str) -> None:
        """Go to a URL; returns when the page there has taken the place of the one before."""
        self._call("Page.navigate", url=url)

    def click(self, selector: str) -> None:
        """Click the first element that matches."""
        self.wait_for(f"!!document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    @property
    def text(self) -> str:
        """What a person reads."""
        return str(self.evaluate("document.body.innerText"))

    def resize(self, width_px: int, height_px: int) -> None:
        """Give the page a window of a size, also one that is narrower than Chromium's own windows can be."""
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: Literal["light", "dark"]) -> None:
        """Show the page as to a person who prefers light or dark colours."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def load_images(self) -> None:
        """Wait until every image is there, those too that would be loaded when they come into view."""
        self.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
        self.wait_for("[...document.images].every((image) => image.complete)")

    def picture(self, *, whole: bool = False) -> Image.Image:
        """Return what the window shows; with `whole` all of the page, as wide as the window."""
        parameters: dict[str, Any] = {"format": "png"}
        if whole:
            width, height = self.evaluate("[innerWidth, document.documentElement.scrollHeight]")
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            parameters |= {"captureBeyondViewport": True, "clip": clip}
        taken = self._call("Page.captureScreenshot", **parameters)
        return Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=LONGEST_WAIT_S))
            if message.get("id") == number:
                if "error" in message:
                    raise AgpsError(f"Chromium refused {method}: {message['error'].get('message')}")
                return dict(message["result"])


@contextmanager
def open_page(url: str, profile: Path, *, size: tuple[int, int] = (1500, 900)) -> Iterator[Page]:
    """Yield a page at a URL.

    Args:
        url: Of the page.
        profile: Folder that Chromium may write to.
        size: Width and height of the window, [px].

    Raises:
        AgpsError: If there is no Chromium, or it does not start.
    """
    if BINARY is None:
        raise AgpsError("There is no Chromium here; install the package chromium.")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [
        BINARY,
        *flags,
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
        "--remote-debugging-port=0",
        "about:blank",
    ]
    # Without a home of its own it complains about directories that it cannot write.
    environment = {**os.environ, "HOME": str(profile.parent)}
    browser = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        with connect(_address(browser), max_size=None) as socket:
            page = Page(socket)
            page.resize(*size)
            page.open(url)
            yield page
    finally:
        browser.terminate()
        browser.wait(timeout=LONGEST_WAIT_S)


def _address(browser: "subprocess.Popen[str]") -> str:
    """Return where the first tab of a browser that has just been started takes commands."""
    port = next((m[1] for line in browser.stderr or () if (m := re.search(r"ws://127\.0\.0\.1:(\d+)/", line))), None)
    if port is None:
        raise AgpsError(f"{BINARY} did not start; it ended with code {browser.wait(timeout=LONGEST_WAIT_S)}.")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=LONGEST_WAIT_S) as reply:
        target = next(entry for entry in json.load(reply) if entry["type"] == "page")
    return str(target["webSocketDebuggerUrl"])
