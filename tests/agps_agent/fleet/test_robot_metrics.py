"""A robot counts its own steps, and goes on counting in its next process."""

import numpy as np
import pytest

from agps_agent.fleet.robot_metrics import RobotMetrics
from rl.loop import Step
from rl.types import EpisodeOutcome, Transition


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def step(*, begins: bool = False, success: bool | None = None) -> Step:
    action = np.zeros(6, np.float32)
    transition = Transition(
        observation={}, action=action, reward=0.0, next_observation={}, terminated=False, truncated=False, guided=False
    )
    outcome = None
    if success is not None:
        outcome = EpisodeOutcome(
            episode=0,
            success=success,
            terminated=True,
            truncated=False,
            steps=4,
            guided_steps=0,
            pruned_steps=0,
            final_robot=None,
        )
    return Step(transition=transition, info={}, outcome=outcome, meant=action, begins_episode=begins)


def test_period_is_taken_within_rollouts_alone():
    clock = Clock()
    metrics = RobotMetrics(clock=clock)
    for at, now in ((0.0, step(begins=True)), (0.1, step()), (0.22, step()), (3.0, step(success=True))):
        clock.now = at
        metrics.see(now)
    clock.now = 9.0
    metrics.see(step(begins=True))
    assert list(metrics.periods) == pytest.approx([0.1, 0.12])
    assert metrics.said()["period_p50_ms"] == pytest.approx(110.0)


def test_period_does_not_count_holding_still_for_the_agent():
    clock = Clock()
    metrics = RobotMetrics(clock=clock)
    for at, now, held_s in ((0.0, step(begins=True), 7.0), (5.1, step(), 12.0), (5.2, step(), 12.0)):
        clock.now = at
        metrics.see(now, held_s=held_s)
    assert list(metrics.periods) == pytest.approx([0.1, 0.1])


def test_next_process_of_a_robot_goes_on_counting():
    clock = Clock()
    first = RobotMetrics(clock=clock)
    first.begin()
    first.see(step(begins=True, success=True))
    first.waited(1.5)
    clock.now = 4.0
    second = RobotMetrics(clock=clock)
    second.load_state_dict(first.state_dict())
    second.begin()
    clock.now = 5.0
    assert (second.steps, second.episodes, second.successes, second.lives) == (1, 1, 1, 2)
    assert (second.wall_s, second.learner_wait_s) == (5.0, 1.5)
