import copy
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from rl.checkpoint import load_checkpoint, save_checkpoint
from rl.drq import DrQ, DrQConfig
from rl.errors import AgpsError
from rl.learner import CAUGHT_UP_STEPS, LockstepLearner, OverlappedLearner, ThreadedLearner
from tests.clocks import until
from tests.rl.drq.reach import Reach, record

SMALL = DrQConfig(batch_size=16, learning_starts=10, hidden_size=32, channels=8, feature_size=8, buffer_capacity=1_000)


def make_model() -> DrQ:
    model = DrQ("MultiInputPolicy", Reach(), config=SMALL, seed=0, device="cpu")
    model.add_demonstrations(record(3))
    return model


class Pace(BaseCallback):
    """Gives the learner thread time, as a robot does: at one step, until something has come true."""

    def __init__(self, at: int, condition: Callable[[], bool]) -> None:
        super().__init__()
        self._at, self._condition = at, condition

    def _on_step(self) -> bool:
        time.sleep(0.01)
        if self.num_timesteps == self._at:
            until(self._condition)
        return True


def test_lockstep_waits_for_learning_starts():
    model = make_model()
    learner = LockstepLearner(model)
    model.num_timesteps = 10
    learner.advance()
    assert model.n_updates == 0
    model.num_timesteps = 11
    learner.advance()
    assert model.n_updates == 1


def test_call_that_is_broken_off_is_still_due():
    class Trips(LockstepLearner):
        calls = 0

        def advance(self) -> None:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt

    model = make_model()
    learner = Trips(model)
    every = model.train_freq.frequency
    model.steps_due = 3 * every
    with pytest.raises(KeyboardInterrupt):
        model.call(learner)
    assert (model.steps_due, learner.calls) == (2 * every, 2)
    model.call(learner)
    assert (model.steps_due, learner.calls) == (0, 4)


def test_threaded_learner_updates_beside_the_loop_within_its_ratio():
    model = make_model()
    model.learner = ThreadedLearner(model, publish_every=2)
    model.learn(50, callback=Pace(45, lambda: model.n_updates > 0))
    assert 0 < model.n_updates <= 0.5 * (50 - 10)
    assert not any(thread.name == "learner" for thread in threading.enumerate())


def test_unbounded_thread_exceeds_the_lockstep_ratio():
    model = make_model()
    model.learner = ThreadedLearner(model, max_updates_per_step=math.inf)
    model.learn(25, callback=Pace(25, lambda: model.n_updates > 0.5 * (25 - 10)))
    assert model.n_updates > 0.5 * (25 - 10)


def test_loop_acts_with_published_weights_until_new_ones_come():
    model = make_model()
    model.learner = ThreadedLearner(model, publish_every=10_000)
    model.learner.start()
    observation, _ = Reach().reset(seed=0)
    before = model.act(observation, deterministic=True)
    with torch.no_grad():
        model.policy.smooth_actor.mean.bias.add_(1.0)
    np.testing.assert_array_equal(model.act(observation, deterministic=True), before)
    model.learner.stop()
    assert not np.array_equal(model.act(observation, deterministic=True), before)


def test_error_in_the_thread_reaches_the_loop():
    model = make_model()

    failed = threading.Event()

    def fail(gradient_steps: int, batch_size: int | None = None) -> None:
        failed.set()
        raise RuntimeError("the update failed")

    model.train = fail  # type: ignore[method-assign]
    model.learner = ThreadedLearner(model)
    with pytest.raises(RuntimeError, match="the update failed"):
        model.learn(200, callback=Pace(45, failed.is_set))
    assert not any(thread.name == "learner" for thread in threading.enumerate())


def test_error_in_the_loop_stops_the_thread():
    class Fail(BaseCallback):
        def _on_step(self) -> bool:
            raise ValueError("the robot failed")

    model = make_model()
    model.learner = ThreadedLearner(model)
    with pytest.raises(ValueError, match="the robot failed"):
        model.learn(10, callback=Fail())
    assert model.published is None
    assert not any(thread.name == "learner" for thread in threading.enumerate())


def test_robot_waits_until_the_updates_of_all_but_ten_steps_are_made():
    model, release = make_model(), threading.Event()
    made: list[int] = []

    def train(gradient_steps: int, batch_size: int | None = None) -> None:
        release.wait(60)
        made.append(gradient_steps)

    model.train = train  # type: ignore[method-assign]
    learner = ThreadedLearner(model, max_updates_per_step=2.0)
    assert not learner.is_behind  # nobody owes what nobody makes
    learner.start()
    try:
        model.num_timesteps = 60
        assert learner.is_behind
        release.set()
        learner.catch_up()
        assert not learner.is_behind
        assert len(made) >= 2 * 60 - 2 * CAUGHT_UP_STEPS
    finally:
        release.set()
        learner.stop()


def test_updates_that_are_owed_when_a_run_is_saved_are_made_by_the_resumed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model, resumed, release = make_model(), make_model(), threading.Event()
    made: list[int] = []
    learner, later = (ThreadedLearner(each, max_updates_per_step=2.0) for each in (model, resumed))
    monkeypatch.setattr(DrQ, "train", lambda *_: release.wait(60))
    model.learner = learner
    learner.start()
    model.num_timesteps = 60  # after the newest `advance`: a run is saved within a step
    save_checkpoint(tmp_path / "last", model, {})
    release.set()
    learner.stop()
    monkeypatch.setattr(DrQ, "train", lambda _, steps, *__: made.append(steps))
    load_checkpoint(tmp_path / "last", resumed)
    later.start()
    assert later.is_behind
    until(lambda: later.owed == 0.0)
    later.advance()
    later.stop()
    assert len(made) == 2 * 60 and resumed.updates_owed == 0.0


def test_thread_without_a_ratio_owes_nothing():
    model = make_model()
    model.train = lambda *_: None  # type: ignore[method-assign,assignment]
    learner = ThreadedLearner(model, max_updates_per_step=math.inf)
    learner.start()
    model.num_timesteps = 60
    learner.advance()
    learner.stop()
    assert model.updates_owed == 0.0


def test_robot_waits_no_longer_than_it_may():
    model, asked = make_model(), []
    model.train = lambda *_: time.sleep(0.001)  # type: ignore[method-assign,assignment]
    learner = ThreadedLearner(model, max_updates_per_step=1e6)
    learner.start()
    model.num_timesteps = 60
    learner.catch_up(until=lambda: bool(asked) or asked.append(True) is not None)
    assert asked == [True] and learner.is_behind
    learner.stop()


def test_weights_that_acted_are_saved_in_place_of_newer_ones():
    model = make_model()
    acted = copy.deepcopy(model.policy)
    newer = {name: value + 1.0 for name, value in model.policy.state_dict().items()}
    model.policy.load_state_dict(newer)
    with model.acting_by(acted):
        saved = copy.deepcopy(model.policy.state_dict())
    assert all(torch.equal(value, acted.state_dict()[name]) for name, value in saved.items())
    assert all(torch.equal(value, newer[name]) for name, value in model.policy.state_dict().items())
    with model.acting_by(None):
        assert all(torch.equal(value, newer[name]) for name, value in model.policy.state_dict().items())


def test_robot_that_waits_hears_of_an_update_that_failed():
    model = make_model()

    def fail(gradient_steps: int, batch_size: int | None = None) -> None:
        raise RuntimeError("the update failed")

    model.train = fail  # type: ignore[method-assign]
    learner = ThreadedLearner(model, max_updates_per_step=1.0)
    learner.start()
    model.num_timesteps = 60
    with pytest.raises(RuntimeError, match="the update failed"):
        learner.catch_up()
    learner.stop()


def test_silent_learner_is_noticed():
    model = make_model()
    hanging, release = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        hanging.set()
        release.wait(300)

    model.train = hang  # type: ignore[method-assign]
    model.learner = ThreadedLearner(model, max_updates_per_step=1.0, stall_timeout_s=0.3)
    try:
        with pytest.raises(AgpsError, match="no sign"):
            model.learner.start()
            model.num_timesteps = 20
            assert hanging.wait(60)
            until(lambda: model.learner.idle_s > 0.3)
            model.learner.advance()
    finally:
        release.set()
        model.learner.stop()


def test_heartbeat_counts_from_the_last_update():
    model = make_model()
    learner = LockstepLearner(model)
    time.sleep(0.05)
    assert learner.idle_s >= 0.05
    model.num_timesteps = 11
    began_s = time.monotonic()
    learner.advance()
    assert learner.idle_s <= time.monotonic() - began_s


def test_published_copy_is_not_the_policy():
    model = make_model()
    model.published = copy.deepcopy(model.policy)
    assert model.acting_policy is model.published
    model.published = None
    assert model.acting_policy is model.policy


# --- beside the next step -----------------------------------------------------------------------------------


def weights(model: DrQ) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.policy.parameters()])


def overlapped(steps: int, callback: BaseCallback | None = None) -> DrQ:
    model = make_model()
    model.learner = OverlappedLearner(model)
    model.learn(steps, callback=callback)
    return model


class Sleepy(BaseCallback):
    """Takes its time after every third step, as a busy machine does."""

    def _on_step(self) -> bool:
        time.sleep(0.02 * (self.num_timesteps % 3 == 0))
        return True


def test_seed_fixes_a_run_with_overlapped_updates_whatever_the_machine():
    first, second = overlapped(40), overlapped(40, Sleepy())
    assert first.n_updates == second.n_updates == 15
    torch.testing.assert_close(weights(first), weights(second), rtol=0, atol=0)


def test_overlapped_updates_are_as_many_as_in_lockstep():
    model = make_model()
    model.learn(40)
    assert overlapped(40).n_updates == model.n_updates


def test_loop_acts_with_the_weights_before_the_updates_under_way():
    model = make_model()
    learner = OverlappedLearner(model)
    learner.start()
    model.num_timesteps = 50
    before = weights(model)
    learner.advance()
    acting = torch.cat([p.detach().flatten() for p in model.acting_policy.parameters()])
    torch.testing.assert_close(acting, before, rtol=0, atol=0)
    learner.settle()
    acting = torch.cat([p.detach().flatten() for p in model.acting_policy.parameters()])
    torch.testing.assert_close(acting, weights(model), rtol=0, atol=0)
    assert not torch.equal(acting, before)
    learner.stop()
    assert model.acting_policy is model.policy


def test_error_of_an_overlapped_update_ends_the_run_and_its_thread():
    model = make_model()

    def fails(gradient_steps: int, batch_size: int | None = None) -> None:
        raise AgpsError("no memory")

    model.train = fails  # type: ignore[method-assign]
    model.learner = OverlappedLearner(model)
    with pytest.raises(AgpsError, match="no memory"):
        model.learn(40)
    assert not any(thread.name.startswith("learner") for thread in threading.enumerate())
