"""An experiment that comes together on several machines, by what was kept of it."""

import json
import shutil
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.report.experiment.adding import add_measurements
from agps_agent.report.experiment.results import FILE, read_results
from tests.agps_agent.measure.experiments.grids import GRID, leave_run, tiny_grid
from tests.agps_agent.report.experiment.test_measured import LANDSCAPE, STARTS, evaluated, gathered, mapped, planned

REPORT = ["report", "--experiment", "tiny.toml"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def elsewhere(here: Path) -> Path:
    """The results of seed 0 of both cells, which were made on another machine: their runs are not here."""
    for run in tiny_grid(here)[1][:2]:
        directory = leave_run(run, successes=12)
        config = json.loads(directory.config.read_text())
        directory.config.write_text(json.dumps({**config, "commit": "far", "machine": "another"}))
    assert main(REPORT) == 0
    shutil.rmtree(here / "runs")
    return here / "docs/results/tiny"


def test_runs_of_two_machines_stand_in_one_table(here: Path, elsewhere: Path) -> None:
    for run in tiny_grid(here)[1][2:]:
        leave_run(run, successes=20)
    assert main([*REPORT, "--add"]) == 0
    results = read_results(elsewhere)
    assert (results.finished, results.declared, len(results.origins)) == (4, 4, 2)
    for cell in results.cells:
        made = [(run.seed, run.successes, results.origins[run.origin].commit) for run in cell.runs]
        assert made[0] == (0, 12, "far") and made[1][:2] == (1, 20) and made[1][2] != "far"


def test_run_that_is_here_counts_in_place_of_the_one_that_was_kept(here: Path, elsewhere: Path) -> None:
    leave_run(tiny_grid(here)[1][0], successes=19)
    assert main([*REPORT, "--add"]) == 0
    assert [[run.successes for run in cell.runs] for cell in read_results(elsewhere).cells] == [[19], [12]]


def test_without_being_told_nothing_is_mixed(here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (elsewhere / FILE).read_bytes()
    leave_run(tiny_grid(here)[1][2])
    assert main(REPORT) == 2
    assert "--add keeps those of cells" in capsys.readouterr().err and (elsewhere / FILE).read_bytes() == before


def test_runs_that_are_left_out_are_told_where_none_counts(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in tiny_grid(here, GRID.replace("--demos 1", "--demos 2"))[1]:
        leave_run(run)
    tiny_grid(here)
    assert main(REPORT) == 0
    results = read_results(elsewhere)
    assert results.finished == 2 and len(results.left_out) == 4
    assert "Left out: " in (elsewhere / "index.html").read_text()
    capsys.readouterr()
    assert main([*REPORT, "--out", "nowhere"]) == 2
    told = capsys.readouterr().err
    assert "No finished run of tiny in runs/tiny (4 left out, such as " in told and "demos = 2, and 1 is" in told


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("more", [[], ["--add"]])
def test_runs_of_a_cell_that_is_told_otherwise_now_are_not_mixed_with_others(
    more: list[str], seed: int, here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (elsewhere / FILE).read_bytes()
    runs = tiny_grid(here, GRID.replace('"--method serl"', '"--method serl --drq.gamma 0.9"'))[1]
    leave_run(runs[0])
    leave_run(runs[1 + 2 * seed])
    assert main([*REPORT, *more]) == 2
    assert "has 1 runs that are not in this folder of runs (serl, seed 0)" in capsys.readouterr().err
    assert (elsewhere / FILE).read_bytes() == before


@pytest.mark.parametrize("there", [True, False])
def test_results_of_another_experiment_are_neither_replaced_nor_drawn(
    there: bool, here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (elsewhere / FILE).read_bytes()
    (here / "other.toml").write_text((here / "tiny.toml").read_text())
    runs = tiny_grid(here)[1]
    if there:
        directory = leave_run(runs[0])
        shutil.move(directory.path.parent, here / "runs/other")
    assert main(["report", "--experiment", "other.toml", "--out", str(elsewhere)]) == 2
    assert "is of the experiment tiny, not of other; name another --out." in capsys.readouterr().err
    assert (elsewhere / FILE).read_bytes() == before


def test_what_another_machine_reported_is_not_run_again(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["reproduce", "tiny.toml", "--reported", "docs/results", "--dry-run"]
    assert main(told) == 0
    out = capsys.readouterr().out
    assert f"2 of 4 runs stand in docs/results/tiny/{FILE}." in out
    assert "queued  agps-seed1" in out and "queued  serl-seed1" in out and "seed0" not in out
    assert main([*told[:4], "--seeds", "1"]) == 0  # nothing is left, and nothing more is said
    assert capsys.readouterr().out == f"2 of 2 runs stand in docs/results/tiny/{FILE}.\n"
    assert main([*told[:3], "nowhere", "--dry-run"]) == 2
    assert f"There is no nowhere/tiny/{FILE}" in capsys.readouterr().err


def test_measurements_of_two_machines_come_together(here: Path) -> None:
    """One of three finished runs is measured there, wholly; here it is again in part, and another one in part."""
    measurement, runs = planned(here, STARTS + LANDSCAPE)
    evaluated(here, measurement, runs[0], 10, 10)
    mapped(here, measurement, runs[0], best_y_mm=0.0)
    kept = gathered(here, measurement, runs)
    shutil.rmtree(here / "runs/far")
    evaluated(here, measurement, runs[0], 5)
    evaluated(here, measurement, runs[2], 0)
    found = gathered(here, measurement, runs)
    both = add_measurements(found, kept)
    assert runs[0].name in found.missing and runs[0].name not in both.missing and runs[2].name in both.missing
    trials = {(cell.name, one.seed, one.condition): one.successes for cell in both.cells for one in cell.trials}
    assert trials == {("agps", 0, "start-1"): 15, ("agps", 0, "start-2"): 10, ("agps", 1, "start-1"): 20}
    assert [len(cell.maps) for cell in both.cells] == [2, 0] and [len(cell.boxes) for cell in both.cells] == [1, 0]


def test_condition_that_is_called_otherwise_on_an_axis_is_the_same(here: Path) -> None:
    measurement, runs = planned(here, STARTS)
    evaluated(here, measurement, runs[0], 10, 10)
    kept = gathered(here, measurement, runs)
    shutil.rmtree(here / "runs/far")
    renamed = [one.model_copy(update={"label": f"far {one.label}"}) for one in kept.conditions]
    both = add_measurements(gathered(here, measurement, runs), kept.model_copy(update={"conditions": renamed}))
    assert [one.condition for cell in both.cells for one in cell.trials] == ["start-1", "start-2"]


def test_measurements_that_are_declared_otherwise_now_are_not_taken(here: Path) -> None:
    measurement, runs = planned(here, STARTS + LANDSCAPE)
    evaluated(here, measurement, runs[0], 10, 10)
    mapped(here, measurement, runs[0], best_y_mm=0.0)
    kept = gathered(here, measurement, runs)
    shutil.rmtree(here / "runs/far")
    other = kept.model_copy(update={"landscape": None, "conditions": kept.conditions[:1]})
    both = add_measurements(gathered(here, measurement, runs), other)
    assert [one.condition for cell in both.cells for one in cell.trials] == ["start-1"]
    assert not any(cell.maps or cell.boxes for cell in both.cells) and runs[0].name in both.missing
