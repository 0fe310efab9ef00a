import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.measure.experiments.measured import digest, points, read_boxes, read_evaluated, read_map
from agps_agent.measure.experiments.measurement import Measurement
from agps_agent.measure.experiments.measuring import measure
from agps_agent.run.directory import RunDirectory
from rl.ownership import InUse, give_up, own
from tests.agps_agent.run.test_training import Listening, configure
from tests.agps_agent.trained import train_with_report

ROOT = Path(__file__).resolve().parents[4]
DECLARED = """
title = "Tiny"
question = "Does it carry?"
runs_of = "fig3"
eval_episodes = 1

[[conditions]]
name = "as-trained"
label = "as trained"

[[conditions]]
name = "pushed"
label = "pushed"
push_mm = 20
push_step = 1

[landscape]
goal = "port"
y_mm = [-20, 20]
z_mm = [10, 50]
step_mm = 40
at = [20, 700]
boxes = 1
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from agps_agent.measure.experiments.library import load_measurement
from agps_agent.measure.experiments.measuring import measure
from agps_agent.run.directory import RunDirectory

def tell(name, words):
    os.kill(os.getpid(), signal.SIGKILL)

measure(RunDirectory.open(Path(sys.argv[1])), load_measurement(sys.argv[2]), Path(sys.argv[3]), tell=tell)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of 40 control steps that has kept its policy of the 20th."""
    folder = tmp_path_factory.mktemp("runs") / "usb-seed0"
    config, run = configure(folder, method="serl", max_env_steps=40, record_every=0, keep_at=(20,))
    train_with_report(config, run, Listening())
    return run


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("declared") / "tiny.toml"
    file.write_text(DECLARED)
    return file


def measured(run: RunDirectory, measurement: Measurement, folder: Path) -> list[str]:
    """The files that a measurement writes."""
    told: list[str] = []
    count = measure(run, measurement, folder, device="cpu", tell=lambda name, words: told.append(name))
    assert count == len(told)
    return told


def test_run_keeps_the_policy_of_a_step(finished: RunDirectory) -> None:
    assert {path.name for path in finished.checkpoints.iterdir()} == {"last", "step-000020"}


def test_killed_measurement_goes_on_where_it_was(finished: RunDirectory, declared: Path, tmp_path: Path) -> None:
    from agps_agent.measure.experiments.library import load_measurement

    folder = tmp_path / "tiny"
    command = [sys.executable, "-c", KILLED, str(finished.path), str(declared), str(folder)]
    died = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=900)
    assert died.returncode == -signal.SIGKILL
    first = (folder / "as-trained.json").stat().st_mtime_ns
    measurement = load_measurement(str(declared))
    rest = measured(finished, measurement, folder)
    # The run has no step 700: its last policy and that of step 20 are drawn.
    assert rest == ["pushed.json", "values-step-000020.json", "values-last.json", "boxes.json"]
    assert (folder / "as-trained.json").stat().st_mtime_ns == first
    assert measured(finished, measurement, folder) == []
    _check_files(finished, folder)


def _check_files(run: RunDirectory, folder: Path) -> None:
    plain, pushed = (read_evaluated(folder / f"{name}.json") for name in ("as-trained", "pushed"))
    assert (plain.episodes, plain.policy_steps, plain.of_run) == (1, 40, digest(run))
    assert pushed.condition.values == {"push_mm": 20.0, "push_step": 1}
    early, last = (read_map(folder / f"values-{name}.json") for name in ("step-000020", "last"))
    assert (early.policy_steps, last.policy_steps) == (20, 40) and early.values != last.values
    assert len(last.values) == 2 and len(last.values[0]) == 2
    (centre,) = read_boxes(folder / "boxes.json").centres_mm
    assert abs(centre[0]) < 15 and abs(centre[1]) < 15, "the embedded agent's box is about the port"


def test_other_run_or_other_condition_in_its_place_is_measured_again(
    finished: RunDirectory, declared: Path, tmp_path: Path
) -> None:
    from agps_agent.measure.experiments.library import load_measurement

    plain = load_measurement(str(declared)).model_copy(update={"landscape": None})
    few = plain.model_copy(update={"conditions": plain.conditions[:1]})
    assert measured(finished, few, tmp_path) == ["as-trained.json"]
    more = few.model_copy(update={"eval_episodes": 2})
    assert [point.is_there for point in points(more, finished, tmp_path)] == [False]
    content = json.loads((tmp_path / "as-trained.json").read_text())
    (tmp_path / "as-trained.json").write_text(json.dumps({**content, "of_run": "another"}))
    assert [point.is_there for point in points(few, finished, tmp_path)] == [False]
    (tmp_path / "as-trained.json").write_text("{")
    assert [point.is_there for point in points(few, finished, tmp_path)] == [False]


def test_two_do_not_measure_the_same_run(finished: RunDirectory, declared: Path, tmp_path: Path) -> None:
    from agps_agent.measure.experiments.library import load_measurement

    descriptor = own(tmp_path)
    with pytest.raises(InUse):
        measured(finished, load_measurement(str(declared)), tmp_path)
    give_up(tmp_path, descriptor)


def test_person_evaluates_under_a_condition(finished: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["eval", str(finished.path), "--episodes", "1", "--start-scale", "1.5", "--push-mm", "20", "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["conditions"] == {"start_scale": 1.5, "push_mm": 20.0, "push_step": 5} and told["eval_episodes"] == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--start-scale", "0"], "--start-scale"),
        (["--out", "x"], "--out x is for --experiment NAME"),
        (["--experiment", "fig3"], "fig3 trains, and measures no runs of another; fig4a, fig5, fig6, robustness do."),
        (["--experiment", "fig4a", "--friction", "2"], "--friction and --experiment fig4a both say what is measured"),
        (["--experiment", "fig4a", "--episodes", "2"], "--episodes and --experiment fig4a both say what is measured"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line(
    argv: list[str], words: str, finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(finished.path), *argv]) == 2
    err = capsys.readouterr().err
    assert words in err and err.startswith("agps: ") and err.count("\n") == 1
