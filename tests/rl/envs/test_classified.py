from dataclasses import dataclass, field

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv

from rl.envs import JudgedEnv, make_env
from rl.errors import ConfigError
from rl.rewards import Setting
from rl.rewards.classifier.reward import ClassifierReward
from rl.tasks.expert import make_expert


@dataclass
class Scripted:
    """Says what it is told to say, step by step; 0 after that."""

    says: list[float] = field(default_factory=list)
    task: str = "usb_insertion"
    cameras: tuple[str, ...] = ("wrist_1", "wrist_2")
    image_size: int = 64
    threshold: float = 0.5
    asked: int = 0

    def probability(self, observation):
        self.asked += 1
        return self.says[self.asked - 1] if self.asked <= len(self.says) else 0.0


def judged(env, classifier, n=2) -> JudgedEnv:
    """An environment with a classifier over it."""
    setting = Setting(task=env.task, image_size=env.image_size)
    return JudgedEnv(env, ClassifierReward(setting, classifier=classifier, n=n))


HOLD = np.zeros(6, np.float32)


@pytest.fixture
def inner():
    return make_env("usb_insertion", robot="fake", horizon=30)


def steps(env, count, action=HOLD):
    return [env.step(action) for _ in range(count)]


@pytest.mark.parametrize(("n", "ends_at"), [(1, 0), (2, 3), (3, 4)])
def test_episode_ends_after_n_positive_frames_in_a_row(inner, n, ends_at):
    env = judged(inner, Scripted([0.9, 0.2, 0.9, 0.5, 0.9]), n=n)
    env.reset(seed=0)
    results = steps(env, ends_at + 1)
    assert [terminated for _, _, terminated, _, _ in results] == [False] * ends_at + [True]
    assert [reward for _, reward, _, _, _ in results] == [0.0] * ends_at + [1.0]
    assert results[-1][4]["is_success"] and not results[-1][4]["true_success"]


def test_positive_frames_do_not_count_across_episodes(inner):
    env = judged(inner, Scripted([0.9, 0.9]), n=2)
    env.reset(seed=0)
    steps(env, 1)
    env.reset(seed=1)
    _, _, terminated, _, _ = env.step(HOLD)
    assert not terminated


def test_true_success_that_is_not_seen_goes_on_to_the_horizon(inner):
    env, expert = judged(inner, Scripted()), make_expert(inner.task)
    _, info = env.reset(seed=0)
    truths = []
    for step in range(30):
        _, reward, terminated, truncated, info = env.step(expert(info["observation"], inner.truth()))
        truths.append(info["true_success"])
        assert reward == 0.0 and not terminated and not info["is_success"]
        assert truncated == (step == 29)
    assert truths[-1] and truths.index(True) < 29


def test_verdict_at_the_horizon_terminates_and_does_not_truncate(inner):
    env = judged(inner, Scripted([0.0] * 28 + [0.9, 0.9]), n=2)
    env.reset(seed=0)
    *_, terminated, truncated, _ = steps(env, 30)[-1]
    assert terminated and not truncated


def test_policy_is_told_nothing_by_the_truth(inner):
    plain = make_env("usb_insertion", robot="fake", horizon=30)
    env = judged(inner, Scripted())
    ours, theirs = env.reset(seed=4)[0], plain.reset(seed=4)[0]
    assert ours.keys() == theirs.keys() and env.observation_space == plain.observation_space


def test_reward_is_what_the_task_pays_for_the_verdict():
    class Paid(type(make_env("usb_insertion", robot="fake").task)):
        def reward(self, success):
            return 10.0 if success else -0.1

    env = judged(make_env(Paid(), robot="fake"), Scripted([0.1, 0.9]), n=1)
    env.reset(seed=0)
    assert [reward for _, reward, *_ in steps(env, 2)] == [-0.1, 10.0]


def test_restored_moment_remembers_the_positive_frames(inner):
    env = judged(inner, Scripted([0.9, 0.1, 0.9]), n=2)
    env.reset(seed=0)
    steps(env, 1)
    moment = env.snapshot()
    steps(env, 1)
    env.restore(moment)
    assert env.step(HOLD)[2]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_wrapped_environment_passes_the_checker_and_shows_its_scale_through_a_vector(inner):
    env = judged(inner, Scripted())
    check_env(env, skip_render_check=True)
    np.testing.assert_array_equal(DummyVecEnv([lambda: env]).get_attr("action_scale")[0], inner.action_scale)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "towel_folding"}, "fitted for task towel_folding, not usb_insertion"),
        ({"cameras": ("wrist_1",)}, "fitted for cameras"),
        ({"image_size": 128}, "fitted for image size 128, not 64"),
    ],
)
def test_classifier_of_something_else_is_refused(inner, changes, words):
    with pytest.raises(ConfigError, match=words):
        judged(inner, Scripted(**changes))


def test_no_positive_frame_at_all_is_not_a_success(inner):
    with pytest.raises(ConfigError, match="n is 0"):
        judged(inner, Scripted(), n=0)
