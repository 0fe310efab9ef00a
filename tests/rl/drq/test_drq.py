import dataclasses
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from rl.drq import DrQ, DrQConfig
from rl.drq.policies import squashed_sample
from rl.errors import ConfigError, NotFinite
from rl.pixels.batch import Batch, make_batch
from tests.rl.drq.reach import Reach, ReachInMetres, record

SMALL = DrQConfig(batch_size=16, learning_starts=10, hidden_size=32, channels=8, feature_size=8, buffer_capacity=1_000)


def make_model(
    seed: int = 0, config: DrQConfig = SMALL, demos: int = 3, env: Reach | None = None, **options: object
) -> DrQ:
    model = DrQ("MultiInputPolicy", env or Reach(**options), config=config, seed=seed, device="cpu")
    model.add_demonstrations(record(demos, env=env))
    return model


def parameters(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def with_constant_critics(model: DrQ, values: list[float]) -> None:
    """Let target critic i answer values[i] everywhere."""
    last = model.policy.critic_target.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(values)[:, None, None])


def test_target_by_hand():
    model = make_model(demos=0)
    model.store.start_episode(Reach().reset(seed=0)[0])
    ends = [(False, False)] * 3 + [(True, False)]
    rewards = [0.0, 0.25, 0.0, 0.5]
    slots = [
        model.store.append(np.zeros(2), reward, Reach().reset(seed=1)[0], terminated=end[0], truncated=end[1])
        for reward, end in zip(rewards, ends, strict=True)
    ]
    with_constant_critics(model, [0.8, 0.4])
    batch = make_batch(model.store, np.array(slots), model.policy, model.config, np.random.default_rng(0))
    g = 0.92
    expected = [0.25 * g + g**3 * 0.4, 0.25 + 0.5 * g**2, 0.5 * g, 0.5]
    np.testing.assert_allclose(model.target(batch, model.next_features(batch)).numpy(), expected, atol=1e-5)


def test_truncated_end_is_bootstrapped_and_targets_are_clamped():
    model = make_model(demos=0)
    model.store.start_episode(Reach().reset(seed=0)[0])
    slot = model.store.append(np.zeros(2), 0.5, Reach().reset(seed=1)[0], terminated=False, truncated=True)
    batch = make_batch(model.store, np.array([slot]), model.policy, model.config, np.random.default_rng(0))
    with_constant_critics(model, [0.3, 0.4])
    np.testing.assert_allclose(model.target(batch, model.next_features(batch)).numpy(), [0.5 + 0.92 * 0.3], atol=1e-5)
    with_constant_critics(model, [0.8, 0.9])
    np.testing.assert_allclose(model.target(batch, model.next_features(batch)).numpy(), [1.0], atol=1e-7)


def test_target_takes_distinct_members_of_the_ensemble():
    model = make_model(config=DrQConfig(critics=3, critic_subset=2, hidden_size=16, clip_target=None, n_step=1))
    with_constant_critics(model, [3.0, 2.0, 1.0])
    batch = model.sample(8)
    plain = (model.target(batch, model.next_features(batch)) - batch.rewards)[batch.discounts > 0] / 0.92
    seen = {round(float(model.target(batch, model.next_features(batch))[0] / batch.discounts[0]), 3) for _ in range(40)}
    assert plain.min() >= 1.0 - 1e-5
    assert seen == {1.0, 2.0}  # with replacement, 3 would come too


def test_critic_update_leaves_actor_and_temperature_alone_even_with_momentum():
    model = make_model(config=DrQConfig(**{**vars(SMALL), "actor_every": 2}))
    model.train(2)  # gives the actor's Adam momentum
    actor, alpha = parameters(model.policy.actor), model.log_ent_coef.detach().clone()
    critic, encoder = parameters(model.policy.critic), parameters(model.policy.encoder)
    model.train(1)
    assert torch.equal(parameters(model.policy.actor), actor)
    assert torch.equal(model.log_ent_coef, alpha)
    assert not torch.equal(parameters(model.policy.critic), critic)
    assert not torch.equal(parameters(model.policy.encoder), encoder)
    model.train(1)
    assert not torch.equal(parameters(model.policy.actor), actor)


def test_actor_update_leaves_critics_and_encoder_alone():
    model = make_model()
    batch = model.sample(16)
    critic, encoder = parameters(model.policy.critic), parameters(model.policy.encoder)
    features = model.policy.encode(batch.patches).detach()
    model.update_actor(features, batch, {})
    assert torch.equal(parameters(model.policy.critic), critic)
    assert torch.equal(parameters(model.policy.encoder), encoder)
    assert all(p.grad is None for p in model.policy.critic.parameters())


def test_cloning_pulls_the_mean_action_to_the_demonstrations_only():
    model = make_model(demos=5, config=DrQConfig(**{**vars(SMALL), "bc_weight": 1_000.0}))
    batch = model.sample(16)
    features = model.policy.encode(batch.patches).detach()
    for _ in range(300):
        model.update_actor(features, batch, {})
    mean = torch.tanh(model.policy.actor(features, batch.states)[0])
    assert batch.from_demo == 16
    assert (mean - batch.actions).abs().mean() < 0.1


def test_log_probability_is_that_of_the_squashed_gaussian():
    mean, log_std, noise = torch.tensor([[0.3, -0.2]]), torch.tensor([[-0.5, 0.1]]), torch.tensor([[0.7, -1.1]])
    action, log_prob = squashed_sample(mean, log_std, noise)
    normal = torch.distributions.Normal(mean, log_std.exp())
    expected = (normal.log_prob(torch.atanh(action)) - torch.log(1 - action.square())).sum(1)
    torch.testing.assert_close(log_prob, expected, atol=1e-5, rtol=1e-5)


def test_target_critic_follows_by_tau():
    model = make_model()
    before = parameters(model.policy.critic_target)
    model.update_critic(model.sample(16), {})
    critic = parameters(model.policy.critic)
    model.update_target()
    np.testing.assert_allclose(
        parameters(model.policy.critic_target).numpy(), (0.99 * before + 0.01 * critic).numpy(), atol=1e-7
    )


def test_temperature_falls_while_entropy_is_above_target():
    model = make_model()
    model.train(1)
    assert model.train_metrics["entropy"] > model.target_entropy
    assert float(model.log_ent_coef.detach().exp()) < 0.01


def test_half_of_a_batch_is_demonstrations():
    model = make_model(demos=30)
    model.learn(8)
    slots, from_demo = model.replay_buffer.draw(16, model.sampling_rng)
    assert from_demo == 8
    assert np.isin(slots[:8], model.demo.slots).all()
    assert np.isin(slots[8:], model.online.slots).all()


def test_executed_action_is_stored():
    model = make_model(demos=0, executed_scale=0.5)
    sent: list[np.ndarray] = []

    class Listen(BaseCallback):
        def _on_step(self) -> bool:
            sent.append(self.locals["step"].transition.action)
            return True

    model.learn(5, callback=Listen())
    stored = model.store.actions(model.online.slots)
    np.testing.assert_allclose(stored, np.stack(sent), atol=0)
    assert np.abs(stored).max() <= 0.5


def test_time_limit_is_stored_as_truncation_with_its_own_last_frame():
    model = make_model(demos=0, horizon=3)
    model.learn(12)
    store = model.store
    slots = model.online.slots
    ends = slots[[i for i, s in enumerate(store.locate(slots)[1]) if s == 2]]
    returns = store.n_step(ends, n=1, gamma=0.5)
    timed_out = returns.rewards == 0.0
    assert timed_out.any()
    np.testing.assert_allclose(returns.discounts[timed_out], 0.5, atol=0)
    moved = np.abs(store.states(returns.last) - store.states(ends)).max(1)
    assert (moved <= 0.3 + 1e-6).all()  # one step away: not the first observation after the reset


def test_same_seed_gives_the_same_parameters_after_20_updates():
    first, second, other = (make_model(seed=seed).learn(50) for seed in (0, 0, 1))
    assert first.n_updates == 20
    assert torch.equal(parameters(first.policy), parameters(second.policy))
    assert not torch.equal(parameters(first.policy), parameters(other.policy))


def test_lockstep_ratio_is_half_an_update_per_step():
    assert make_model().learn(60).n_updates == (60 - 10) // 2


def test_save_and_load_predict_bit_equal(tmp_path: Path):
    model = make_model().learn(40)
    model.save(tmp_path / "policy.zip")
    loaded = DrQ.load(tmp_path / "policy.zip", device="cpu")
    observation, _ = Reach().reset(seed=3)
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True)[0], loaded.predict(observation, deterministic=True)[0]
    )
    assert loaded.config == model.config
    assert loaded.num_timesteps == 40
    assert torch.equal(loaded.log_ent_coef, model.log_ent_coef)


def test_loaded_algorithm_goes_on_learning(tmp_path: Path):
    make_model().learn(40).save(tmp_path / "policy.zip")
    loaded = DrQ.load(tmp_path / "policy.zip", env=Reach(), device="cpu")
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.num_timesteps == 60


def test_settings_that_a_file_is_loaded_with_take_the_place_of_the_saved_ones(tmp_path: Path):
    make_model().learn(20).save(tmp_path / "policy.zip")
    saved = DrQ.load(tmp_path / "policy.zip", device="cpu").config
    told = dataclasses.replace(
        saved, gradient_steps=3, batch_size=4, train_freq=1, learning_rate=0.1, gamma=0.5, tau=0.5
    )
    loaded = DrQ.load(tmp_path / "policy.zip", device="cpu", config=told)
    assert loaded.config == told
    assert (loaded.gradient_steps, loaded.batch_size, loaded.train_freq.frequency) == (3, 4, 1)
    assert (loaded.gamma, loaded.tau, loaded.updates_per_step) == (0.5, 0.5, 3.0)
    assert {group["lr"] for group in loaded.critic_optimizer.param_groups} == {0.1}


def test_predict_takes_one_observation_or_a_batch():
    model = make_model()
    observation, _ = Reach().reset(seed=3)
    batch = {key: np.stack([value, value]) for key, value in observation.items()}
    single, _ = model.predict(observation, deterministic=True)
    double, _ = model.predict(batch, deterministic=True)
    assert single.shape == (2,)
    np.testing.assert_allclose(double, np.stack([single, single]), atol=1e-6)
    stochastic = [model.predict(observation)[0] for _ in range(2)]
    assert not np.array_equal(*stochastic)


def test_act_agrees_with_predict():
    model = make_model()
    observation, _ = Reach().reset(seed=3)
    np.testing.assert_allclose(
        model.act(observation, deterministic=True), model.predict(observation, deterministic=True)[0], atol=1e-6
    )


def test_stable_baselines_tools_work(tmp_path: Path):
    model = make_model()
    callback = EvalCallback(
        Monitor(Reach()), eval_freq=20, n_eval_episodes=2, best_model_save_path=str(tmp_path), verbose=0
    )
    model.learn(40, callback=callback)
    assert (tmp_path / "best_model.zip").is_file()
    mean, _ = evaluate_policy(model, Monitor(Reach()), n_eval_episodes=2)
    assert 0.0 <= mean <= 1.0


def test_log_keys():
    model = make_model(horizon=4)
    seen: dict[str, float] = {}

    class Listen(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            seen.update(self.logger.name_to_value)

    model.dump_logs = lambda: DrQ.dump_logs(model)  # type: ignore[method-assign]
    model.learn(60, callback=Listen(), log_interval=1)
    model.logger.dump = lambda step=0: seen.update(model.logger.name_to_value)  # type: ignore[method-assign]
    model.dump_logs()
    assert {
        "train/critic_loss",
        "train/actor_loss",
        "train/ent_coef",
        "train/q_mean",
        "train/n_updates",
        "rollout/success_rate",
        "rollout/ep_len_mean",
        "time/fps",
    } <= seen.keys()


def test_hil_serl_preset_is_literal():
    config = DrQConfig.preset("hil-serl")
    assert (config.batch_size, config.demo_fraction, config.gamma, config.tau) == (256, 0.5, 0.97, 0.005)
    assert (config.learning_rate, config.critics, config.critic_subset, config.n_step) == (3e-4, 2, None, 1)
    assert (config.initial_temperature, config.target_entropy_per_action) == (0.01, -0.5)
    assert (config.actor_every, config.learning_starts, config.clip_target) == (2, 100, None)
    assert (config.actor_q, config.bc_weight) == ("mean", 0.0)


def test_preset_with_a_change_and_an_unknown_one():
    assert DrQConfig.preset("tuned", gamma=0.9).gamma == 0.9
    with pytest.raises(ConfigError, match="no preset 'best'"):
        DrQConfig.preset("best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no setting gama"):
        DrQConfig.preset("tuned", gama=0.9)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": 1.5},
        {"batch_size": 0},
        {"critic_subset": 3},
        {"learning_rate": -1.0},
        {"learning_rate": NAN},
        {"learning_rate": INF},
        {"reward_scale": NAN},
        {"bc_weight": INF},
        {"clip_target": (1.0, 0.0)},
        {"clip_target": (0.0, NAN)},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float]):
    with pytest.raises(ConfigError, match="ask for|give a finite number"):
        DrQConfig(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["online", "both", "success"])
def test_guided_steps_go_where_asked(mode: str):
    model = make_model(demos=0)
    model.replay_buffer.store_guided = mode  # type: ignore[assignment]
    model.learn(1)
    step = model.loop.step()
    start = len(model.online)
    for guided, success in ((False, None), (True, None), (False, True)):
        transition = type(step.transition)(**{**vars(step.transition), "guided": guided, "terminated": bool(success)})
        taken = type(step)(transition=transition, info={}, outcome=outcome(success), meant=transition.action)
        model.remember(taken)
    assert len(model.demo) == {"online": 0, "both": 1, "success": 2}[mode]
    assert len(model.online) == start + 3


def outcome(success: bool | None) -> object:
    from rl.types import EpisodeOutcome

    if success is None:
        return None
    return EpisodeOutcome(
        episode=0,
        success=success,
        terminated=True,
        truncated=False,
        steps=3,
        guided_steps=1,
        pruned_steps=0,
        final_robot=None,  # type: ignore[arg-type]
    )


def test_learns_to_reach():
    torch.set_num_threads(1)
    model = make_model(
        config=DrQConfig(
            batch_size=64,
            learning_starts=100,
            hidden_size=64,
            channels=16,
            feature_size=32,
            average_rate=0.02,
            bc_weight=0.0,  # the recorded reaches dawdle: cloning them holds this task back
            shift_pad=1,  # of 16 pixels: more hides where the goal is
        ),
        demos=10,
    )
    model.learn(1_500)
    mean, _ = evaluate_policy(model, Monitor(Reach()), n_eval_episodes=30)
    assert mean >= 0.5  # 0 untrained; 0.77 and 0.83 measured with two seeds


def test_cloning_pulls_the_mean_action_to_the_demonstrations_and_only_to_them():
    model = make_model(config=dataclasses.replace(SMALL, bc_weight=1e3))
    batch = dataclasses.replace(model.sample(16), from_demo=8)
    features = model.policy.encode(batch.patches)

    def distances() -> tuple[float, float]:
        with torch.no_grad():
            mean, _ = model.policy.actor(features, batch.states)
        errors = (torch.tanh(mean) - batch.actions).square().mean(1)
        return float(errors[:8].mean()), float(errors[8:].mean())

    before = distances()
    for _ in range(20):
        model.update_actor(features.detach(), batch, {})
    after = distances()
    assert after[0] < 0.5 * before[0]
    assert after[0] < after[1]


def test_deterministic_actions_come_from_the_averaged_weights():
    model = make_model(config=dataclasses.replace(SMALL, average_rate=0.1))
    observation = Reach().reset(seed=0)[0]
    before, _ = model.predict(observation, deterministic=True)
    with torch.no_grad():
        model.policy.actor.mean.bias.add_(1.0)
    np.testing.assert_array_equal(model.predict(observation, deterministic=True)[0], before)
    for _ in range(100):
        model.policy.average()
    raw = model.policy.distribution(*tensors_of(model, observation), deterministic=False)[0]
    smooth = model.policy.distribution(*tensors_of(model, observation), deterministic=True)[0]
    np.testing.assert_allclose(smooth.detach(), raw.detach(), atol=1e-3)


def tensors_of(model: DrQ, observation: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    tensors, _ = model.policy.obs_to_tensor(observation)
    return tensors["patches"], tensors["state"]


# --- teacher and way to success ------------------------------------------------------------------------------


def actions_of(model: DrQ, batch: Batch) -> torch.Tensor:
    mean, _ = model.policy.actor(model.policy.encode(batch.patches), batch.states)
    return torch.tanh(mean).detach()


def test_imitation_loss_by_hand():
    model = make_model(config=dataclasses.replace(SMALL, bc_weight=2.0, teacher_weight=3.0))
    batch = model.sample(4)
    nothing = float("nan")
    labels = torch.tensor([[0.5, -0.5], [nothing, nothing], [0.1, 0.2], [nothing, nothing]])
    batch = dataclasses.replace(batch, labels=labels, from_demo=2)
    taken, features = actions_of(model, batch), model.policy.encode(batch.patches).detach()
    off = (taken[[0, 2]] - labels[[0, 2]]).abs()
    taught = torch.where(off < 0.1, off**2 / 0.2, off - 0.05).mean()
    cloned = ((taken[1] - batch.actions[1]) ** 2).mean()  # the first demonstration has a label, which goes before
    loss = model.imitation_loss(model.policy.actor(features, batch.states)[0], batch, {})
    torch.testing.assert_close(loss.detach(), 2.0 * cloned + 3.0 * taught)


def test_labels_alone_teach_the_policy_what_the_teacher_does():
    model = make_model(demos=3)
    for episode in model.store.episodes:
        slots = model.store.slots_of(episode)[:-1]
        model.store.teach(slots, np.tile([0.6, -0.3], (len(slots), 1)))
    model.learn(0)
    model.train(150)
    np.testing.assert_allclose(actions_of(model, model.sample(32)).mean(0), [0.6, -0.3], atol=0.12)


def pointing(env: Reach, **changes) -> DrQ:
    return make_model(demos=20, env=env, config=dataclasses.replace(SMALL, feature_size=32, shift_pad=0, **changes))


def test_pointer_learns_from_pictures_where_episodes_succeed():
    model = pointing(ReachInMetres())
    model.learn(0)
    model.train(20)
    before = model.train_metrics["goal_error_mm"]
    model.train(300)
    assert model.train_metrics["goal_error_mm"] < 0.5 * before


def test_pointer_learns_nothing_from_failures():
    model = pointing(ReachInMetres())
    batch = model.sample(8)
    failures = dataclasses.replace(batch, ways=torch.full_like(batch.ways, float("nan")))
    assert model.policy.pointer is not None
    before = parameters(model.policy.pointer)
    model.update_pointer(failures, {})
    torch.testing.assert_close(parameters(model.policy.pointer), before, rtol=0, atol=0)
    model.update_pointer(batch, {})
    assert not torch.equal(parameters(model.policy.pointer), before)


def test_pointers_error_is_told_in_millimetres():
    model = pointing(ReachInMetres())
    assert model.policy.pointer is not None
    last = model.policy.pointer.head[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.05, 0.0, 0.4, 0.1]))  # 5, 0 and 40 mm, 0.2 rad
    ways = torch.tensor([[0.002, 0.0, 0.0, 0.1], [float("nan")] * 4])
    metrics: dict[str, torch.Tensor] = {}
    model.update_pointer(dataclasses.replace(model.sample(2), ways=ways), metrics)
    torch.testing.assert_close(metrics["goal_error_mm"], torch.tensor((3.0 + 0.0 + 40.0) / 3))
    torch.testing.assert_close(metrics["goal_error_deg"], torch.rad2deg(torch.tensor(0.1)))


def test_critics_do_not_teach_the_pointer():
    model = pointing(ReachInMetres())
    batch = model.sample(8)
    assert model.policy.pointer is not None
    before = parameters(model.policy.pointer)
    features = model.update_critic(batch, {})
    model.update_actor(features, batch, {})
    torch.testing.assert_close(parameters(model.policy.pointer), before, rtol=0, atol=0)
    assert features.shape == (8, 32 + 12)


def test_update_comes_to_the_same_with_two_threads():
    one, two = (pointing(ReachInMetres()) for _ in range(2))
    two.update_threads = 2
    seen = []
    told, update = two.update_pointer, threading.current_thread()
    two.update_pointer = lambda *args: (seen.append(threading.current_thread()), told(*args))[1]  # type: ignore[method-assign]
    for model in (one, two):
        model.learn(0)
        model.train(5)
    assert len(seen) == 5 and update not in seen
    torch.testing.assert_close(parameters(two.policy), parameters(one.policy), rtol=0, atol=0)
    assert two.train_metrics == one.train_metrics


@pytest.mark.parametrize("threads", [1, 2])
def test_pointer_that_diverges_ends_the_update_that_it_was_in(threads):
    model = pointing(ReachInMetres())
    model.learn(0)
    model.update_threads = threads
    model.train(3)
    assert model.policy.pointer is not None
    with torch.no_grad():
        model.policy.pointer.head[-1].bias.fill_(float("inf"))
    with pytest.raises(NotFinite, match="pointer's loss is inf at update 4"):
        model.train(1)


def test_update_that_fails_leaves_no_pointer_learning_behind():
    model = pointing(ReachInMetres())
    model.learn(0)
    model.update_threads = 2
    ended, told = [], model.update_pointer

    def late(*args):
        time.sleep(0.2)
        told(*args)
        ended.append(True)

    def diverge(*args):
        raise NotFinite("critic")

    model.update_pointer, model.update_critic = late, diverge  # type: ignore[method-assign]
    with pytest.raises(NotFinite, match="critic"):
        model.train(1)
    assert len(ended) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_update_that_fails_says_why_whatever_the_pointer_meets(threads):
    model = pointing(ReachInMetres())
    model.learn(0)
    model.update_threads = threads

    def diverge(*args):
        raise NotFinite("critic")

    def trip(*args):
        raise NotFinite("pointer")

    model.update_pointer, model.update_critic = trip, diverge  # type: ignore[method-assign]
    with pytest.raises(NotFinite, match="critic"):
        model.train(1)


def test_environment_that_does_not_say_where_the_tcp_is_has_no_pointer():
    assert make_model().policy.pointer is None
