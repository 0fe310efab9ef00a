"""What setup would run, and what it says before."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def dry_run(**environment: str) -> str:
    told = {key: value for key, value in os.environ.items() if key != "AGPS_TORCH_INDEX"} | environment
    command = [str(ROOT / "scripts" / "setup.sh"), "--dry-run"]
    return subprocess.run(command, env=told, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_setup_says_how_much_it_downloads_and_names_the_switch() -> None:
    said, _, _ = dry_run().partition("would run:")
    assert "packages, about 700 MB" in said and "several GB" in said and "AGPS_TORCH_INDEX=cpu" in said


@pytest.mark.parametrize(
    ("given", "index"),
    [("cpu", "https://download.pytorch.org/whl/cpu"), ("https://example.org/whl", "https://example.org/whl")],
)
def test_torch_comes_first_from_the_index_that_is_named(given: str, index: str) -> None:
    pinned = next(line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.startswith("torch=="))
    lines = [line for line in dry_run(AGPS_TORCH_INDEX=given).splitlines() if "pip install" in line]
    assert lines[0].endswith(f"--index-url {index} {pinned}")
    assert "--constraint requirements.lock" in lines[1] and "--index-url" not in lines[1]


def test_without_the_switch_no_index_is_named() -> None:
    assert "--index-url" not in dry_run()
