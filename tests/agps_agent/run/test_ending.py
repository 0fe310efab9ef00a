"""When a run counts as solved, with what error, and what it says at its end."""

import shlex
from pathlib import Path

import pytest

from agps_agent.cli.train import read_options
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import save_config
from agps_agent.run.directory import RunDirectory
from agps_agent.run.ending import EndedBy, allowed_failures, ending, solved_probability
from agps_agent.run.robot import Robot


def test_one_failure_is_forgiven_in_60() -> None:
    assert [allowed_failures(n) for n in (1, 35, 59, 60, 119, 120)] == [0, 0, 0, 1, 1, 2]


def test_error_of_the_rule_by_hand() -> None:
    """0.5^2 * 0.5^3 without a failure allowed; 0.9^20 * (0.9^60 + 60 * 0.1 * 0.9^59) with one."""
    assert solved_probability(0.5, curve_episodes=2, solved_episodes=3) == pytest.approx(1 / 32)
    by_hand = 0.9**20 * (0.9**60 + 60 * 0.1 * 0.9**59)
    assert solved_probability(0.9, curve_episodes=20, solved_episodes=60) == pytest.approx(by_hand)
    assert solved_probability(1.0, curve_episodes=20, solved_episodes=60) == 1.0


def test_policy_of_90_percent_hardly_ever_ends_a_run() -> None:
    """The numbers that `stop_when_solved` states, and ten evaluations of such a policy in simulation."""
    config = RunConfig(task="usb_insertion")
    episodes = {"curve_episodes": config.curve_episodes, "solved_episodes": config.solved_episodes}
    chances = [solved_probability(success, **episodes) for success in (0.9, 0.95, 0.99)]
    assert chances == pytest.approx([0.0017, 0.069, 0.72], rel=0.05)
    assert 10 * chances[0] < 0.02
    values = Robot("franka").start_values(None, Path("none.toml"))
    on_arm = {name: values[name] for name in episodes}
    chances = [solved_probability(success, **on_arm) for success in (0.9, 0.95, 0.99)]
    assert chances == pytest.approx([0.015, 0.13, 0.67], rel=0.05)


@pytest.mark.parametrize(
    ("ended_by", "said", "changes"),
    [
        (
            "solved",
            "Solved after 3,535 of 10,000 steps: a perfect evaluation, then 59 of 60",
            {"stop_when_solved": False},
        ),
        ("steps", "Ended after all 10,000 steps", {"max_env_steps": 20_000}),
        ("time", "Ended by the time limit of 240 minutes after 3,535 of 10,000 steps", {"max_minutes": 480.0}),
        ("interrupted", "Interrupted after 3,535 of 10,000 steps", {}),
        ("fault", "Ended by a fault after 3,535 of 10,000 steps (the camera is gone)", {}),
    ],
)
def test_sentence_says_why_and_its_command_goes_on(
    ended_by: EndedBy, said: str, changes: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "my run"
    config = RunConfig(task="usb_insertion", run_dir=path)
    save_config(config, RunDirectory.create(path))
    more = {"confirmed": "59 of 60", "why": "the camera is gone."}
    sentence = ending(ended_by, config, path, env_steps=3_535, updates=0, **more)
    assert sentence.startswith(said)
    command = shlex.split(sentence.partition("go on with: ")[2])
    assert command[:2] == ["agps", "train"] and read_options(command[2:]).resume
    assert read_options(command[2:]).config == config.model_copy(update=changes)


def test_stage_1_is_counted_in_its_updates() -> None:
    config = RunConfig(task="towel_folding", method="conrft")
    sentence = ending("updates", config, Path("run"), env_steps=0, updates=4_000)
    assert sentence.startswith("Ended after all 4,000 updates of stage 1; ") and sentence.endswith(
        "--pretrain-steps 8000"
    )
    config = RunConfig(task="towel_folding", method="agps-conrft")
    sentence = ending("time", config, Path("run"), env_steps=0, updates=1_200)
    assert sentence.startswith("Ended by the time limit of 240 minutes after 1,200 of 4,000 updates of stage 1")


def test_solved_run_without_steps_left_gets_more_of_them() -> None:
    config = RunConfig(task="usb_insertion", max_env_steps=3_000)
    sentence = ending("solved", config, Path("run"), env_steps=3_000, updates=0, confirmed="60 of 60")
    assert sentence.endswith("--no-stop-when-solved --max-env-steps 6000")


def test_run_that_made_more_steps_than_asked_for_goes_on_from_those() -> None:
    """A fleet's robots are in an episode when the budget is spent."""
    config = RunConfig(task="usb_insertion", max_env_steps=80)
    sentence = ending("steps", config, Path("run"), env_steps=89, updates=0)
    assert sentence.startswith("Ended after all 89 steps; ") and sentence.endswith("--max-env-steps 178")
