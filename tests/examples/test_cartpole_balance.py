"""cartpole-balance of dm_control, learned from pixels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REASON = "the task is theirs: docs/extend/environment.md"
pytest.importorskip("dm_control", reason=REASON)
pytest.importorskip("shimmy", reason=REASON)


def learned(out: Path, *options: str) -> list[dict[str, float]]:
    """Return the curve that the example writes; nobody has a screen."""
    environment = {**os.environ, "MUJOCO_GL": "egl", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "examples/cartpole_balance.py", *options, "--out", str(out)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    curve: list[dict[str, float]] = json.loads(out.read_text())["curve"]
    return curve


def test_example_learns_for_some_steps_and_writes_its_curve(tmp_path: Path) -> None:
    curve = learned(tmp_path / "curve.json", "--steps", "20", "--every", "10", "--episodes", "1")
    assert [row["steps"] for row in curve] == [10, 20]
    assert all(0.0 < row["mean_return"] < 1_000.0 for row in curve)


@pytest.mark.slow
@pytest.mark.timeout(20_000)
def test_example_learns_to_balance_the_pole(tmp_path: Path) -> None:
    """Of 1,000; without any action there are 744 on average, with random ones 276."""
    curve = learned(tmp_path / "curve.json", "--seed", "3", "--every", "3000")
    assert curve[-1]["mean_return"] > 900.0
