"""A detector that is not ours, from the command line to its report; and the example that shows how."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agps_agent.cli.main import main
from examples.oracle_detector import Oracle, OracleConfig
from rl.tasks import get_task
from rl.transforms import TOOL_DOWN, pose
from rl.types import Observation, RobotState

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


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ("extend_detector", "the hand presses with"),
        ("oracle_detector", "the plug is 11 mm from its place, and comes no"),
    ],
)
def test_example_finds_the_bad_rollout_and_not_the_good_one(example: str, reason: str) -> None:
    said = subprocess.run([sys.executable, f"examples/{example}.py"], capture_output=True, text=True, check=True)
    good, bad = said.stdout.splitlines()
    assert good == "the expert: never asks"
    assert bad.startswith("4 mm beside the port: asks at step") and reason in bad


def test_oracle_asks_where_the_plug_comes_no_nearer_for_eight_steps() -> None:
    task = get_task("usb_insertion")
    oracle = Oracle(50, OracleConfig())
    goal = np.array(task.port_position) + [0.0, 0.0, float(task.p_tcp_tool[2]) - task.success_depth_m]
    heights_mm = [50, 40, 30, 30, 29.5, 31, 30, 30, 30, 30, 29.2, 28.9]  # the least so far is what counts
    fired = []
    for step, height_mm in enumerate(heights_mm):
        T = pose(goal + [0.0, 0.0, height_mm / 1e3], TOOL_DOWN)
        robot = RobotState(T_base_tcp=T, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)
        seen = Observation(images={}, state=np.zeros(19, np.float32), robot=robot, T_base_ref=T, step=step)
        fired.append(oracle.update(seen, np.zeros(1)).triggered)
    assert [step for step, fires in enumerate(fired) if fires] == [10]  # 0.8 mm since step 2; 1.1 mm one step later
    oracle.rearm()
    assert not oracle.update(seen, np.zeros(1)).triggered


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
