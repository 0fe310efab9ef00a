"""A detector that is not ours, from the command line to its report; and the example that shows how."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agps_agent.cli.main import main

OURS = "examples/extend_detector.py:Pressing"
SMALL = ["batch-size=8", "learning-starts=60", "hidden-size=16", "channels=8", "feature-size=16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the detector watches alone, with a limit that any motion exceeds."""
    path = tmp_path_factory.mktemp("detector") / "run"
    argv = ["train", "usb_insertion", "--detectors", OURS, "--detector-options.pressing.limit-N", "0.01"]
    argv += [
        "--detector-options.pressing.steps",
        "2",
        "--demos",
        "0",
        "--agent-demos",
        "0",
        "--eval-every",
        "0",
        "--max-env-steps",
        "55",
    ]
    argv += ["--supervisor.help-share", "1", "--eval-episodes", "1", "--run-dir", str(path)]
    assert main([*argv, *(f"--algorithm-options.{setting}" for setting in SMALL)]) == 0
    return path


def rows(run: Path) -> list[dict]:
    return [row for row in map(json.loads, (run / "metrics.jsonl").open()) if row["kind"] == "episode"]


def test_example_finds_the_bad_rollout_and_not_the_good_one() -> None:
    said = subprocess.run([sys.executable, "examples/extend_detector.py"], capture_output=True, text=True, check=True)
    good, bad = said.stdout.splitlines()
    assert good == "the expert: never asks"
    assert bad.startswith("4 mm beside the port: asks at step") and "the hand presses with" in bad


def test_detector_from_a_file_wakes_the_agent_and_its_trace_is_logged(run: Path) -> None:
    first = rows(run)[0]
    assert (first["trigger_kind"], first["detectors"]) == ("pressing", ["pressing"])
    assert len(first["pressing_trace"]) == len(first["pressing_scores"]) > 0
    assert set(first["pressing_thresholds"]) == {0.01} and not any(key.startswith("float_") for key in first)


def test_agent_and_report_hear_its_reason(run: Path) -> None:
    answer = json.loads((run / "interventions" / "0001" / "intervention.json").read_text())
    assert answer["trigger"]["kind"] == "pressing" and "the hand presses with" in answer["trigger"]["reason"]
    report = (run / "report.html").read_text()
    assert "pressing in good and bad rollouts" in report and "the failure detectors (pressing in " in report


def test_its_settings_are_saved_and_the_run_is_resumed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["detectors"] == [f"{Path(OURS.split(':')[0]).resolve()}:Pressing"] or config["detectors"] == [OURS]
    assert config["detector_options"] == {"pressing": {"limit_N": 0.01, "steps": 2}}
    assert main(["train", "--run-dir", str(run), "--resume", "--max-env-steps", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["env_steps"] == 60


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--detectors", "flaot"], "Unknown detector 'flaot'; known: float, stall"),
        (["--detectors", "stall", "stall"], "name each detector once"),
        (["--detectors", OURS, "--detector-options.pressing.limit-N", "-1"], "greater than 0"),
        (["--detectors", OURS, "--detector-options.pressing.limt-N", "1"], "limt-N"),
    ],
)
def test_wrong_detector_or_option_is_refused_in_a_line(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "usb_insertion", *options, "--run-dir", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not (tmp_path / "run").exists()
