import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agps_agent.measure.experiments.planning import PlannedRun, standing
from agps_agent.measure.experiments.running import Change, Grid, Outcome, threads_each
from rl.ownership import owner_of
from tests.agps_agent.measure.experiments.grids import GRID, leave_run, tiny_grid

ROOT = Path(__file__).resolve().parents[4]
STANDIN = (sys.executable, "-m", "tests.agps_agent.measure.experiments.standin")
RUNNER = "import sys; from agps_agent.cli.reproduce import run; sys.exit(run(sys.argv[2:], train=sys.argv[1].split()))"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run_grid(
    runs: tuple[PlannedRun, ...], *, budget_s: float | None = None
) -> tuple[Outcome, list[tuple[str, Change]]]:
    told: list[tuple[str, Change]] = []
    folder = runs[0].path.parent
    grid = Grid(runs, folder, 2, lambda run, now: told.append((run.name, now)), budget_s=budget_s, train=STANDIN)
    return grid.run(), told


def begun(folder: Path) -> list[str]:
    file = folder / "begun.txt"
    return file.read_text().splitlines() if file.exists() else []


def wait_for(fact: Callable[[], bool], what: str) -> None:
    for _ in range(6_000):
        if fact():
            return
        time.sleep(0.02)
    raise AssertionError(f"waited for {what} in vain")


def test_what_is_finished_is_kept_and_what_was_cut_off_goes_on(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    leave_run(runs[0])
    cut = leave_run(runs[1], successes=None)
    (cut.checkpoints / "30").mkdir()
    (cut.checkpoints / "30" / "manifest.json").touch()
    leave_run(runs[2], successes=None)  # no checkpoint: there is nothing to go on from
    outcome, told = run_grid(runs[:3])
    assert outcome == Outcome({}, ())
    assert sorted(begun(runs[0].path.parent)) == ["agps-seed1 begun", "serl-seed0 resumed"]
    assert told[0] == ("agps-seed0", "finished") and ("serl-seed0", "finished") in told


def test_run_that_fails_is_named_with_its_last_words_and_the_others_go_on(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    folder = runs[0].path.parent
    folder.mkdir(parents=True)
    (folder / "die-agps-seed0").touch()
    outcome, told = run_grid(runs[:2])
    assert list(outcome.failed) == ["agps-seed0"] and ("serl-seed0", "finished") in told
    assert outcome.failed["agps-seed0"].startswith("The camera is on fire. (exit code 1; see ")


def test_run_whose_output_cannot_be_kept_fails_alone(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    (runs[0].path.parent / "logs" / "agps-seed0.txt").mkdir(parents=True)
    outcome, told = run_grid(runs[:2])
    assert outcome.failed["agps-seed0"].startswith("Cannot write ") and ("serl-seed0", "finished") in told


def test_run_of_other_settings_fails_and_is_left_as_it_is(tmp_path: Path) -> None:
    _, (other, *_) = tiny_grid(tmp_path)
    before = leave_run(other).config.read_text()
    _, runs = tiny_grid(tmp_path, GRID.replace("--demos 1", "--demos 2"))
    outcome, _ = run_grid(runs[:1])
    assert "made with demos = 1, and 2 is declared" in outcome.failed["agps-seed0"]
    assert (other.path / "config.json").read_text() == before and not begun(other.path.parent)


def test_budget_starts_nothing_beyond_it(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    outcome, _ = run_grid(runs, budget_s=0.0)
    assert outcome == Outcome({}, tuple(run.name for run in runs)) and not begun(runs[0].path.parent)


def test_interrupted_grid_lets_its_trainings_save(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    folder = runs[0].path.parent
    folder.mkdir(parents=True)
    (folder / "hold-agps-seed0").touch()

    def interrupt(run: PlannedRun, now: Change) -> None:
        if now == "running":
            wait_for(lambda: (run.path / "checkpoints" / "30").exists(), "a checkpoint")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Grid(runs[:1], folder, 1, interrupt, train=STANDIN).run()
    # The lock is given back, the run is no finished one, and what was saved is what it goes on from.
    assert owner_of(runs[0].path) is None and standing(runs[0]).state == "queued"
    assert "interrupted" in (runs[0].path / "summary.json").read_text()


@pytest.mark.parametrize("orphan_dies", [False, True])
def test_nothing_is_repeated_or_lost_when_the_runner_is_killed(orphan_dies: bool, tmp_path: Path) -> None:  # noqa: FBT001
    _, runs = tiny_grid(tmp_path)
    folder = runs[0].path.parent
    folder.mkdir(parents=True)
    held = folder / "hold-serl-seed0"
    held.touch()
    told = ["tiny.toml", "--cells", "agps", "serl", "--seeds", "1", "--jobs", "1", "--runs", "runs"]
    command = [sys.executable, "-c", RUNNER, " ".join(STANDIN), *told]
    first = subprocess.Popen(command, cwd=tmp_path)
    wait_for(lambda: (folder / "serl-seed0" / "checkpoints" / "30").exists(), "the second run's checkpoint")
    first.kill()
    first.wait()
    orphan = owner_of(folder / "serl-seed0")
    assert orphan is not None, "the training outlives its runner, and holds its directory"
    if orphan_dies:
        os.kill(int(orphan), signal.SIGKILL)
    second = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    if orphan_dies:
        wait_for(lambda: len(begun(folder)) == 3, "the run to go on")
    held.unlink()
    out, _ = second.communicate(timeout=300)
    assert second.returncode == 0 and "All 2 runs are finished." in out
    resumed = ["serl-seed0 resumed"] if orphan_dies else []
    assert begun(folder) == ["agps-seed0 begun", "serl-seed0 begun", *resumed]
    assert [standing(run).state for run in runs[:2]] == ["finished", "finished"]


@pytest.mark.slow
def test_real_trainings_survive_the_death_of_their_runner(tmp_path: Path) -> None:
    small = "--drq.batch-size 8 --drq.channels 4 --drq.hidden-size 16 --drq.feature-size 8 --drq.learning-starts 10"
    few = "--demos 1 --max-env-steps 60 --eval-every 0 --checkpoint-every 20 --record-every 0 --pretrain-steps 2"
    (tmp_path / "tiny.toml").write_text(
        GRID.replace("--demos 1 --max-env-steps 60 --eval-every 30", f"{few} {small}")
        .replace("eval_episodes = 20", "eval_episodes = 1")
        .replace("--method agps", "--method serl --drq.gamma 0.9")
    )
    command = [sys.executable, "-m", "agps_agent.cli", "reproduce", "tiny.toml", "--seeds", "1", "--jobs", "1"]
    folder = tmp_path / "runs" / "tiny"
    first = subprocess.Popen(command, cwd=tmp_path)
    wait_for(lambda: (folder / "agps-seed0" / "metrics.jsonl").exists(), "a rollout")
    first.kill()
    first.wait()
    assert subprocess.run(command, cwd=tmp_path, check=False, timeout=900).returncode == 0
    finished = [(folder / name / "summary.json").stat().st_mtime_ns for name in ("agps-seed0", "serl-seed0")]
    assert subprocess.run(command, cwd=tmp_path, check=False, timeout=900).returncode == 0
    again = [(folder / name / "summary.json").stat().st_mtime_ns for name in ("agps-seed0", "serl-seed0")]
    assert again == finished


def test_runner_that_is_told_to_end_says_that_nothing_is_lost(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    folder = runs[0].path.parent
    folder.mkdir(parents=True)
    for run in runs[:2]:
        (folder / f"hold-{run.name}").touch()
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, " ".join(STANDIN), "tiny.toml"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(begun(folder)) == 2, "two runs to begin")
    runner.send_signal(signal.SIGINT)
    _, told = runner.communicate(timeout=120)
    assert runner.returncode != 0 and "the same command goes on" in told


@pytest.mark.parametrize(
    ("jobs", "machines", "threads"),
    [
        *[(2, (2,), 1), (1, (8,), 8), (3, (8,), 2), (9, (8,), 1)],
        *[(2, (2, 2, 2, 2), 2), (4, (8, 2), 2), (2, (8, 2), 4), (5, (2, 2), 1), (1, (1, 16), 16)],
    ],
)
def test_every_run_finds_room_on_one_machine(jobs: int, machines: tuple[int, ...], threads: int) -> None:
    """A run that is to have more cores than any machine would wait for ever."""
    assert threads_each(jobs, machines) == threads
