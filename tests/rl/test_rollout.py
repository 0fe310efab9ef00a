import numpy as np

from rl.rollout import last_of, run_episode, run_steps
from tests.rl.drq.reach import Reach


def still(now) -> np.ndarray:
    return np.zeros(2, np.float32)


def test_episode_shows_its_start_and_each_step_to_its_end():
    env = Reach(horizon=5)
    moments = list(run_episode(env, still, seed=0))
    assert [moment.step for moment in moments] == [0, 1, 2, 3, 4, 5]
    assert [moment.is_over for moment in moments] == [False] * 5 + [True]
    assert (moments[-1].terminated, moments[-1].truncated) == (False, True)


def test_success_ends_the_episode_with_its_reward():
    env = Reach()
    last = last_of(run_episode(env, lambda now: env.expert(), seed=3))
    assert (last.terminated, last.reward, last.info["is_success"]) == (True, 1.0, True)


def test_who_acts_sees_the_moment_before():
    seen = []

    def act(now):
        seen.append(now.step)
        return np.array([1.0, 0.0], np.float32)

    moments = list(run_episode(Reach(horizon=2), act, seed=0))
    assert seen == [0, 1]
    assert moments[1].obs["state"][0] - moments[0].obs["state"][0] > 0.29  # a full action is 0.3


def test_who_acts_may_end_the_episode():
    moments = run_episode(Reach(), lambda now: None if now.step == 3 else still(now), seed=0)
    assert [moment.step for moment in moments] == [0, 1, 2, 3]


def test_longest_episode_is_as_long_as_asked_for():
    assert last_of(run_episode(Reach(), still, seed=0, max_steps=4)).step == 4
    assert last_of(run_episode(Reach(), still, seed=0, max_steps=0)).step == 0


def test_past_its_end_an_episode_goes_on_until_the_last_step_asked_for():
    moments = list(run_episode(Reach(horizon=5), still, seed=0, max_steps=9, past_end=True))
    assert [moment.truncated for moment in moments] == [False] * 5 + [True] * 5


def test_environment_stands_still_between_two_moments():
    env = Reach()
    moments = run_episode(env, lambda now: np.array([0.5, 0.5], np.float32), seed=0)
    first = next(moments)
    np.testing.assert_array_equal(env.position.astype(np.float32), first.obs["state"])


def test_steps_of_many_episodes_are_counted_without_their_resets():
    moments = list(run_steps(Reach(horizon=5), still, steps=12, seed=0))
    assert [moment.step for moment in moments] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2]


def test_only_the_first_of_many_starts_is_that_of_the_seed():
    starts = [m.obs["state"] for m in run_steps(Reach(horizon=2), still, steps=4, seed=0) if m.step == 0]
    again = [m.obs["state"] for m in run_steps(Reach(horizon=2), still, steps=4, seed=0) if m.step == 0]
    np.testing.assert_array_equal(starts, again)
    assert not np.array_equal(starts[0], starts[1])


def test_who_acts_may_end_many_episodes():
    assert [m.step for m in run_steps(Reach(), lambda now: None, steps=5, seed=0)] == [0]
