"""A task of somebody else's package, found by entry point: nothing here knows it, and every command takes it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent import studio
from agps_agent.cli.main import main
from agps_agent.measure.grounding import bench_grounding
from agps_agent.models.offline.grounding import GROUNDINGS
from agps_agent.run.config import RunConfig
from prompts.loader import load_task_prompt
from rl.envs import make_env
from rl.errors import ConfigError
from rl.tasks import TASKS, get_task, load_task
from rl.tasks.base import simulated
from tests.outside import install
from tools.scene import save_scene

PACKAGE = Path(__file__).parents[1] / "examples" / "outside_task"
NAME = "peg_in_hole"
REFERENCE = f"{PACKAGE}/agps_peg_in_hole/task.py:PegInHole"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package as pip installs it: its code and its entry points on the search path; a working directory of ours."""
    install(PACKAGE, tmp_path / "site", monkeypatch)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a command prints as JSON."""
    assert main([*argv, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_its_names_are_found_with_where_they_come_from() -> None:
    origins = {entry.name: entry.origin for entry in TASKS}
    assert origins[NAME] == "agps-peg-in-hole 0.1.0"
    assert "hole" in GROUNDINGS
    assert load_task(NAME) is load_task(REFERENCE) is load_task("agps_peg_in_hole.task:PegInHole")


def test_gymnasium_knows_it_and_nothing_of_it_is_imported_before_it_is_made() -> None:
    code = (
        "import sys, gymnasium, rl.envs; before = 'agps_peg_in_hole' in sys.modules; "
        "env = gymnasium.make('agps/PegInHole-v0', robot='fake', clearance_m=0.001); print(before, env.task)"
    )
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-c", code]
    told = subprocess.run(run, env=where, capture_output=True, text=True, timeout=300, check=True).stdout
    assert told.startswith("False PegInHole(") and "clearance_m=0.001" in told


def test_its_words_lie_beside_its_class() -> None:
    words = load_task_prompt(NAME)
    assert (words.task, list(words.keypoints)) == (NAME, ["hole_left", "hole_right"])


def test_its_numbers_are_options(capsys: pytest.CaptureFixture[str]) -> None:
    config = RunConfig(task=NAME, task_options={"clearance_mm": 0.2, "hole_jitter_mm": 5})
    task = get_task(config.task, **config.task_overrides)
    assert (task.clearance_m, task.hole_jitter_m) == pytest.approx((0.0002, 0.005))  # type: ignore[attr-defined]
    assert main(["train", NAME, "--task-options.peg-radius-mm", "20"]) == 2
    assert "--task-options.peg-radius-mm: Input should be less than or equal to 12" in capsys.readouterr().err


@pytest.mark.parametrize("overrides", [{}, {"hole_jitter_m": 0.02}, {"clearance_m": 0.0002, "lead_in_m": 0.0}])
def test_expert_inserts_the_peg(overrides: dict[str, float]) -> None:
    env = make_env(NAME, **overrides)
    expert = env.expert()
    for seed in range(3):
        _, info = env.reset(seed=seed)
        terminated = truncated = False
        while not (terminated or truncated):
            _, _, terminated, truncated, info = env.step(expert(info["observation"], env.truth()))
        assert terminated, f"seed {seed}"
    env.close()


@pytest.mark.parametrize(
    ("offset", "success"),
    [
        ([0.0, 0.0, -0.0151], True),
        ([0.0, 0.0, -0.0149], False),
        ([0.0010, 0.0010, -0.016], True),
        ([0.0011, 0.0011, -0.016], False),
    ],
)
def test_done_is_deep_and_near_the_axis(offset: list[float], success: bool) -> None:
    """1.5 mm from the axis is too far, whatever the direction."""
    task = simulated(get_task(NAME))
    hole = task.landmarks["hole"]
    robot = make_env(NAME, robot="fake").reset(seed=0)[1]["observation"].robot
    assert task.is_success({"hole": hole, "peg_tip": hole + offset}, robot) is success


def test_peg_beside_the_hole_stays_outside() -> None:
    """The block is solid: pushed down 6 mm beside the axis, the tip stays on the rim."""
    env = make_env(NAME, start_xy_m=0.0, start_z_m=0.0, start_height_m=0.01)
    env.reset(seed=0)
    for number in range(20):
        env.step(np.array([0.3 if number < 2 else 0.0, 0.0, -0.5, 0.0, 0.0, 0.0], np.float32))
    assert env.truth()["peg_tip"][2] - env.truth()["hole"][2] > -0.001
    env.close()


def test_offline_model_finds_the_hole_where_the_simulator_has_it() -> None:
    numbers = bench_grounding(NAME, scenes=4, absent=2, seed=3)
    assert numbers["median_px"] < 2.0 and numbers["median_mm"] < 2.0
    assert (numbers["missed"], numbers["absent_rejected"]) == (0.0, 1.0)


def test_hole_with_the_peg_before_it_is_not_taken_for_another() -> None:
    """What covers half of the ring leaves no ellipse."""
    env = make_env(NAME)
    env.reset(seed=1)
    frame = env.capture(["side"])[0]
    find = GROUNDINGS.load("hole")
    found = find(frame.rgb)
    assert found is not None
    u, v = (round(value) for value in np.mean([found.points["hole_left"], found.points["hole_right"]], axis=0))
    covered = frame.rgb.copy()
    covered[v - 30 : v + 30, u : u + 40] = (180, 180, 185)
    assert find(covered) is None
    env.close()


@pytest.mark.parametrize("task", [NAME, REFERENCE])
def test_agent_is_asked_about_it(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = said(["ask", task, "--seed", "3"], capsys)
    assert (answer["task"], answer["kind"]) == (NAME, "guide")
    assert [call["name"] for call in answer["plan"]["calls"]] == ["translate", "search"]
    box = said(["ask", task, "--seed", "3", "--mode", "prune"], capsys)
    assert box["kind"] == "prune"


def test_agent_alone_inserts_the_peg(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(["eval", "--agent-alone", NAME, "--episodes", "2"], capsys)["successes"] == 2


async def test_studio_offers_its_graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from agps_agent.run.build import capture_scene

    env = make_env(NAME)
    env.reset(seed=3)
    save_scene(capture_scene(env), tmp_path / "scene")
    env.close()
    graph = studio.graph_of(NAME)()
    state = await graph.ainvoke({"mode_request": "guide"}, context={"scene_folder": str(tmp_path / "scene")})
    assert (graph.name, state["guidance"]["kind"]) == (NAME, "guide")


SMALL = ["--algorithm-options.batch-size", "16", "--algorithm-options.learning-starts", "20"]
SHORT = ["--pretrain-steps", "5", "--eval-every", "0", "--eval-episodes", "1", "--threads", "1"]


def test_it_is_demonstrated_trained_evaluated_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(["demos", "record", NAME, "--n", "2"], capsys)["count"] == 2
    assert Path(f"demos/{NAME}/demos.json").is_file()
    argv = ["train", NAME, "--method", "serl", "--demos-dir", f"demos/{NAME}", "--max-env-steps", "60"]
    summary = said([*argv, *SMALL, *SHORT], capsys)
    assert (summary["task"], summary["demos"], summary["env_steps"]) == (NAME, 2, 60)
    run = f"runs/{NAME}/serl-demos2-seed0"
    assert said(["eval", run, "--episodes", "1"], capsys)["task"] == NAME
    assert main(["report", run]) == 0
    assert NAME in Path(run, "report.html").read_text()


def test_task_in_a_file_is_trained_by_the_agent_and_its_questions_are_asked_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its file, from one working directory, and looked at from another."""
    argv = ["train", REFERENCE, "--demos", "0", "--max-env-steps", "110", "--supervisor.help-share", "1.0"]
    summary = said([*argv, "--run-dir", f"{tmp_path}/run", *SMALL, *SHORT], capsys)
    assert (summary["task"], summary["env_steps"]) == (NAME, 110) and summary["agent_calls"] > 0
    assert main(["report", f"{tmp_path}/run"]) == 0
    assert f"<h1>{NAME} with AGPS" in Path(tmp_path, "run", "report.html").read_text()
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert said(["eval", "run", "--episodes", "1"], capsys)["task"] == NAME
    assert said(["memory", "list", "run"], capsys)["task"] == NAME
    replayed = said(["prompts", "replay", "run", "--limit", "1"], capsys)
    assert next(iter(replayed["summary"].values()))["answered"] == 1.0


def test_without_its_finder_the_offline_model_says_what_it_lacks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The task of a file that nobody has installed."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in (str(PACKAGE), str(tmp_path / "site"))])
    answer = said(["ask", REFERENCE, "--mode", "guide"], capsys)
    assert answer["reason_key"] == "refused"
    assert "I know no keypoint `hole_left`, `hole_right`" in answer["reason"] and "--vlm URL" in answer["reason"]
    with pytest.raises(ConfigError, match="I know no keypoint `hole_left`"):
        bench_grounding(REFERENCE, scenes=1, absent=0)


def test_pip_would_install_all_of_it(tmp_path: Path) -> None:
    """What setuptools takes into the package: code and words."""
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import setup; setup()"
    command = [sys.executable, "-c", build, "-q", "build", "--build-base", str(tmp_path / "build")]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    built = {path.name for path in (tmp_path / "build" / "lib" / "agps_peg_in_hole").iterdir()}
    assert built == {path.name for path in (PACKAGE / "agps_peg_in_hole").iterdir() if path.name != "__pycache__"}
