"""What holds for every algorithm that learns beside a supervisor."""

from collections.abc import Callable

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

from rl.algorithm import GuidedAlgorithm
from tests.rl.counting import ALGORITHMS, make_model

each_algorithm = pytest.mark.parametrize("kind", ALGORITHMS)


# --- episodes -----------------------------------------------------------------------------------------------


def learn_again(model: GuidedAlgorithm) -> None:
    model.learn(105)
    model.learn(105, reset_num_timesteps=False)


def learn_from_the_start(model: GuidedAlgorithm) -> None:
    model.learn(33)
    model.learn(33)


def learn_after_a_callback_ended_it(model: GuidedAlgorithm) -> None:
    class StopAt(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps != 27

    model.learn(100, callback=StopAt())
    model.learn(30, reset_num_timesteps=False)


def learn_after_ctrl_c(model: GuidedAlgorithm) -> None:
    class Interrupt(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 34:
                raise KeyboardInterrupt
            return True

    with pytest.raises(KeyboardInterrupt):
        model.learn(100, callback=Interrupt())
    model.learn(30, reset_num_timesteps=False)


def reset_in_the_middle(model: GuidedAlgorithm) -> None:
    class Reset(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 15:
                self.model.loop.reset()
            return True

    model.learn(50, callback=Reset())


@each_algorithm
@pytest.mark.parametrize(
    "way",
    [
        learn_again,
        learn_from_the_start,
        learn_after_a_callback_ended_it,
        learn_after_ctrl_c,
        reset_in_the_middle,
    ],
)
def test_no_stored_transition_crosses_from_one_episode_into_the_next(
    kind: type[GuidedAlgorithm], way: Callable[[GuidedAlgorithm], None]
):
    model = make_model(kind)
    way(model)
    store, slots = model.store, model.online.slots
    before = store.states(slots)
    for n in (1, 3):
        after = store.states(store.n_step(slots, n=n, gamma=0.9).last)
        np.testing.assert_array_equal(after[:, 0], before[:, 0])
        assert set(after[:, 1] - before[:, 1]) <= set(range(1, n + 1))
    assert (before[:, 1] == 0).sum() == len(np.unique(before[:, 0]))  # each first observation is stored, once
