"""Cells of an experiment in which nothing is learned: the agent's waypoints alone act."""

import json
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.cli.reproduce import parse_cell, planned
from agps_agent.measure.experiments.cost import estimate_grid
from agps_agent.measure.experiments.declaration import Cell, Experiment
from agps_agent.measure.experiments.library import load_experiment, load_measurement
from agps_agent.measure.experiments.planning import plan
from agps_agent.run.directory import RunDirectory

ALONE = """
title = "Alone"
question = "How often does the agent alone hang the knot?"
seeds = 2
eval_episodes = 1

[[cells]]
name = "alone"
task = "knot_hanging"
panel = "Knot"
label = "the agent alone"
agent_alone = true
options = "--vlm embedded,point-error-px=3"
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def declared(**more: object) -> Experiment:
    cell = Cell(name="alone", task="usb_insertion", panel="USB", label="alone", agent_alone=True, **more)
    return Experiment(name="e", title="t", question="q", seeds=2, eval_episodes=5, cells=(cell,))


def test_cell_is_told_nothing_of_training_and_each_seed_has_starts_of_its_own(here: Path) -> None:
    first, second = plan(declared(options="--vlm embedded,miss-share=0.05"), here, parse_cell)
    asked = ("--agent-alone", "usb_insertion", "--vlm", "embedded,miss-share=0.05", "--episodes", "5", "--seed")
    assert first.arguments == (*asked, "20000") and second.arguments == (*asked, "21000")
    assert (first.does, first.size, first.name) == ("eval", 0, "alone-seed0")
    assert first.config.vlm == "embedded,miss-share=0.05" and first.config.eval_episodes == 5


def test_agent_alone_takes_two_to_ten_calls_in_an_episode(here: Path) -> None:
    """Two runs of five episodes."""
    estimate = estimate_grid(plan(declared(), here, parse_cell), [])
    assert (estimate.control_steps, estimate.least.calls, estimate.most.calls) == (0, 20, 100)


def test_what_no_run_keeps_is_refused_in_a_cell(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "alone.toml").write_text(ALONE.replace("=3", "=3 --max-questions 2"))
    assert main(["reproduce", "alone.toml"]) == 2
    assert "--max-questions cannot be set in a cell" in capsys.readouterr().err
    assert not (here / "runs").exists()


@pytest.mark.parametrize("name", ["fig4a", "robustness"])
def test_nothing_is_measured_of_runs_without_a_policy(name: str, here: Path) -> None:
    cells = {run.cell.name for run in planned(load_measurement(name), here)}
    assert "usb-agps-0" in cells and "usb-agent-alone" not in cells
    assert "usb-agent-alone" in {cell.name for cell in load_experiment("fig3").cells}


def test_cell_runs_once_and_stands_in_the_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "alone.toml").write_text(ALONE)
    command = ["reproduce", "alone.toml", "--seeds", "1"]
    assert main(command) == 0
    run = RunDirectory(here / "runs/alone/alone-seed0")
    summary, written = run.read_summary(), run.summary.stat().st_mtime_ns
    assert (summary["seed"], summary["eval_episodes"], summary["env_steps"]) == (20_000, 1, 0)
    assert summary["agent_calls"] > 0 and summary["robot_time_s"] > 1.0
    assert main(command) == 0 and run.summary.stat().st_mtime_ns == written
    capsys.readouterr()
    assert main(["report", "--experiment", "alone.toml", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["table"][0]
    assert row["policy alone"] == f"{round(summary['success_rate'])}/1" and row["control steps to 80 %"] == "-"


def test_folder_of_a_training_is_not_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = here / "run/checkpoints/last"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    assert main(["eval", "--agent-alone", "usb_insertion", "--episodes", "1", "--out", "run"]) == 2
    assert "something else lies there" in capsys.readouterr().err
    assert [path.name for path in (here / "run").iterdir()] == ["checkpoints"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('agent_alone = "yes"', "valid boolean"),
        ('agent_alone = true\noptions = "--episodes 3"', "--episodes does not belong here: write eval_episodes = N"),
        ('agent_alone = true\noptions = "--out=x"', "--out does not belong here"),
        ('agent_alone = true\noptions = "--drq.gamma 0.9"', "gamma"),
    ],
)
def test_cell_with_what_the_runner_decides_is_refused(
    line: str, says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, _, _ = ALONE.partition("agent_alone")
    (here / "alone.toml").write_text(f"{head}{line}\n")
    assert main(["reproduce", "alone.toml"]) != 0
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1 and not (here / "runs").exists()


def test_options_of_training_are_refused_where_nothing_trains(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They would do nothing, and nobody would be told."""
    options = 'seeds = 2\noptions = "--eval-every 200"'
    (here / "alone.toml").write_text(ALONE.replace("seeds = 2", options))
    assert main(["reproduce", "alone.toml", "--dry-run"]) == 2
    assert "no cell trains" in capsys.readouterr().err


def test_result_with_other_settings_is_not_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["eval", "--agent-alone", "knot_hanging", "--episodes", "1", "--out", "alone"]
    assert main(command) == 0
    summary = (here / "alone/summary.json").read_bytes()
    told = json.loads(summary)
    assert told["agent_tokens"] == told["agent_prompt_tokens"] + told["agent_completion_tokens"] > 0
    assert main([*command, "--seed", "7"]) == 2
    assert "holds a result with seed = 20000, and 7 is asked for" in capsys.readouterr().err
    assert (here / "alone/summary.json").read_bytes() == summary
    assert main(command) == 0  # the same again may replace it


def test_run_of_somebody_else_is_not_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "theirs").mkdir()
    (here / "theirs/config.json").write_text('{"precious": 1}')
    assert main(["eval", "--agent-alone", "knot_hanging", "--episodes", "1", "--out", "theirs"]) == 2
    assert "holds a run, or another config.json" in capsys.readouterr().err
    assert (here / "theirs/config.json").read_text() == '{"precious": 1}'
