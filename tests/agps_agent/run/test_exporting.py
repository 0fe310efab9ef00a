"""A run's replay memory as a dataset: demonstrations first, then rollouts with the agent's corrections."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.exporting import recorded_in
from agps_agent.run.training import train
from rl.checkpoint import latest_checkpoint, recorded_episodes
from rl.demonstrations import read_episode
from rl.drq import DrQConfig
from rl.errors import ConfigError
from rl.lerobot import export_dataset
from tests.rl.lerobot.reader import Reader
from tests.rl.lerobot.recordings import folder_of, recorded

SMALL = DrQConfig(batch_size=16, learning_starts=20, hidden_size=32, channels=8, feature_size=16, buffer_capacity=2_000)
POLICY, AGENT, HUMAN, EXPERT, UNKNOWN = range(5)


class Silent:
    def update(self, progress: object) -> None:
        pass


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Two demonstrations of an expert, then rollouts in which the stall rule wakes the embedded agent."""
    folder = tmp_path_factory.mktemp("exported")
    demos = folder_of([recorded(4), recorded(6, number=1)], folder / "demos")
    options = {"demos_dir": demos, "demos": 2, "agent_demos": 0, "pretrain_steps": 0, "detectors": ["stall"]}
    options |= {"max_env_steps": 90, "eval_every": 0, "eval_episodes": 1, "threads": 1, "drq": SMALL}
    config = RunConfig(task="usb_insertion", supervisor={"help_share": 1.0}, **options)
    run = RunDirectory.create(folder / "run")
    train(config, run, Silent())
    return run


def test_every_step_of_a_runs_memory_is_exported_with_who_acted(run: RunDirectory, tmp_path: Path) -> None:
    exported = export_dataset(*recorded_in(run.path), tmp_path / "set")
    files = [path for path, _ in recorded_episodes(latest_checkpoint(run.checkpoints))]
    reader = Reader(tmp_path / "set")
    guided = 0
    for number, path in enumerate(files):
        episode, read = read_episode(path), reader.episode(number)
        np.testing.assert_array_equal(np.stack(read.rows["action"].to_list()), episode["action"])
        np.testing.assert_array_equal(read.rows["next.reward"], episode["reward"])
        others = EXPERT if number < 2 else POLICY
        expected = np.where(episode["guided"], AGENT, others)
        np.testing.assert_array_equal(read.rows["complementary_info.actor"], expected)
        difference = read.images["observation.images.wrist_1"].astype(int) - episode["wrist_1"][:-1]
        assert np.abs(difference).max() <= exported.max_error
        guided += int(episode["guided"].sum())
    assert exported.frames == 90 + 10 and len(files) == exported.episodes > 2 and guided > 0
    assert reader.info["agps"]["method"] == "agps" and reader.info["agps"]["config"]["clearance_m"] == 0.0003


def test_running_episode_without_steps_is_left_out(run: RunDirectory) -> None:
    for path, _ in recorded_episodes(latest_checkpoint(run.checkpoints)):
        assert len(read_episode(path)["action"]) > 0


def test_demonstrations_of_a_run_keep_who_gave_them(run: RunDirectory) -> None:
    assert json.loads((run.demos / "demos.json").read_text())["by"] == "expert"


@pytest.mark.parametrize(
    ("manifest", "actor"),
    [
        ({"by": "agent"}, "agent"),
        ({"by": "gamepad"}, "human"),
        ({"by": "somebody"}, "unknown"),
        ({"model_calls": 3}, "agent"),  # folders of older versions say no more
        ({}, "expert"),
        ({"robot": "franka"}, "unknown"),
    ],
)
def test_folder_tells_who_demonstrated(tmp_path: Path, manifest: dict[str, str], actor: str) -> None:
    folder = folder_of([recorded(3)], tmp_path / "demos")
    about = {**json.loads((folder / "demos.json").read_text()), **manifest}
    if "by" not in manifest:
        del about["by"]
    (folder / "demos.json").write_text(json.dumps(about))
    (only,), _ = recorded_in(folder)
    assert (only.actor, only.guide) == (actor, actor)


def test_numbers_of_an_environment_that_names_none_are_counted(tmp_path: Path) -> None:
    folder = folder_of([recorded(3)], tmp_path / "demos")
    about = json.loads((folder / "demos.json").read_text())
    (folder / "demos.json").write_text(json.dumps({**about, "task": "Mine-v0", "config": {"name": "Mine-v0"}}))
    _, told = recorded_in(folder)
    assert (told.instruction, told.state[18].name, told.action[5].name) == ("Mine-v0", "state_18", "action_5")


def test_run_without_a_checkpoint_has_nothing_to_export(run: RunDirectory, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")))
    with pytest.raises(ConfigError, match="There is no checkpoint in .*the run has not saved one yet"):
        recorded_in(copy)
