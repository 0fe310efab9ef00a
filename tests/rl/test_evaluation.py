from dataclasses import replace

import numpy as np
import pytest
import torch

from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError
from rl.evaluation import EvaluationResult, _gets_on, evaluate, wilson_interval
from rl.robots.fake import FakeBackend
from rl.tasks import get_task
from rl.transforms import pose, rotvec_to_matrix
from rl.types import RobotState
from tests.rl.drq.reach import Reach


class Still:
    """A policy that stays where it is, and remembers what it saw and how it was asked."""

    def __init__(self) -> None:
        self.starts: list[np.ndarray] = []
        self.deterministic: set[bool] = set()

    def predict(
        self,
        observation: dict[str, np.ndarray],
        state: None = None,
        episode_start: None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, None]:
        self.starts.append(observation["state"])
        self.deterministic.add(deterministic)
        return np.zeros(2, np.float32), None


class Expert(Still):
    def __init__(self, env: Reach) -> None:
        super().__init__()
        self._env = env

    def predict(self, *args: object, **options: object) -> tuple[np.ndarray, None]:
        return self._env.expert(), None


def test_expert_succeeds_everywhere_and_a_still_policy_times_out():
    env = Reach()
    good, bad = evaluate(Expert(env), env, episodes=5, seed=0), evaluate(Still(), env, episodes=5, seed=0)
    assert (good.success_count, bad.success_count) == (5, 0)
    assert bad.mean_steps == 12.0
    assert good.mean_steps < 10.0


def test_start_states_are_fixed_by_the_seed():
    first, second, later = Still(), Still(), Still()
    for policy, seed in ((first, 10), (second, 10), (later, 11)):
        evaluate(policy, Reach(), episodes=2, seed=seed)
    np.testing.assert_array_equal(first.starts, second.starts)
    np.testing.assert_array_equal(first.starts[12], later.starts[0])  # seed 10's second episode is seed 11's first
    assert first.deterministic == {True}


def test_policy_acts_as_in_training_where_it_is_asked_to():
    policy = Still()
    evaluate(policy, Reach(), episodes=2, seed=0, acting="sampled")
    assert policy.deterministic == {False}


class Pushes(Still):
    """Goes where a test says, step by step: metres along x, or radians about z."""

    def __init__(self, way: list[float], *, component: int) -> None:
        super().__init__()
        self.way, self.component, self.means = way, component, []

    def predict(self, *args: object, deterministic: bool = False, **_: object) -> tuple[np.ndarray, None]:
        self.means.append(deterministic)
        action = np.zeros(6, np.float32)
        action[self.component] = self.way[len(self.means) - 1]
        return action, None


@pytest.mark.parametrize("component", [0, 5])
@pytest.mark.parametrize(
    ("way", "means"),
    [
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [True] * 7),  # it moves, or turns
        ([0, 0, 0, 0, 0, 0, 0], [True] * 4 + [False] * 3),  # four steps that came to nothing
        ([0.5, 0, 0, 0, 0, 0.5, 0], [True] * 5 + [False, True]),  # until it moves again
        ([0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5], [True] * 4 + [False] * 3),  # back and forth
    ],
)
def test_mean_acts_but_where_the_arm_gets_nowhere(way, means, component):
    task = get_task("usb_insertion", horizon=7)
    policy = Pushes(way, component=component)
    evaluate(policy, ManipulationEnv(task, FakeBackend(task)), episodes=1, seed=0, acting="unstuck")
    assert policy.means == means


@pytest.mark.parametrize(
    ("x_m", "turn_rad", "opening", "gets_on"),
    [
        (0.0009, 0.0, 0.2, False),
        (0.0011, 0.0, 0.2, True),
        (0, 0.019, 0.2, False),
        (0, 0.021, 0.2, True),
        (0, 0, 0.26, True),
    ],
)
def test_what_gets_on_by_hand(x_m, turn_rad, opening, gets_on):
    before = RobotState(T_base_tcp=np.eye(4), twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.2)
    T = pose(np.array([x_m, 0.0, 0.0]), rotvec_to_matrix(np.array([0.0, 0.0, turn_rad])))
    assert _gets_on(before, replace(before, T_base_tcp=T, gripper_opening=opening)) is gets_on


class Drawing(Still):
    """Draws its actions as a policy does, from torch's generator, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[np.ndarray] = []

    def predict(self, *args: object, **options: object) -> tuple[np.ndarray, None]:
        self.drawn.append(torch.randn(2).numpy())
        return self.drawn[-1], None


def test_seed_fixes_what_is_drawn_in_an_episode_and_a_training_goes_on_as_if_nothing_were():
    policies = Drawing(), Drawing()
    torch.manual_seed(3)
    expected = torch.randn(1)
    for number, policy in enumerate(policies):
        torch.manual_seed(3)
        torch.randn(number)  # what was drawn before
        evaluate(policy, Reach(), episodes=2, seed=7, acting="sampled")
    np.testing.assert_array_equal(policies[0].drawn, policies[1].drawn)
    torch.manual_seed(3)
    evaluate(policies[0], Reach(), episodes=1, seed=7, acting="sampled")
    assert torch.randn(1) == expected


def test_wilson_interval_by_hand():
    np.testing.assert_allclose(wilson_interval(10, 10), (0.722, 1.0), atol=5e-4)
    np.testing.assert_allclose(wilson_interval(8, 20), (0.219, 0.613), atol=5e-4)
    result = EvaluationResult(successes=(True,) * 49 + (False,), steps=(10,) * 50)
    assert result.success_rate == 0.98
    np.testing.assert_allclose(result.interval_95, (0.895, 0.996), atol=1e-3)


def test_evaluation_is_broken_off_at_the_first_failure_beyond_those_allowed():
    env = Reach()
    assert [evaluate(Still(), env, 9, 0, allowed_failures=n).episodes for n in (0, 2, 8)] == [1, 3, 9]
    assert evaluate(Expert(env), env, 5, 0, allowed_failures=0).success_count == 5


def test_no_episodes_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        evaluate(Still(), Reach(), episodes=0, seed=0)


def test_interval_holds_the_share_and_stays_between_0_and_1(rng):
    for _ in range(300):
        trials = int(rng.integers(1, 200))
        successes = int(rng.integers(0, trials + 1))
        low, high = wilson_interval(successes, trials)
        assert 0.0 <= low <= successes / trials + 1e-12 and successes / trials - 1e-12 <= high <= 1.0
        assert high - low > 0.0


def test_interval_of_failures_mirrors_that_of_successes(rng):
    for _ in range(100):
        trials = int(rng.integers(1, 100))
        successes = int(rng.integers(0, trials + 1))
        low, high = wilson_interval(successes, trials)
        np.testing.assert_allclose(wilson_interval(trials - successes, trials), (1.0 - high, 1.0 - low), atol=1e-12)


def test_more_trials_at_the_same_share_say_more():
    widths = [high - low for low, high in (wilson_interval(n, 2 * n) for n in (1, 5, 25, 125))]
    assert widths == sorted(widths, reverse=True)


def test_one_success_is_little_evidence():
    low, high = wilson_interval(1, 1)
    assert low < 0.21 and high == 1.0


def test_interval_covers_the_truth_about_as_often_as_it_says(rng):
    """At p = 0.8 and 50 trials, 95 % of 2,000 draws are within two points of it."""
    hits = [low <= 0.8 <= high for low, high in (wilson_interval(k, 50) for k in rng.binomial(50, 0.8, 2000))]
    assert 0.93 < np.mean(hits) < 0.97


def test_means_are_over_episodes():
    result = EvaluationResult(
        successes=(True, False, True, True), steps=(10, 60, 20, 30), returns=(1.0, -2.0, 1.0, 4.0)
    )
    assert (result.episodes, result.success_count, result.success_rate) == (4, 3, 0.75)
    assert (result.mean_steps, result.mean_return) == (30.0, 1.0)


class Pressed(FakeBackend):
    """An arm that is pushed by 1 N more in each control step of an episode, and by a torque."""

    def reset(self, T_base_tcp: np.ndarray, rng: np.random.Generator) -> RobotState:
        self.pushed = 0
        return super().reset(T_base_tcp, rng)

    def command(self, T_base_target: np.ndarray, gripper_opening: float) -> RobotState:
        self.pushed += 1
        measured = super().command(T_base_target, gripper_opening)
        return replace(measured, wrench=np.array([0.0, 0.0, -1.0 * self.pushed, 50.0, 0.0, 0.0]))


class Level(Still):
    """As many actions as the task has, all of them 0."""

    def predict(self, *args: object, **options: object) -> tuple[np.ndarray, None]:
        return np.zeros(6, np.float32), None


def test_contact_force_is_the_largest_of_each_episode():
    """1 N in the first step to as many as there are steps; an environment without an arm says nothing."""
    task = get_task("usb_insertion")
    result = evaluate(Level(), ManipulationEnv(task, Pressed(task)), episodes=2, seed=0)
    assert result.steps == (task.horizon, task.horizon)
    assert result.contact_force_peaks_N == (task.horizon, task.horizon) and result.contact_force_peak_N == task.horizon
    assert evaluate(Still(), Reach(), episodes=1, seed=0).contact_force_peak_N is None


def test_interval_holds_its_proportion_for_every_count() -> None:
    for trials in range(1, 201):
        for successes in range(trials + 1):
            low, high = wilson_interval(successes, trials)
            assert 0.0 <= low <= successes / trials <= high <= 1.0
