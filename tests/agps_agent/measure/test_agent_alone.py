from dataclasses import replace

import numpy as np
import pytest

from agps_agent.ask import Answer
from agps_agent.measure import agent_alone
from agps_agent.measure.agent_alone import run_agent_alone
from agps_agent.run.build import Asker
from agps_agent.run.config import RunConfig
from agps_agent.settings import AgentSettings
from agps_agent.state import ModeRequest
from rl.errors import ConfigError
from rl.transforms import pose
from rl.types import RobotState
from tools.scene import Scene


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


@pytest.mark.parametrize(("reason", "rises_mm"), [("not_visible", 40.0), ("no_depth", 40.0), ("not_json", 0.0)])
def test_arm_that_hides_what_it_is_asked_about_rises(
    reason: str, rises_mm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    heights_m: list[float] = []
    ask = Asker.ask

    def hidden_first(self: Asker, scene: Scene, *, mode: ModeRequest) -> Answer:
        heights_m.append(float(scene.T_base_tcp[2, 3]))
        answer = ask(self, scene, mode=mode)
        return answer if len(heights_m) > 1 else replace(answer, intervention=None, reason_key=reason)

    monkeypatch.setattr(Asker, "ask", hidden_first)
    result = run_agent_alone(RunConfig(task="usb_insertion"), episodes=1, seed=3, horizon_factor=2.0)
    assert result.successes == (True,) and result.questions == 2
    assert 1e3 * (heights_m[1] - heights_m[0]) == pytest.approx(rises_mm, abs=10.0)  # it does not stop at the top


def grip_after(*steps: tuple[float, float, float]) -> str:
    """What a grip came to when the TCP was at these heights, with these openings and heights of the held point."""
    grip = agent_alone._Grip()
    for height, opening, point in steps:
        T = pose(np.array([0.5, 0.0, height]), np.eye(3))
        robot = RobotState(T_base_tcp=T, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=opening)
        grip.watch(robot, np.array([0.5, 0.0, point]))
    return grip.slip


def test_point_that_stays_when_closed_fingers_rise_was_missed() -> None:
    assert grip_after((0.03, 1.0, 0.02), (0.03, 0.0, 0.02), (0.05, 0.0, 0.02), (0.08, 0.0, 0.02)) == "missed_grasp"


def test_point_that_comes_along_and_falls_was_dropped() -> None:
    assert grip_after((0.03, 0.0, 0.02), (0.07, 0.0, 0.06), (0.09, 0.0, 0.02)) == "dropped"


def test_point_that_is_let_go_was_not_dropped() -> None:
    assert grip_after((0.03, 0.0, 0.02), (0.07, 0.0, 0.06), (0.07, 0.9, 0.04), (0.12, 0.9, 0.02)) == ""


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"episodes": 1, "horizon_factor": 0.0}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="ask for at least 1"):
        run_agent_alone(RunConfig(task="usb_insertion"), seed=0, **wrong)
