import numpy as np
import pytest

from rl.errors import ConfigError
from rl.evaluation import EvaluationResult, evaluate, wilson_interval
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


def test_wilson_interval_by_hand():
    np.testing.assert_allclose(wilson_interval(10, 10), (0.722, 1.0), atol=5e-4)
    np.testing.assert_allclose(wilson_interval(8, 20), (0.219, 0.613), atol=5e-4)
    result = EvaluationResult(successes=(True,) * 49 + (False,), steps=(10,) * 50)
    assert result.success_rate == 0.98
    np.testing.assert_allclose(result.interval_95, (0.895, 0.996), atol=1e-3)


def test_no_episodes_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        evaluate(Still(), Reach(), episodes=0, seed=0)
