import pytest

from agps_agent.agent_alone import run_agent_alone
from agps_agent.config import RunConfig
from agps_agent.state import AgentSettings
from rl.errors import ConfigError


def test_agent_alone_inserts_and_its_questions_are_counted() -> None:
    told: list[tuple[int, bool]] = []
    result = run_agent_alone(
        RunConfig(task="usb_insertion"), episodes=2, seed=3, progress=lambda *args: told.append(args)
    )
    assert result.successes == (True, True) and told == [(0, True), (1, True)]
    assert (result.questions, result.model_calls) == (2, 4)  # to see and to plan
    assert result.failure_modes == {}


def test_time_that_is_up_on_the_way_is_counted() -> None:
    result = run_agent_alone(RunConfig(task="usb_insertion"), episodes=1, seed=3, horizon_factor=0.1)
    assert (result.success_count, result.steps) == (0, (5,))
    assert result.failure_modes == {"horizon": 1}


def test_budget_that_ends_the_waypoints_is_counted() -> None:
    config = RunConfig(task="usb_insertion", agent=AgentSettings(guide_max_steps=2))
    result = run_agent_alone(config, episodes=1, seed=3, max_questions=1)
    assert result.failure_modes == {"budget": 1}


def test_agent_that_does_not_answer_is_asked_again_and_its_reason_counted() -> None:
    config = RunConfig(task="usb_insertion", agent=AgentSettings(wall_budget_s=1e-6))
    result = run_agent_alone(config, episodes=1, seed=3, max_questions=2)
    assert (result.success_count, result.questions) == (0, 2)
    assert result.failure_modes == {"declined_timeout": 1}


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"episodes": 1, "horizon_factor": 0.0}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="ask for at least 1"):
        run_agent_alone(RunConfig(task="usb_insertion"), seed=0, **wrong)
