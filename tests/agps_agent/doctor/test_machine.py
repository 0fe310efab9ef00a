"""What the doctor says of this machine without a robot."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from agps_agent.doctor.checkup import Finding, NotChecked, attempt
from agps_agent.doctor.machine import machine_checks
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.server import serve_model
from agps_agent.run import config_file
from rl.errors import AgpsError, ConfigError, HardwareFault
from rl.robots import panda


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("ok", "mark"), [(True, "ok  "), (False, "FAIL"), (None, "-   ")])
def test_mark_of_a_line_has_one_width(ok: bool | None, mark: str) -> None:
    assert Finding(ok, "").mark == mark


@pytest.mark.parametrize(
    ("error", "ok"),
    [
        (AgpsError("Mend\n  it."), False),
        (ConfigError("Mend it."), False),
        (HardwareFault("Mend it."), False),
        (ImportError("Mend it."), False),
        (OSError("Mend it."), False),
        (NotChecked("Mend it."), None),
    ],
)
def test_what_goes_wrong_in_a_check_is_one_line(error: Exception, ok: bool | None) -> None:
    def check() -> str:
        raise error

    assert attempt(check) == Finding(ok, "Mend it.")


def test_fault_of_the_program_is_not_taken_for_a_finding() -> None:
    with pytest.raises(ZeroDivisionError):
        attempt(lambda: str(1 // 0))


def test_chat_model_is_checked_only_where_one_is_named(tmp_path: Path) -> None:
    names = ["python", "packages", "processor", "gpu", "meshes", "rendering", "disk"]
    assert list(machine_checks(tmp_path, None)) == names
    assert list(machine_checks(tmp_path, "http://127.0.0.1:1/v1")) == [*names, "chat model"]


@pytest.mark.parametrize(("free", "ok"), [(1.9e9, False), (2.0e9, True), (500e9, True)])
def test_disk_needs_two_gigabytes(free: float, ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, int(free)))
    found = attempt(machine_checks(tmp_path, None)["disk"])
    assert found.ok is ok and f"GB free in {tmp_path}" in found.finding
    assert ("1.9 GB free" in found.finding and "needs 2 GB" in found.finding) is not ok


def test_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(tmp_path: Path) -> None:
    found = attempt(machine_checks(tmp_path / "runs" / "next", None)["disk"])
    assert "free in" in found.finding and "No such file" not in found.finding


def test_missing_packages_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"python": "3.11.2", "torch": "not installed", "mujoco": "3.3.0", "numpy": "not installed"}
    monkeypatch.setattr(config_file, "installed_versions", lambda: versions)
    found = attempt(machine_checks(Path(), None)["packages"])
    assert found == Finding(False, "torch, numpy not installed; run `pip install -e .` in the repository.")


def test_installed_packages_are_listed_with_their_versions() -> None:
    found = attempt(machine_checks(Path(), None)["packages"])
    assert found.ok and "torch " in found.finding and "python" not in found.finding.split(",")[0]


@pytest.mark.parametrize(("folder", "ok"), [(None, False), (Path("/meshes"), True)])
def test_arm_without_meshes_is_told(folder: Path | None, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panda, "find_mesh_folder", lambda: folder)
    found = attempt(machine_checks(Path(), None)["meshes"])
    assert found.ok is ok and ("gymnasium-robotics" in found.finding or found.finding == "/meshes")


def test_processor_tells_the_threads_of_this_process() -> None:
    assert "torch uses 1 threads" in machine_checks(Path(), None)["processor"]()


def test_chat_model_that_answers_is_named_with_its_profile() -> None:
    with serve_model(EmbeddedVLM(), name="qwen3-vl-8b") as server:
        found = attempt(machine_checks(Path(), server.url)["chat model"])
        server.shutdown()
    assert found == Finding(True, f"{server.url} serves qwen3-vl-8b, read with the profile qwen3-vl")


def test_chat_model_that_is_not_there_is_one_line() -> None:
    found = attempt(machine_checks(Path(), "http://127.0.0.1:9/v1")["chat model"])
    assert found.ok is False and "127.0.0.1:9" in found.finding and "\n" not in found.finding
