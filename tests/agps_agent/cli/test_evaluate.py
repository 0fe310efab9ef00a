import json
from pathlib import Path
from typing import Any

import pytest

from agps_agent.cli.main import main
from agps_agent.measure import agent_alone
from agps_agent.measure.agent_alone import AgentAloneResult
from agps_agent.run.config import RunConfig
from agps_agent.run.simulation import Simulation
from agps_agent.run.training import train
from rl.algorithm import GuidedAlgorithm
from rl.drq import DrQConfig
from rl.envs.factory import make_env
from tests.agps_agent.run.test_training import SMALL_CONRFT, Listening, configure


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, dict[str, Any]]]:
    """Stand in for minutes of episodes; return what was asked for."""
    seen = []

    def run_agent_alone(config: RunConfig, **options: Any) -> AgentAloneResult:
        seen.append((config, options))
        for number in range(20):
            options["progress"](number, number % 2 == 0)
        return AgentAloneResult(
            successes=(True, False) * 10,
            steps=(30,) * 20,
            model_calls=44,
            questions=22,
            failure_modes={"missed_grasp": 7, "horizon": 3},
        )

    monkeypatch.setattr(agent_alone, "run_agent_alone", run_agent_alone)
    return seen


def test_agent_alone_is_one_json_object_with_its_failures(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--agent-alone", "towel_folding", "--episodes", "20", "--seed", "5", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert (result["task"], result["successes"], result["eval_episodes"]) == ("towel_folding", 10, 20)
    assert result["failure_modes"] == {"missed_grasp": 7, "horizon": 3}
    assert (result["questions"], result["model_calls"], result["failed_seeds"][0]) == (22, 44, 6)
    assert err.splitlines() == ["10/20 episodes, 5 succeeded", "20/20 episodes, 10 succeeded"]
    config, options = asked[0]
    assert (config.task, options["episodes"], options["seed"]) == ("towel_folding", 20, 5)


def test_agent_alone_says_its_failures_in_words(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["eval", "towel_folding", "--agent-alone", "--max-questions", "2", "--task-options.towel-jitter-mm", "10"]
    assert main(argv) == 0
    assert "10 of 20 episodes succeed (50%" in (out := capsys.readouterr().out)
    assert out.endswith("Failures: 7 missed grasp, 3 horizon.\n")
    config, options = asked[0]
    assert (options["max_questions"], config.task_options) == (2, {"towel_jitter_mm": 10.0})


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--agent-alone", "knitting"], "There is no task 'knitting'"),
        (["--agent-alone"], "TASK"),
        (["--agent-alone", "usb_insertion", "--vlm", "gpt"], "There is no model 'gpt'; use embedded"),
        (["--agent-alone", "usb_insertion", "--max-questions", "0"], "--max-questions is 0"),
        (["--agent-alone", "usb_insertion", "--task-options.towel-jitter-mm", "1"], "usb_insertion has no such option"),
    ],
)
def test_bad_usage_is_one_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", *argv]) == 2
    assert words in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_policy_after_stage_1_is_a_checkpoint_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Simulation, "open", lambda self, config, **_: make_env(config.task, robot="fake"))
    small = DrQConfig(batch_size=8, hidden_size=16, channels=8, feature_size=16)
    config, run = configure(
        tmp_path / "run", method="conrft", demos=1, pretrain_steps=2, drq=small, conrft=SMALL_CONRFT, record_every=0
    )
    train(config, run, Listening())
    assert main(["eval", str(run.path), "--checkpoint", "pretrained", "--episodes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["env_steps"] == 0
    assert main(["eval", str(run.path), "--checkpoint", "first"]) == 2
    assert "There is no checkpoint at" in capsys.readouterr().err


def test_policy_acts_as_in_training_where_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Simulation, "open", lambda self, config, **_: make_env(config.task, robot="fake"))
    small = DrQConfig(batch_size=8, hidden_size=16, channels=8, feature_size=16)
    config, run = configure(tmp_path / "run", method="serl", demos=1, max_env_steps=10, drq=small, record_every=0)
    train(config, run, Listening())
    asked = []
    draw = GuidedAlgorithm.predict

    def predict(self: Any, observation: Any, *args: Any, deterministic: bool = False) -> Any:
        asked.append(deterministic)
        return draw(self, observation, *args, deterministic=deterministic)

    monkeypatch.setattr(GuidedAlgorithm, "predict", predict)
    for given, is_mean, words in (
        ([], True, "usb_insertion, 10"),
        (["--acting", "sampled"], False, "usb_insertion, sampled, 10"),
    ):
        asked.clear()
        assert main(["eval", str(run.path), "--episodes", "1", *given]) == 0
        assert set(asked) == {is_mean} and words in capsys.readouterr().out
    assert main(["eval", str(run.path), "--experiment", "fig4a", "--acting", "sampled"]) == 2
    assert "--acting and --experiment fig4a both say what is measured" in capsys.readouterr().err
