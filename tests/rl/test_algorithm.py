"""What holds for every algorithm that learns beside a supervisor."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from rl.algorithm import GuidedAlgorithm
from rl.checkpoint import MANIFEST, STATE, load_checkpoint, save_checkpoint
from rl.errors import ConfigError, NotFinite
from tests.rl.counting import ALGORITHMS, DEMONSTRATION, Counting, Helper, Watched, demonstration, make_model

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


@each_algorithm
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_that_no_generator_takes_is_refused(kind: type[GuidedAlgorithm], seed: int):
    with pytest.raises(ConfigError, match=f"seed is {seed}; ask for 0 to 4294967295"):
        kind("MultiInputPolicy", Counting(), seed=seed, device="cpu")


# --- a full memory ------------------------------------------------------------------------------------------


def helped(kind: type[GuidedAlgorithm], store_guided: str, *, every: int = 1) -> GuidedAlgorithm:
    """A model with two demonstrations of 7 observations, room for 46 more, and episodes of 4 steps that are helped."""
    env, supervisor = Watched(horizon=4), Helper(every)
    model = make_model(kind, env, buffer_capacity=60, supervisor=supervisor, store_guided=store_guided)
    model.add_demonstrations([demonstration(), demonstration()])
    return model


def episodes_of(model: GuidedAlgorithm, buffer: str) -> list[int]:
    """Episodes of the environment of which a buffer holds transitions, in order."""
    slots = getattr(model, buffer).slots
    return np.unique(model.store.states(slots)[:, 0]).astype(int).tolist()


@each_algorithm
@pytest.mark.parametrize("store_guided", ["success", "both"])
def test_guided_episodes_give_way_oldest_first_and_demonstrations_stay(kind: type[GuidedAlgorithm], store_guided: str):
    model = helped(kind, store_guided).learn(400)  # a hundred episodes of 5 observations, each of them guided
    newest = model.env.get_attr("episode")[0]
    assert episodes_of(model, "demo")[-1] == DEMONSTRATION
    assert (model.store.states(model.demo.slots)[:, 0] == DEMONSTRATION).sum() == 12
    assert episodes_of(model, "demo")[:-1] == list(range(newest - 9, newest))  # 46 observations: nine episodes
    assert episodes_of(model, "online") == list(range(newest - 9, newest))


@each_algorithm
def test_what_the_policy_did_itself_is_not_crowded_out_by_guided_episodes(kind: type[GuidedAlgorithm]):
    model = helped(kind, "success", every=2).learn(400)
    guided = set(episodes_of(model, "demo")) - {DEMONSTRATION}
    alone = set(episodes_of(model, "online")) - guided
    newest = model.env.get_attr("episode")[0]
    assert {number % 2 for number in guided} == {0} and {number % 2 for number in alone} == {1}
    assert min(len(guided), len(alone)) >= 4
    assert max(guided | alone) == newest - 1


# --- episodes that were rewarded ----------------------------------------------------------------------------


class Sparse(Counting):
    """Rewarded with 1 at the third step of every fourth episode."""

    def reward(self) -> float:
        return float(self.episode % 4 == 0 and self.t == 3)


@each_algorithm
@pytest.mark.parametrize(("least", "drawn"), [(None, []), (0.5, [4, 8]), (1.0, [4, 8]), (1.1, []), (0.0, range(1, 9))])
def test_whole_episodes_are_drawn_from_as_demonstrations_whose_reward_was_high_enough(
    kind: type[GuidedAlgorithm], least: float | None, drawn: Sequence[int]
):
    model = make_model(kind, Sparse(horizon=5), demo_reward=least).learn(44)  # the ninth episode is not over
    assert episodes_of(model, "demo") == list(drawn)
    assert len(model.demo) == 5 * len(drawn) and len(model.online) == 44


@each_algorithm
def test_rewarded_episodes_of_several_environments_are_kept_apart(kind: type[GuidedAlgorithm]):
    model = make_model(kind, DummyVecEnv([lambda: Sparse(horizon=5), lambda: Counting(horizon=5)]), demo_reward=0.5)
    model.learn(40)
    assert episodes_of(model, "demo") == [4]
    assert len(model.demo) == 5  # of the first one alone


@each_algorithm
@pytest.mark.parametrize(("rewards", "kept"), [((0, 1, 0), 3), ((0, 0, 0), 0)])
def test_rewarded_episode_that_somebody_else_collected_is_kept_too(
    kind: type[GuidedAlgorithm], rewards: Sequence[float], kept: int
):
    model = make_model(kind, Sparse(), demo_reward=0.5)
    model.take_episode(demonstration(3, reward=np.array(rewards, np.float32)), success=False, helped=False)
    assert (len(model.demo), len(model.online)) == (kept, 3)


@each_algorithm
def test_demonstrations_that_do_not_fit_the_memory_are_refused_before_one_is_stored(kind: type[GuidedAlgorithm]):
    model = make_model(kind, buffer_capacity=20)
    model.add_demonstrations([demonstration()])
    with pytest.raises(ConfigError, match="2 demonstrations have 14 observations, more than the 13 .*buffer_capacity"):
        model.add_demonstrations([demonstration(), demonstration()])
    assert (len(model.demo), model.store.observations) == (6, 7)


@each_algorithm
@pytest.mark.parametrize("older", [False, True])
def test_resumed_run_knows_which_demonstrations_were_given(kind: type[GuidedAlgorithm], older: bool, tmp_path: Path):
    model = helped(kind, "success").learn(200)
    save_checkpoint(tmp_path / "last", model, {})
    if older:
        forget_who_gave(tmp_path / "last")
    resumed = helped(kind, "success")
    load_checkpoint(tmp_path / "last", resumed)
    assert resumed.store.kept == model.store.kept == (0, 1)
    resumed.learn(200, reset_num_timesteps=False)
    assert (resumed.store.states(resumed.demo.slots)[:, 0] == DEMONSTRATION).sum() == 12


def forget_who_gave(checkpoint: Path) -> None:
    """Make a checkpoint one of the time when it did not say which episodes were given."""
    state = torch.load(checkpoint / STATE, weights_only=False)
    del state["given"]
    torch.save(state, checkpoint / STATE)
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    manifest["files"][STATE] = (checkpoint / STATE).stat().st_size
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))


# --- values that are no numbers -----------------------------------------------------------------------------


class Faulty(Counting):
    """Counting that gives a wrong value once: at a step of the episode number 2."""

    def __init__(self, what: str, value: float, at: int = 3) -> None:
        super().__init__(horizon=6)
        self.what, self.value, self.at = what, value, at

    @property
    def is_wrong(self) -> bool:
        return (self.episode, self.t) == (3, self.at)  # `learn` resets twice before its first episode, number 0

    def observe(self) -> dict[str, np.ndarray]:
        observation = super().observe()
        if self.what == "state" and self.is_wrong:
            observation["state"][1] = self.value
        return observation

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.is_wrong and self.what == "reward":
            reward = self.value
        if self.is_wrong and self.what == "executed_action":
            info["executed_action"] = np.array([0.0, self.value])
        return observation, reward, terminated, truncated, info


@each_algorithm
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("what", "at", "message"),
    [
        ("state", 3, r"The environment gave state\[1\] = (nan|inf) at step 2 of episode 2"),
        ("state", 6, r"The environment gave state\[1\] = (nan|inf) at step 5 of episode 2"),  # the last one
        ("state", 0, r"The environment gave state\[1\] = (nan|inf) at the start of episode 2"),
        ("reward", 3, r"The environment gave reward = (nan|inf) at step 2 of episode 2"),
        ("executed_action", 3, r"The environment gave executed_action\[1\] = (nan|inf) at step 2 of episode 2"),
    ],
)
def test_value_of_an_environment_that_is_no_number_is_refused_before_it_is_stored(
    kind: type[GuidedAlgorithm], what: str, at: int, value: float, message: str
):
    model = make_model(kind, Faulty(what, value, at))
    with pytest.raises(NotFinite, match=message):
        model.learn(100)
    store, slots = model.store, model.online.slots
    last = store.n_step(slots, n=1, gamma=0.9).last
    for stored in (store.states(slots), store.states(last), store.rewards(slots), store.actions(slots)):
        assert np.isfinite(stored).all()
    model.check_weights()


@each_algorithm
def test_demonstrations_are_all_checked_before_one_is_stored(kind: type[GuidedAlgorithm]):
    model = make_model(kind)
    wrong = demonstration(reward=np.full(6, np.nan, np.float32))
    with pytest.raises(ConfigError, match=r"reward\[0\] of demonstration 1 is nan"):
        model.add_demonstrations([demonstration(), wrong])
    assert (len(model.demo), model.store.observations) == (0, 0)


@each_algorithm
def test_loss_that_is_no_number_ends_training_before_the_weights_follow(kind: type[GuidedAlgorithm]):
    model = make_model(kind, clip_target=None)
    model.add_demonstrations([demonstration(reward=np.full(6, 1e38, np.float32))])  # its square is infinite
    with pytest.raises(NotFinite, match=r"loss is (nan|inf) at update \d+"):
        model.learn(100)
    model.check_weights()


@each_algorithm
def test_policy_that_gives_no_number_is_not_obeyed(kind: type[GuidedAlgorithm]):
    env = Counting()
    model = make_model(kind, env)
    spoil(model)
    with pytest.raises(NotFinite, match=r"The policy gave action\[0\] = nan at step 0 of episode 0"):
        model.learn(5)
    assert env.t == 0


def spoil(model: GuidedAlgorithm) -> None:
    """Let one weight of the actor be no number."""
    with torch.no_grad():
        next(model.policy.actor.parameters()).view(-1)[0] = np.nan


@each_algorithm
def test_training_does_not_end_well_with_weights_that_are_no_numbers(kind: type[GuidedAlgorithm]):
    model = make_model(kind)

    class SpoilAtTheEnd(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            spoil(model)

    with pytest.raises(NotFinite, match="weights actor.* are not finite after 0 updates"):
        model.learn(1, callback=SpoilAtTheEnd())


@each_algorithm
def test_checkpoint_with_weights_that_are_no_numbers_does_not_replace_a_good_one(
    kind: type[GuidedAlgorithm], tmp_path: Path
):
    model = make_model(kind)
    save_checkpoint(tmp_path / "last", model, {"try": 1})
    spoil(model)
    with pytest.raises(NotFinite, match="not finite"):
        save_checkpoint(tmp_path / "last", model, {"try": 2})
    assert load_checkpoint(tmp_path / "last", make_model(kind)) == {"try": 1}
