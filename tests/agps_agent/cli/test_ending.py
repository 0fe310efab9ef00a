"""`agps train` from one end of a run to the next: the command that its closing words give is the one that works."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from agps_agent.cli.main import main
from agps_agent.run.config_file import load_config
from agps_agent.run.directory import RunDirectory

SHORT = ["--max-env-steps=60", "--curve-episodes=2", "--solved-episodes=3", "--eval-episodes=2"]
SMALL = ["batch-size=8", "learning-starts=20", "hidden-size=16", "channels=8", "feature-size=16"]
ALWAYS = ["--env-options.success-reward=-100", "--eval-every=20"]
"""Every step of the environment counts as a success: even a policy that has learned nothing solves it."""


def train(run: Path, *more: str) -> dict[str, Any]:
    """Train in an environment of 20 steps per episode; return the summary."""
    small = [f"--algorithm-options.{setting}" for setting in SMALL]
    env = ["--env", "tests.rl.envs.foreign:SevenJoints", "--run-dir", str(run)]
    assert main(["train", *env, *SHORT, *small, *more]) == 0
    return summary_of(run)


def summary_of(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary


def go_on(run: Path, said: str, *more: str) -> dict[str, Any]:
    """Do what the closing words say; return the summary after it."""
    command = re.search(r"go on with: agps (train .*)", said)
    assert command is not None
    assert main([*shlex.split(command[1]), *more]) == 0
    return summary_of(run)


def test_run_that_has_used_its_steps_goes_on_to_twice_as_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "my run"
    assert train(run)["ended_by"] == "steps"
    said = capsys.readouterr().out
    assert "Ended after all 60 steps; go on with: agps train --run-dir " in said
    assert "Ended after all 60 steps" in (run / "report.html").read_text()
    summary = go_on(run, said)
    assert (summary["env_steps"], summary["ended_by"]) == (120, "steps")


def test_run_that_was_out_of_time_says_so_and_goes_on_with_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(run, "--max-minutes=1e-7")["ended_by"] == "time"
    said = capsys.readouterr().out
    words = "Ended by the time limit of 1e-07 minutes after 0 of 60 steps"
    assert words in said and words in (run / "report.html").read_text()
    assert go_on(run, said)["ended_by"] == "time" and load_config(RunDirectory(run)).max_minutes == 2e-7
    summary = go_on(run, said, "--max-minutes", "240")
    assert (summary["env_steps"], summary["ended_by"]) == (60, "steps")


def test_solved_run_ends_before_its_steps_and_goes_on_where_it_is_asked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    summary = train(run, *ALWAYS)
    assert (summary["ended_by"], summary["env_steps"], summary["success_rate"]) == ("solved", 20, 1.0)
    kinds = [row["kind"] for row in RunDirectory(run).read_metrics()]
    assert kinds[-3:] == ["eval", "confirmation", "final_eval"]
    said = capsys.readouterr().out
    assert "Solved after 20 of 60 steps: a perfect evaluation, then 3 of 3 from fresh start states" in said
    summary = go_on(run, said)
    assert (summary["ended_by"], summary["env_steps"]) == ("steps", 60)


def test_solved_run_that_is_resumed_without_a_word_learns_nothing_more(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, *ALWAYS)
    assert main(["train", "--run-dir", str(run), "--resume", "--max-env-steps", "400"]) == 0
    summary = summary_of(run)
    assert (summary["ended_by"], summary["env_steps"]) == ("solved", 20)


def test_what_is_wrong_is_said_at_the_end_and_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Critics that begin at 0 are far from returns that are said to lie within 50 and 60."""
    run = tmp_path / "run"
    summary = train(run, "--algorithm-options.clip-target", "50", "60", "--eval-every=20")
    assert summary["diagnosis"].startswith("The critic has diverged: ")
    assert summary["diagnosis"] in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert "The critic has diverged: " in page and "<h2>What to look at first" in page
