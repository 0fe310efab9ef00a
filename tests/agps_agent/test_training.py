import json
from pathlib import Path

import numpy as np
import pytest

from agps_agent.build import load_policy
from agps_agent.config import RunConfig, load_config
from agps_agent.progress import Progress
from agps_agent.runs import SUMMARY_KEYS, RunDirectory
from agps_agent.training import train
from rl.drq import DrQConfig

SMALL = DrQConfig(batch_size=16, learning_starts=20, hidden_size=32, channels=8, feature_size=16, buffer_capacity=2_000)


class Listening:
    """Keeps what it hears; presses Ctrl-C at a control step when told to."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.heard: list[Progress] = []
        self.interrupt_at = interrupt_at

    def update(self, progress: Progress) -> None:
        self.heard.append(progress)
        if progress.phase == "train" and progress.env_steps == self.interrupt_at:
            raise KeyboardInterrupt


def configure(path: Path, **changes) -> tuple[RunConfig, RunDirectory]:
    values = {
        "task": "usb_insertion",
        "demos": 0,
        "max_env_steps": 120,
        "eval_every": 0,
        "eval_episodes": 1,
        "threads": 1,
    }
    config = RunConfig(**{**values, "drq": SMALL, "record_every": 1, **changes})
    return config, RunDirectory.create(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """One short run without demonstrations: the stall rule wakes the embedded agent, its waypoints insert the plug."""
    config, run = configure(tmp_path_factory.mktemp("runs") / "run", supervisor={"help_share": 1.0})
    train(config, run, Listening())
    return run


def test_agent_without_demonstrations_brings_the_first_success(finished: RunDirectory):
    episodes = [row for row in finished.read_metrics() if row["kind"] == "episode"]
    assert episodes[0]["trigger_kind"] == "stall"
    assert episodes[0]["guided_steps"] > 0
    assert any(episode["success"] for episode in episodes)


def test_run_directory_holds_everything_that_the_design_lists(finished: RunDirectory):
    for path in (finished.config, finished.metrics, finished.summary, finished.report, finished.recording):
        assert path.is_file() and path.stat().st_size > 0
    assert any((finished.path / "tensorboard").rglob("events.out.*"))
    question = finished.intervention(finished.intervention_ids()[0])
    assert {path.name for path in question.iterdir()} >= {
        "prompt.md",
        "reply.json",
        "annotated.png",
        "intervention.json",
    }


def test_summary_holds_the_headline_numbers(finished: RunDirectory):
    summary = json.loads(finished.summary.read_text())
    assert set(SUMMARY_KEYS) <= set(summary)
    assert summary["env_steps"] == 120
    assert summary["learner_steps"] == (120 - 20) // 2
    pauses = summary["robot_time_s"] - 120 / 10
    assert pauses == pytest.approx(summary["agent_pause_s"], abs=1e-6)


def test_policy_of_the_checkpoint_acts(finished: RunDirectory):
    config = load_config(finished)
    assert config.drq == SMALL
    policy = load_policy(finished)
    observation = {key: space.sample() for key, space in policy.observation_space.items()}
    action, _ = policy.predict(observation, deterministic=True)
    assert np.all(np.abs(action) <= 1.0)


def test_same_seed_gives_the_same_run(tmp_path: Path):
    rows = []
    for name in ("a", "b"):
        config, run = configure(tmp_path / name, max_env_steps=80, method="serl", demos=1)
        train(config, run, Listening())
        rows.append(
            [{k: row[k] for k in ("success", "steps")} for row in run.read_metrics() if row["kind"] == "episode"]
        )
        rows[-1].append(load_policy(run).policy.actor.mean.weight.detach().numpy().tolist())
    assert rows[0] == rows[1]


def test_interrupted_run_leaves_checkpoint_and_report_and_goes_on(tmp_path: Path):
    config, run = configure(tmp_path / "run", method="serl", demos=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, run, Listening(interrupt_at=60))
    assert run.report.is_file()
    listening = Listening()
    summary = train(config, run, listening, resume=True)
    steps = [progress.env_steps for progress in listening.heard if progress.phase == "train"]
    assert steps[0] == 61
    assert summary["env_steps"] == 120
