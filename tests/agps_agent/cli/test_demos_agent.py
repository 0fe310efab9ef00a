"""`agps demos record --by agent`: the embedded model's waypoints alone move the arm."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.cli.main import main
from agps_agent.run import hardware
from agps_agent.run.build import build_env
from agps_agent.run.config import RunConfig
from agps_agent.run.showing import Asked, open_showing
from rl.demonstrations import demos_in, read_episode
from rl.tasks import get_task
from tests.agps_agent.stations import STATION
from tests.rl.envs.robots import SimulatedArm

RECORD = ["demos", "record", "usb_insertion", "--by", "agent"]
HORIZON = 12
"""Control steps: too few for most starts."""
NO_EXPERT = """
from rl.tasks.usb_insertion import UsbInsertion

class Nameless(UsbInsertion):
    def expert(self):
        return None
"""


def manifest_of(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "demos.json").read_text())
    return manifest


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three demonstrations in so little time that tries between them fail."""
    folder = tmp_path_factory.mktemp("agent") / "demos"
    assert main([*RECORD, "--n", "3", "--horizon", str(HORIZON), "--out", str(folder)]) == 0
    return folder


def test_agents_demonstrations_are_successes_from_their_first_step(recorded: Path) -> None:
    episodes = [read_episode(path) for path in demos_in(recorded)]
    assert len(episodes) == 3
    for episode in episodes:
        assert episode["reward"][-1] > 0 and episode["terminated"][-1]
        assert len(episode["action"]) <= HORIZON and len(episode["state"]) == len(episode["action"]) + 1
        assert np.any(episode["action"][0] != 0)


def test_folder_tells_that_the_agent_demonstrated(recorded: Path) -> None:
    assert manifest_of(recorded)["by"] == "agent"


def test_failed_tries_are_not_kept_and_have_used_up_their_seeds(recorded: Path) -> None:
    seeds = manifest_of(recorded)["seeds"]
    assert seeds == sorted(set(seeds)) and seeds[-1] > 2


def test_disturbed_demonstration_records_what_was_meant(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "disturbed"
    assert main([*RECORD, "--n", "1", "--demo-noise", "0.3", "--out", str(folder)]) == 0
    straight, disturbed = (read_episode(demos_in(where)[0]) for where in (recorded, folder))
    assert straight["seed"] == disturbed["seed"]
    # The same plan at the same place, but for what the guard takes off; and yet the arm went elsewhere.
    np.testing.assert_allclose(straight["action"][0], disturbed["action"][0], atol=0.02)
    assert not np.allclose(straight["state"][1], disturbed["state"][1])
    assert (manifest_of(recorded)["demo_noise"], manifest_of(folder)["demo_noise"]) == (0.0, 0.3)


def test_agents_demonstrations_are_disturbed_as_the_recipe_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "demos"
    assert main(["demos", "record", "towel_folding", "--by", "agent", "--n", "1", "--out", str(folder)]) == 0
    assert manifest_of(folder)["demo_noise"] == get_task("towel_folding").recipe.demo_noise > 0


def test_no_more_is_recorded_where_the_scene_moves() -> None:
    moving = {"task": "usb_insertion", "task_options": {"port_jitter_mm": 30}, **Asked().settings()}
    config = RunConfig.model_validate(moving)
    with closing(build_env(config)) as env, open_showing(config, env) as agent:
        assert len(list(agent.demonstrations(5, seed=0))) == 5


def test_model_calls_are_told(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = manifest_of(recorded)["model_calls"]
    assert main(["demos", "list", str(recorded)]) == 0
    assert calls > 0 and f"the agent's took {calls} model calls" in capsys.readouterr().out


def test_recording_that_goes_on_counts_its_calls_on_top(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(recorded, tmp_path / "demos")
    before = manifest_of(folder)
    assert main([*RECORD, "--n", "4", "--resume", "--out", str(folder), "--json"]) == 0
    told, after = json.loads(capsys.readouterr().out), manifest_of(folder)
    assert told["count"] == 4 and told["model_calls"] == after["model_calls"] > before["model_calls"]
    assert after["seeds"][:3] == before["seeds"] and after["seeds"][3] > before["seeds"][2]


def test_agent_that_fails_too_often_gives_up_and_what_there_is_is_kept(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(recorded, tmp_path / "demos")
    assert main([*RECORD, "--n", "4", "--horizon", "3", "--resume", "--out", str(folder)]) == 1
    assert "agps: The agent succeeded in 0 of 7 tries; `agps ask usb_insertion`" in capsys.readouterr().err
    assert len(demos_in(folder)) == 3
    assert manifest_of(folder)["model_calls"] > manifest_of(recorded)["model_calls"]


def test_agent_that_never_succeeds_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demos"
    assert main([*RECORD, "--n", "1", "--horizon", "2", "--vlm", "embedded,miss-share=1", "--out", str(folder)]) == 1
    assert "The agent succeeded in 0 of 7 tries" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--vlm", "embedded"], "--vlm is for the agent's demonstrations; add --by agent, or leave it out."),
        (["--by", "expert", "--memory", "m"], "--memory is for the agent's demonstrations; add --by agent"),
        (["--by", "agent", "--vlm", "oracle"], "--vlm: "),
        (["--by", "agent", "--memory", "127.0.0.1:8001"], "--memory: for a server write http://127.0.0.1:8001"),
        (["--by", "gamepad"], "in simulation the scripted expert demonstrates, or --by agent."),
    ],
)
def test_options_that_do_not_fit_are_refused(
    more: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demos", "record", "usb_insertion", *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and sentence in error
    assert list(tmp_path.iterdir()) == []


def test_memory_of_an_earlier_recording_costs_no_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []
    for name in ("first", "second"):
        where = ["--memory", str(tmp_path / "memory"), "--out", str(tmp_path / name), "--json"]
        assert main([*RECORD, "--n", "1", *where]) == 0
        calls.append(json.loads(capsys.readouterr().out)["model_calls"])
    assert calls[0] > 0 and calls[1] == 0


def test_task_without_scripted_expert_is_demonstrated_by_the_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nameless.py").write_text(NO_EXPERT)
    task, folder = f"{tmp_path}/nameless.py:Nameless", tmp_path / "demos"
    assert main(["demos", "record", task, "--n", "1", "--out", str(folder)]) == 2
    assert "expert" in capsys.readouterr().err
    assert main(["demos", "record", task, "--n", "1", "--by", "agent", "--out", str(folder)]) == 0
    assert manifest_of(folder)["count"] == 1


def test_any_method_starts_from_the_agents_demonstrations(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    brief = ["--max-env-steps", "24", "--pretrain-steps", "5", "--eval-every", "0", "--eval-episodes", "1"]
    small = ["--drq.batch-size", "16", "--drq.learning-starts", "10", "--drq.buffer-capacity", "2000"]
    small += ["--record-every", "0"]
    start = ["train", "usb_insertion", "--method", "serl", "--demos-dir", str(recorded), "--run-dir", str(run)]
    assert main([*start, *brief, *small, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["env_steps"], summary["learner_steps"] > 0) == (24, True)
    assert manifest_of(run / "demos")["count"] == 3


def test_agent_demonstrates_on_an_arm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "station.toml").write_text(STATION)
    arms: list[SimulatedArm] = []

    def open_backend(config: object, task: Any, station: object, **_: object) -> SimulatedArm:
        arms.append(SimulatedArm(task))
        return arms[-1]

    monkeypatch.setattr(hardware, "_open_backend", open_backend)
    where = ["--robot", "franka", "--station", str(tmp_path / "station.toml"), "--out", str(tmp_path / "demos")]
    assert main([*RECORD, *where, "--n", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model_calls"] > 0
    assert manifest_of(tmp_path / "demos")["robot"] == "franka" and arms[0].log[-1] == "stop"
