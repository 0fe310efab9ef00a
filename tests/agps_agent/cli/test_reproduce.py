import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from agps_agent.cli.grid_table import GridTable
from agps_agent.cli.main import main
from agps_agent.cli.reproduce import parse_cell
from agps_agent.cli.reproduce import run as reproduce
from agps_agent.measure.experiments.library import experiment_names, load_experiment
from agps_agent.measure.experiments.planning import plan
from tests.agps_agent.measure.experiments.grids import GRID, leave_run, tiny_grid


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "examples").glob("*.toml"))


@pytest.mark.parametrize("name", [*experiment_names(), *EXAMPLES])
def test_training_takes_every_cell_that_ships(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # as somebody runs the examples
    experiment = load_experiment(name)
    runs = plan(experiment, here, parse_cell)
    assert len(runs) == sum(experiment.seeds_of(cell) for cell in experiment.cells) == len({run.name for run in runs})
    told = [json.dumps(run.config.model_dump(mode="json", exclude={"seed"})) for run in runs if run.seed == 0]
    assert len(set(told)) == len(told), "two cells are told the same"
    assert all(run.config.curve_episodes == 20 and run.config.eval_episodes == 50 for run in runs)


def test_experiments_are_listed_with_what_is_finished(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    run = plan(load_experiment("triggers"), here / "runs" / "triggers", parse_cell, cells=("usb-default",))[0]
    leave_run(run)
    assert main(["reproduce"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["fig4b"][1:7] == ["4", "cells", "20", "runs", "0", "finished"]
    assert lines["triggers"][1:7] == ["3", "cells", "9", "runs", "1", "finished"]
    assert lines["fig4a"][1:5] == ["measures", "runs", "of", "fig3"]


def test_dry_run_says_what_is_left_and_starts_nothing(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    _, runs = tiny_grid(here)
    leave_run(runs[0])
    assert main(["reproduce", "tiny.toml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "finished  agps-seed0" in out and "  queued  serl-seed1" in out
    assert "3 runs to do, at most 180 control steps; at most 0.1 h with 2 at a time" in out
    assert [path.name for path in (here / "runs" / "tiny").iterdir()] == ["agps-seed0"]


def test_wrong_option_of_a_cell_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "tiny.toml").write_text(GRID.replace('"--method serl"', '"--method serl --drq.gamma 3"'))
    assert main(["reproduce", "tiny.toml"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("agps: tiny, cell serl: ") and "gamma" in err and err.count("\n") == 1
    assert not (here / "runs").exists()


def test_grid_whose_runs_are_all_there_is_reported(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    for run in tiny_grid(here)[1]:
        leave_run(run)
    assert main(["reproduce", "tiny.toml"]) == 0
    assert "All 4 runs are finished. agps report --experiment tiny.toml --runs runs" in capsys.readouterr().out
    assert main(["report", "--experiment", "tiny.toml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["finished"], told["declared"]) == (4, 4)
    assert told["table"][0]["policy alone"] == "36/40"
    assert (here / told["report"]).is_file() and told["report"] == "docs/results/tiny/index.html"


def test_table_shows_what_runs_and_how_far_it_is(here: Path) -> None:
    _, runs = tiny_grid(here)
    leave_run(runs[0], successes=None)
    table = GridTable(runs, io.StringIO())
    table.changed(runs[0], "running")
    table.changed(runs[1], "failed")
    screen = Console(file=io.StringIO(), width=100)
    screen.print(table.render())
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is the StringIO above
    assert lines[1].split() == ["agps-seed0", "running", "60", "/", "60", "85%"]
    assert lines[2].split() == ["serl-seed0", "failed"] and lines[-1].strip() == "2 queued, 1 running, 1 failed"


def test_without_a_terminal_each_change_is_a_line(here: Path) -> None:
    _, runs = tiny_grid(here)
    leave_run(runs[0])
    stream = io.StringIO()
    with GridTable(runs, stream) as table:
        for change in ("queued", "running", "running", "finished"):
            table.changed(runs[0], change)
    assert [line.split("  ")[-1] for line in stream.getvalue().splitlines()] == [
        "agps-seed0, 60 control steps, success 90%"
    ] * 2


FAR = """
title = "Further out"
question = "How far?"
runs_of = "tiny.toml"
eval_episodes = 20

[[conditions]]
name = "start-2"
label = "2x"
start_scale = 2
"""
STANDIN_EVAL = (sys.executable, "-m", "tests.agps_agent.measure.experiments.standin_eval")


def test_finished_runs_are_measured_once_and_the_missing_are_named(
    capsys: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    runs = tiny_grid(here)[1]
    leave_run(runs[0])
    (here / "far.toml").write_text(FAR)
    for _ in range(2):  # the second time nothing is left to do
        assert reproduce(["far.toml"], train=STANDIN_EVAL) == 0
    out = capsys.readouterr().out
    assert "1 run is measured. agps report --experiment far.toml --runs runs" in out
    assert "3 of 4 runs of tiny.toml are missing in runs/tiny: serl-seed0, agps-seed1, serl-seed1." in out
    assert (here / "runs" / "far" / "begun.txt").read_text() == "agps-seed0\n"
    assert main(["report", "--experiment", "far.toml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["finished"], told["declared"]) == (1, 4)
    assert told["tables"]["Under each condition"][0]["policy alone"] == "19/20"


def test_dry_run_of_a_measurement_says_what_is_there(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    runs = tiny_grid(here)[1]
    leave_run(runs[0])
    (here / "far.toml").write_text(FAR)
    assert main(["reproduce", "far.toml", "--cells", "agps", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "queued  agps-seed0: 0 of 1 measurements" in out and "1 of 2 runs of tiny.toml are missing" in out
    assert not (here / "runs" / "far").exists()


def test_report_of_what_is_not_measured_says_what_measures_it(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert main(["report", "--experiment", "fig4a"]) == 2
    err = capsys.readouterr().err
    assert "Nothing of fig4a is measured in runs/fig4a" in err and "measures the finished runs of fig3" in err
