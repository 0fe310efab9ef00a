import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.measure import sweep as experiments
from agps_agent.measure.sweep import Cell, Sweep, cells, run_sweep, write_tables

STANDIN = """
import signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.agps_agent.report.synthetic import make_run
option = dict(zip(sys.argv[1:], sys.argv[2:]))
run_dir = Path(option["--run-dir"])
if option["--seed"] == "13":
    sys.exit(1)
if option["--seed"] == "14" and not (run_dir.parent / "died").exists():
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "config.json").touch()
    (run_dir.parent / "died").touch()
    sys.exit(1)
if option["--seed"] == "15":
    signal.signal(signal.SIGTERM, lambda *_: (run_dir.with_suffix(".saved").touch(), sys.exit(1)))
    run_dir.with_suffix(".ready").touch()
    time.sleep(600.0)
make_run(Path(option["--run-dir"]), method=option["--method"], demos=int(option["--demos"]), episodes=12)
"""
"""Takes the arguments of `agps train` and leaves a run behind in a second."""


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "standin.py"
    script.write_text(STANDIN.format(root=str(Path(__file__).resolve().parents[3])))
    monkeypatch.setattr(experiments, "TRAIN", (sys.executable, str(script)))


def sweep(folder: Path, *seeds: int) -> Sweep:
    return Sweep(task="usb_insertion", cells=cells(("agps", "serl"), (1,), seeds), directory=folder, jobs=2)


def test_every_combination_once_with_seeds_outermost() -> None:
    assert cells(("agps",), (20, 1), (0, 1)) == (
        Cell("agps", 20, 0),
        Cell("agps", 1, 0),
        Cell("agps", 20, 1),
        Cell("agps", 1, 1),
    )


@pytest.mark.usefixtures("quick_training")
def test_sweep_trains_each_cell_and_writes_the_tables(tmp_path: Path) -> None:
    told: list[str] = []
    assert run_sweep(sweep(tmp_path / "sweep", 0), lambda cell, change: told.append(change)) == []
    page = write_tables(sweep(tmp_path / "sweep", 0))
    assert sorted(told) == ["done", "done", "started", "started"]
    assert page.is_file() and (tmp_path / "sweep" / "table.md").read_text().count("\n") == 4


@pytest.mark.usefixtures("quick_training")
def test_finished_runs_are_kept_and_failed_ones_named(tmp_path: Path) -> None:
    run_sweep(sweep(tmp_path / "sweep", 0), lambda cell, change: None)
    told: dict[str, str] = {}
    failed = run_sweep(sweep(tmp_path / "sweep", 0, 13), lambda cell, change: told.update({cell.name: change}))
    assert failed == [Cell("agps", 1, 13), Cell("serl", 1, 13)] or failed == [Cell("serl", 1, 13), Cell("agps", 1, 13)]
    assert told["agps-demos1-seed0"] == "kept" and told["agps-demos1-seed13"] == "failed"


@pytest.mark.usefixtures("quick_training")
def test_training_that_died_before_its_first_checkpoint_is_begun_anew(tmp_path: Path) -> None:
    cell = Cell("agps", 1, 14)
    one = Sweep(task="usb_insertion", cells=(cell,), directory=tmp_path / "sweep", jobs=1)
    assert run_sweep(one, lambda cell, change: None) == [cell]
    assert run_sweep(one, lambda cell, change: None) == []


@pytest.mark.usefixtures("quick_training")
def test_interrupted_sweep_lets_its_trainings_save(tmp_path: Path) -> None:
    path = tmp_path / "sweep" / "agps-demos1-seed15"

    def interrupt(cell: Cell, change: str) -> None:
        while not path.with_suffix(".ready").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    one = Sweep(task="usb_insertion", cells=(Cell("agps", 1, 15),), directory=tmp_path / "sweep", jobs=1)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(one, interrupt)
    assert path.with_suffix(".saved").exists()


@pytest.mark.usefixtures("quick_training")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sweep_that_is_told_to_end_tells_its_trainings(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "sweep" / "serl-demos1-seed15"

    def tell() -> None:
        while not path.with_suffix(".ready").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=tell, daemon=True).start()
    few = ["--methods", "serl", "--demos", "1", "--seeds", "15", "--jobs", "1"]
    assert main(["sweep", "usb_insertion", "--out", str(tmp_path / "sweep"), *few]) == 1
    assert path.with_suffix(".saved").exists()
