import subprocess
from pathlib import Path

import pytest
import torch

from agps_agent.run.origin import commit, machine


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_commit_has_a_plus_where_files_differ_from_it(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "One")
    clean = commit(file)
    assert clean is not None and len(clean) == 12
    file.write_text("2")
    assert commit(file) == f"{clean}+"


def test_environment_within_somebody_elses_checkout_is_none_of_it(tmp_path: Path) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "Theirs")
    (tmp_path / "installed.py").touch()
    assert commit(tmp_path / "installed.py") is None
    assert commit(Path("/") / "nowhere.py") is None


@pytest.mark.parametrize(("gpu", "end"), [(None, " cores"), ("NVIDIA H100", " cores, NVIDIA H100")])
def test_machine_is_told_by_processor_cores_and_gpu(gpu: str | None, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: gpu)
    assert machine().endswith(end) and len(machine().split(", ")) >= 3
