"""`agps train --env`: somebody else's environment from the command line to its report."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from PIL import Image

from agps_agent.cli.main import main
from agps_agent.models.server import serve_model
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import load_config
from agps_agent.run.directory import RunDirectory
from rl.demonstrations import load_demos, save_demos
from rl.drq.config import DrQConfig
from rl.envs import adapt
from rl.envs.options import AdapterOptions
from rl.pixels.config import PixelConfig
from tests.rl.envs.foreign import SevenJoints

MODULE = "tests.rl.envs.foreign"
HOVER = "examples/extend_environment.py:Hover"
SMALL = ["batch-size=8", "learning-starts=20", "hidden-size=16", "channels=8", "feature-size=16"]


def argv(run: Path, env: str, *more: str) -> list[str]:
    small = [f"--algorithm-options.{setting}" for setting in SMALL]
    short = ["--max-env-steps", "60", "--eval-every", "40", "--curve-episodes", "1", "--eval-episodes", "2"]
    return ["train", "--env", env, "--run-dir", str(run), *short, *small, *more]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "run"
    assert main(argv(path, f"{MODULE}:SevenJoints")) == 0
    return path


def test_foreign_environment_trains_to_a_report(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["task"], summary["method"], summary["env_steps"]) == ("SevenJoints", "serl", 60)
    assert (summary["learner_steps"], summary["eval_episodes"]) == (20, 2)
    page = (run / "report.html").read_text()
    assert "SevenJoints with SERL" in page and "Return over environment steps" in page
    assert (run / "recording.rrd").stat().st_size > 1000


def test_returns_are_the_sums_of_the_environments_own_rewards(run: Path) -> None:
    rows = RunDirectory(run).read_metrics()
    episodes = [row for row in rows if row["kind"] == "episode"]
    assert [row["steps"] for row in episodes] == [20, 20, 20] and all(-40.0 < row["return"] < -5.0 for row in episodes)
    final = next(row for row in rows if row["kind"] == "final_eval")
    assert json.loads((run / "summary.json").read_text())["mean_return"] == final["mean_return"] < 0.0


def test_targets_are_not_clamped_where_nothing_is_known_of_the_rewards(run: Path) -> None:
    config = load_config(RunDirectory(run))
    assert isinstance(config.algorithm_options, DrQConfig) and config.algorithm_options.clip_target is None
    values = {"env": f"{MODULE}:Picture", "algorithm": "examples/smooth_drq.py:SmoothDrQ", "preset": "hil-serl"}
    settings = RunConfig.model_validate(values).algorithm_options
    assert isinstance(settings, PixelConfig) and (settings.clip_target, settings.gamma) == (None, 0.97)


def test_run_is_evaluated_and_reported_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--episodes", "2", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert (numbers["task"], numbers["eval_episodes"]) == ("SevenJoints", 2) and numbers["mean_return"] < 0.0
    assert main(["report", str(run)]) == 0


def test_run_is_resumed_without_naming_the_environment_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--run-dir", str(run), "--resume", "--max-env-steps", "80", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["env_steps"] == 80
    assert main(["train", "--run-dir", str(run), "--resume", "--env", f"{MODULE}:Picture"]) == 2
    assert "SevenJoints" in capsys.readouterr().err


def test_options_and_arguments_reach_the_environment(tmp_path: Path) -> None:
    more = ["--env-arguments", '{"goal": 0.25}', "--env-options.image-keys", "cameras.front", "--image-size", "128"]
    more += ["--env-options.state-keys", "robot.joints", "--env-options.horizon", "15", "--max-env-steps", "30"]
    assert main(argv(tmp_path / "run", f"{MODULE}:foreign/SevenJoints-v0", *more)) == 0
    config = load_config(RunDirectory(tmp_path / "run"))
    assert (config.task, config.env_arguments) == ("SevenJoints-v0", '{"goal": 0.25}')
    assert config.env_options == AdapterOptions(image_keys=("cameras.front",), state_keys=("robot.joints",), horizon=15)
    episodes = [row for row in RunDirectory(tmp_path / "run").read_metrics() if row["kind"] == "episode"]
    assert [row["steps"] for row in episodes] == [12, 12]  # the registered limit is shorter


@pytest.mark.parametrize("name", [f"{MODULE}:Picture", HOVER])
def test_images_alone_and_arms_train_too(name: str, tmp_path: Path) -> None:
    assert main(argv(tmp_path / "run", name, "--env-options.horizon", "10", "--method", "serl")) == 0
    assert (tmp_path / "run" / "report.html").is_file()


class Pointing(BaseChatModel):
    """Sees the red mark, and wants the tool above it."""

    @property
    def _llm_type(self) -> str:
        return "pointing"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        if "Use only these primitives" in str(messages):
            call = {"name": "translate", "arguments": {"target": "mark", "height_m": 0.05}}
            reply: dict[str, Any] = {"calls": [call], "reason": "There."}
        else:
            red, _, blue = np.moveaxis(picture_in(messages).astype(int), -1, 0)
            rows, columns = np.nonzero(red - blue > 100)
            point = [float(columns.mean()), float(rows.mean())]
            reply = {"keypoints": [{"label": "mark", "point_2d": point, "visible": True}]}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(json.dumps(reply)))])


def picture_in(messages: list[BaseMessage]) -> np.ndarray:
    """The last image that was sent, (H, W, 3)."""
    encoded = re.findall(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)", str([message.content for message in messages]))[-1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def test_agent_helps_in_an_environment_that_can_be_watched(tmp_path: Path) -> None:
    more = ["--method", "agps", "--mode", "guide", "--env-options.horizon", "40", "--supervisor.help-share", "1.0"]
    with serve_model(Pointing(), name="plain") as server:
        assert main(argv(tmp_path / "run", HOVER, *more, "--vlm", server.url, "--max-env-steps", "120")) == 0
    episodes = [row for row in RunDirectory(tmp_path / "run").read_metrics() if row["kind"] == "episode"]
    helped = [row for row in episodes if row["guided_steps"] > 0]
    assert any(row["success"] for row in helped)
    assert any((tmp_path / "run" / "interventions").glob("*/annotated.png"))


def test_agent_wants_words_about_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mute.py").write_text("from examples.extend_environment import Hover\nclass Mute(Hover): prompt = None")
    mute = argv(tmp_path / "run", f"{tmp_path}/mute.py:Mute", "--method", "agps")
    assert main(mute) == 2
    assert "Mute cannot be watched, as it lacks words about the task (--env-prompt FILE)" in capsys.readouterr().err
    assert main([*mute, "--env-prompt", str(tmp_path / "mute.md")]) == 2
    assert "mute.md" in capsys.readouterr().err and not (tmp_path / "run").exists()


def demonstrations(folder: Path) -> Path:
    """Two episodes of somebody who knows where the joints should be."""
    env = adapt(SevenJoints(), image_size=64)
    episodes = []
    for seed in range(2):
        obs, _ = env.reset(seed=seed)
        seen, steps = [obs], []
        while not steps or not steps[-1]["truncated"]:
            action = np.clip(5.0 * (env.unwrapped.goal - env.unwrapped.joints), -1.0, 1.0).astype(np.float32)
            obs, reward, terminated, truncated, info = env.step(action)
            seen.append(obs)
            executed = info["executed_action"]
            steps.append({"action": executed, "reward": reward, "terminated": terminated, "truncated": truncated})
        frames = {key: np.stack([obs[key] for obs in seen]) for key in seen[0]}
        episodes.append({**frames, **{key: np.array([step[key] for step in steps]) for key in steps[0]}})
    save_demos(folder, episodes, env=env, seed=0)
    return folder


def test_demonstrations_come_from_a_folder(tmp_path: Path) -> None:
    folder = demonstrations(tmp_path / "demos")
    assert len(load_demos(folder, env=adapt(SevenJoints(), image_size=64))) == 2
    assert main(argv(tmp_path / "run", f"{MODULE}:SevenJoints", "--demos-dir", str(folder))) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["demos"] == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            ["--demos", "3"],
            "--demos 3: Picture has no scripted expert; name a folder of demonstrations with --demos-dir",
        ),
        (
            ["--method", "agps"],
            "Picture cannot be watched, as it lacks robot, action_scale, workspace, capture, an action",
        ),
        (["--helper", "human"], "--helper human is for AGPS's own tasks; leave it out with --env"),
        (["--robot", "franka", "--demos", "0"], "--robot is for AGPS's own tasks; leave it out with --env"),
        (["--reward", "classifier"], "--reward is for AGPS's own tasks"),
        (
            ["usb_insertion"],
            "TASK usb_insertion and --env ",
        ),
        (["--env-arguments", "{"], "--env-arguments is '{', no JSON object"),
        (["--env-arguments", "[1]"], "--env-arguments is '[1]'; write a JSON object such as"),
        (["--env-options.image-keys", "front"], "image_keys: Picture observes no 'front'; it observes observation"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv(tmp_path / "run", f"{MODULE}:Picture", *more)) == 2
    err = capsys.readouterr().err
    assert words in err and err.startswith("agps: ") and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--vlm", "reference"], "--vlm is for runs that the agent helps, and with --method serl nobody helps"),
        (["--float.alpha=0.1"], "--float.alpha is for runs that the agent helps"),
        (["--guidance.contact-n", "3"], "--guidance.contact-n is for runs that the agent helps"),
        (["--demo-noise", "0.1"], "take --method agps, or leave it out"),
        (["--human.notice", "1"], "--human.notice is for AGPS's own tasks, and --env names somebody else's"),
        (["--no-confirm"], "--no-confirm is for AGPS's own tasks"),
        (["--speed", "0.5"], "--speed is for AGPS's own tasks"),
        (["--teleop", "gamepad"], "name a TASK in its place, or leave it out"),
        (
            ["--method", "agps", "--vlm-model", "big"],
            "name the server with --vlm URL",
        ),
    ],
)
def test_what_would_do_nothing_is_refused_as_in_runs_of_tasks(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--env", f"{MODULE}:Picture", "--run-dir", str(tmp_path / "run"), *more]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_what_would_do_nothing_is_refused_in_a_run_that_goes_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "config.json").read_bytes()
    assert main(["train", "--run-dir", str(run), "--resume", "--vlm", "reference"]) == 2
    assert "--vlm is for runs that the agent helps" in capsys.readouterr().err
    assert (run / "config.json").read_bytes() == before


def test_environment_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv(tmp_path / "run", "nowhere:a/B-v0")) == 2
    assert "Cannot make the environment 'nowhere:a/B-v0' (ModuleNotFoundError" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_options_of_an_environment_without_one_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "usb_insertion", "--env-options.render", "--run-dir", str(tmp_path / "run")]) == 2
    assert "--env-options, --env-arguments and --env-prompt are about --env; name one" in capsys.readouterr().err
