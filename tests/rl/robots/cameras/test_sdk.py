"""The cameras' client library, or what is in its place; and how old frames are when they are used."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.robots.base import CameraFrame
from rl.robots.cameras.ages import FrameAges
from rl.robots.cameras.sdk import load_sdk, pinhole
from tests.clocks import MovedClock


def other_module(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str = "") -> None:
    """Put a module or a package of the library's name in its place."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)  # what is imported in its place is gone afterwards
    del sys.modules["pyrealsense2"]
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize("name", ["pyrealsense2.py", "pyrealsense2/__init__.py"])
def test_other_module_of_that_name_is_told_with_its_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_module(tmp_path, monkeypatch, name)
    with pytest.raises(ConfigError) as refused:
        load_sdk()
    assert str(tmp_path / name) in str(refused.value) and "is not the SDK" in str(refused.value)


def test_folder_of_that_name_without_code_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ModuleType("pyrealsense2")
    folder.__path__ = ["/somewhere/pyrealsense2"]
    monkeypatch.setitem(sys.modules, "pyrealsense2", folder)
    with pytest.raises(ConfigError, match="The module pyrealsense2 at /somewhere/pyrealsense2 is not the SDK"):
        load_sdk()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("libusb-1.0.so.0: cannot open shared object file", "lacks a system library .*apt install libusb-1.0-0"),
        ("wrong ELF class", "does not load: wrong ELF class; reinstall it for this Python"),
    ],
)
def test_library_that_does_not_load_says_what_to_do(
    error: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_module(tmp_path, monkeypatch, "pyrealsense2.py", f"raise ImportError({error!r})")
    with pytest.raises(ConfigError, match=words):
        load_sdk()


def test_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(ConfigError, match=r"pyrealsense2 is not installed; run `pip install 'agps\[realsense\]'`"):
        load_sdk()


def test_pinhole_projects_as_the_library_does() -> None:
    K = pinhole(SimpleNamespace(fx=600.0, fy=610.0, ppx=320.5, ppy=240.5))
    np.testing.assert_allclose(K @ [0.1, -0.2, 1.0], [320.5 + 60.0, 240.5 - 122.0, 1.0])


class Driver:
    """A camera whose newest frame was taken at a time that a test says."""

    info = "the camera's own"
    taken_s = 0.0
    asked: list[Any] = []

    def latest(self, *, max_age_s: float | None = None, depth: bool = True) -> CameraFrame:
        self.asked.append((max_age_s, depth))
        return CameraFrame(
            rgb=np.zeros((1, 1, 3), np.uint8), depth_m=np.zeros((1, 1), np.float32), time_s=self.taken_s, number=0
        )


def test_ages_of_frames_are_told_in_milliseconds() -> None:
    """Of the ages 10, 20 ... 100 ms the middle is 55 and the longest 100."""
    clock, driver = MovedClock(), Driver()
    ages = FrameAges(clock)
    watched = ages.watch(driver)  # type: ignore[arg-type]
    assert ages.metrics() == {}
    for age_ms in range(10, 101, 10):
        driver.taken_s = clock.now() - age_ms / 1e3
        watched.latest(max_age_s=0.5, depth=False)
    figures = ages.metrics()
    assert figures["camera_age_p50_ms"] == pytest.approx(55.0) and figures["camera_age_max_ms"] == pytest.approx(100.0)
    assert figures["camera_age_p50_ms"] < figures["camera_age_p99_ms"] < figures["camera_age_max_ms"]
    assert watched.info == driver.info and set(driver.asked) == {(0.5, False)}


def test_all_cameras_of_a_station_are_counted_together() -> None:
    clock = MovedClock()
    ages = FrameAges(clock)
    for age_s in (0.02, 0.08):
        driver = Driver()
        driver.taken_s = clock.now() - age_s
        ages.watch(driver).latest()  # type: ignore[arg-type]
    assert ages.metrics()["camera_age_p50_ms"] == pytest.approx(50.0)
