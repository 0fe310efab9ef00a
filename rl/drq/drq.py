"""DrQ with demonstrations as a Stable-Baselines3 algorithm: SAC from shifted pixels, half of each batch from demos."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutReturn, TrainFreq
from stable_baselines3.common.utils import should_collect_more_steps
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_wrapper
from torch.nn import functional as F

from rl.buffers import STATE, Episode, FrameStore, IndexBuffer
from rl.drq.batch import Batch, make_batch, sample_slots
from rl.drq.config import DrQConfig, StoreGuided
from rl.drq.policies import DrQPolicy, choose_precision, squashed_sample
from rl.errors import ConfigError
from rl.guidance import GuidanceConfig
from rl.learner import Learner, LockstepLearner
from rl.loop import RolloutLoop, Step
from rl.supervisor import NullSupervisor, Supervisor


class DrQ(OffPolicyAlgorithm):
    """Data-regularised Q-learning (arXiv:2004.13649) on demonstrations and online data (RLPD, arXiv:2302.02948).

    Observations are a Dict of uint8 images (H, W, C) and `state`; actions are a Box [-1, 1]. Used like any
    Stable-Baselines3 algorithm::

        model = DrQ("MultiInputPolicy", env, config=DrQConfig.preset("tuned"), seed=0)
        model.add_demonstrations(episodes)
        model.learn(8_000)
        model.save("policy.zip")

    `loop` steps the environment and asks `supervisor`; `learner` says when updates happen; `store` holds every frame
    once, and `online` and `demo` are index sets over it.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MultiInputPolicy": DrQPolicy}
    policy: DrQPolicy

    def __init__(
        self,
        policy: str | type[DrQPolicy] = "MultiInputPolicy",
        env: GymEnv | str | None = None,
        *,
        config: DrQConfig | None = None,
        supervisor: Supervisor | None = None,
        guidance: GuidanceConfig | None = None,
        rate_hz: float | None = None,
        store_guided: StoreGuided = "success",
        seed: int | None = None,
        device: torch.device | str = "auto",
        stats_window_size: int = 20,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        _init_setup_model: bool = True,
    ) -> None:
        """Build networks and memory.

        Args:
            policy: `MultiInputPolicy` or a subclass of `DrQPolicy`.
            env: Environment to learn in; None for an algorithm that is only loaded to predict.
            config: Hyperparameters; None for the preset `tuned`.
            supervisor: Who watches rollouts; None for nobody.
            guidance: How interventions become actions.
            rate_hz: Control rate to keep; None for as fast as possible.
            store_guided: Where steps that followed the agent's waypoints go. `online`: as any other step (AGPS,
                Algorithm 1). `both`: into the demo buffer too (HIL-SERL). `success`: into the demo buffer too, from
                the first guided step on, if the episode succeeds; needed without demonstrations.
            seed: Fixes networks, exploration, sampling and environment.
            device: Where networks live; `auto` takes a GPU if there is one.
            stats_window_size: Episodes over which rollout/success_rate is averaged.
            tensorboard_log: Folder for TensorBoard files.
            verbose: 0 silent, 1 information, 2 debugging (Stable-Baselines3).
        """
        self.config = config or DrQConfig()
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]  # None is allowed by the base class, not by its annotation
            learning_rate=self.config.learning_rate,
            buffer_size=self.config.buffer_capacity,
            learning_starts=self.config.learning_starts,
            batch_size=self.config.batch_size,
            tau=self.config.tau,
            gamma=self.config.gamma,
            train_freq=self.config.train_freq,
            gradient_steps=self.config.gradient_steps,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            supported_action_spaces=(spaces.Box,),
        )
        self.supervisor: Supervisor = supervisor or NullSupervisor()
        self.guidance = guidance
        self.rate_hz = rate_hz
        self.store_guided = store_guided
        self.learner: Learner = LockstepLearner(self)
        self.published: DrQPolicy | None = None
        """Weights to act with while another thread changes `policy`; None when nobody does."""
        self.loop: RolloutLoop | None = None
        self.update_lock = threading.RLock()
        """Held while networks change."""
        self.train_metrics: dict[str, float] = {}
        """Newest losses and values of the learner; logged by the loop's thread, as the logger is not thread-safe."""
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        space, actions = self.observation_space, self.action_space
        if not isinstance(actions, spaces.Box) or not (np.all(actions.low == -1.0) and np.all(actions.high == 1.0)):
            raise ConfigError(f"Actions must be a Box in [-1, 1], not {actions}; wrap it in RescaleAction.")
        if self.env is not None and unwrap_vec_wrapper(self.env, VecNormalize) is not None:
            raise ConfigError("DrQ stores raw observations; remove the VecNormalize wrapper.")
        self._setup_lr_schedule()
        self._convert_train_freq()
        self.set_random_seed(self.seed)
        config = self.config
        self.policy_kwargs = {"config": config}
        policy = self.policy_class(space, actions, self.lr_schedule, **self.policy_kwargs)
        assert isinstance(policy, DrQPolicy)
        self.policy = policy.to(self.device)
        self.precision = choose_precision(config.precision, self.device)

        critic_parameters = [*self.policy.critic.parameters()]
        if self.policy.encoder is not None:
            critic_parameters += self.policy.encoder.parameters()
        rate = config.learning_rate
        self.critic_optimizer = torch.optim.Adam(critic_parameters, rate, fused=True)
        self.actor_optimizer = torch.optim.Adam(self.policy.actor.parameters(), rate, fused=True)
        initial = np.log(config.initial_temperature)
        self.log_ent_coef = torch.full((1,), initial, dtype=torch.float32, device=self.device, requires_grad=True)
        self.ent_coef_optimizer = torch.optim.Adam([self.log_ent_coef], rate)
        self.target_entropy = config.target_entropy_per_action * actions.shape[0]

        self.setup_memory()

    def setup_memory(self) -> None:
        """Start with an empty replay memory."""
        space, capacity = self.observation_space, self.config.buffer_capacity
        assert isinstance(space, spaces.Dict) and isinstance(self.action_space, spaces.Box)
        self.store = FrameStore(space, self.action_space.shape[0], capacity=capacity, pad=self.config.shift_pad)
        self.online = IndexBuffer(self.store)
        self.demo = IndexBuffer(self.store, keep=True)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed networks, exploration, sampling and environment."""
        super().set_random_seed(seed)
        acting, sampling, noise = np.random.SeedSequence(seed).spawn(3)
        self.acting_rng = np.random.default_rng(acting)
        self.sampling_rng = np.random.default_rng(sampling)
        self.noise_rng = torch.Generator(self.device).manual_seed(int(noise.generate_state(1)[0]))

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """Vectorise an environment and leave its images channels-last, as the store and the encoder want them."""
        if isinstance(env, VecEnv):
            return env
        wrapped = Monitor(env) if monitor_wrapper else env
        return DummyVecEnv([lambda: wrapped])

    # --- acting ---------------------------------------------------------------------------------------------

    @property
    def acting_policy(self) -> DrQPolicy:
        """The weights to act with."""
        return self.policy if self.published is None else self.published

    def act(self, observation: Mapping[str, npt.NDArray[Any]], deterministic: bool = False) -> npt.NDArray[np.float32]:
        """Return the action for one observation. Shape (A,), in [-1, 1]."""
        policy = self.acting_policy
        with torch.inference_mode():
            tensors, _ = policy.obs_to_tensor(observation)
            assert isinstance(tensors, dict)
            means, log_stds = policy.distribution(tensors["patches"], tensors[STATE], deterministic=deterministic)
            mean, std = means[0].cpu().numpy(), log_stds[0].exp().cpu().numpy()
        if not deterministic:
            mean = mean + std * self.acting_rng.standard_normal(mean.shape, np.float32)
        action: npt.NDArray[np.float32] = np.tanh(mean)
        return action

    def explore(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Return the action to collect data with: uniformly random during `random_steps`, then sampled. Shape (A,)."""
        if self.num_timesteps < self.config.random_steps:
            return self.acting_rng.uniform(-1.0, 1.0, self.action_space.shape).astype(np.float32)
        return self.act(observation)

    def predict(
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: tuple[npt.NDArray[Any], ...] | None = None,
        episode_start: npt.NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...] | None]:
        """Return actions for one observation or a batch (Stable-Baselines3)."""
        return self.acting_policy.predict(observation, state, episode_start, deterministic)

    # --- collecting -----------------------------------------------------------------------------------------

    def add_demonstrations(self, episodes: Iterable[Episode]) -> int:
        """Store episodes in the demo buffer and return the number of transitions.

        Raises:
            ConfigError: If an episode does not fit the observation or action space.
        """
        added = 0
        for episode in episodes:
            slots = self.store.add_episode(episode)
            self.demo.add(slots)
            added += len(slots)
        return added

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "DrQ",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Alternate collecting and learning until `total_timesteps` (Stable-Baselines3)."""
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        assert self.env is not None and isinstance(self.train_freq, TrainFreq)
        self.loop = RolloutLoop(
            self.env, policy=self.explore, supervisor=self.supervisor, guidance=self.guidance, rate_hz=self.rate_hz
        )
        self.loop.episode = self._episode_num - 1
        self.loop.reset()
        callback.on_training_start(locals(), globals())
        self.learner.start()
        try:
            while self.num_timesteps < total_timesteps:
                rollout = self.collect_rollouts(self.env, callback, self.train_freq, log_interval=log_interval)
                if not rollout.continue_training:
                    break
                self.learner.advance()
        finally:
            self.learner.stop()
        callback.on_training_end()
        return self

    def collect_rollouts(  # type: ignore[override]  # the replay buffer is `store`
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: None = None,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """Run the control loop for `train_freq` steps or episodes and store what was executed."""
        assert self.loop is not None
        steps = episodes = 0
        callback.on_rollout_start()
        while should_collect_more_steps(train_freq, steps, episodes):
            step = self.loop.step()
            steps += 1
            self.num_timesteps += 1
            self.remember(step)
            self._update_info_buffer([step.info], np.array([step.outcome is not None]))
            self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
            if step.outcome is not None:
                episodes += 1
                self._episode_num += 1
            callback.update_locals(locals())
            if not callback.on_step():
                return RolloutReturn(steps, episodes, continue_training=False)
            if step.outcome is not None and log_interval is not None and self._episode_num % log_interval == 0:
                self.dump_logs()
        callback.on_rollout_end()
        return RolloutReturn(steps, episodes, continue_training=True)

    def remember(self, step: Step) -> None:
        """Store a control step in the online buffer, and in the demo buffer as `store_guided` says."""
        transition = step.transition
        with self.store.lock:
            if not self.store.is_open:
                self.store.start_episode(transition.observation)
            slot = self.store.append(
                transition.action,
                transition.reward,
                transition.next_observation,
                terminated=transition.terminated,
                truncated=transition.truncated,
                guided=transition.guided,
            )
            self.online.add(slot)
            if self.store_guided == "both" and transition.guided:
                self.demo.add(slot)
            elif self.store_guided == "success" and step.outcome is not None and step.outcome.success:
                slots = self.store.slots_of(int(self.store.episode_of(np.array([slot]))[0]))[:-1]
                guided = np.flatnonzero(self.store.guided(slots))
                if len(guided) > 0:
                    self.demo.add(slots[guided[0] :])

    @property
    def n_updates(self) -> int:
        """Critic updates so far."""
        return self._n_updates

    # --- learning -------------------------------------------------------------------------------------------

    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """Update the critics with the encoder, then the actor and the temperature."""
        metrics: dict[str, torch.Tensor] = {}
        for _ in range(gradient_steps):
            batch = self.sample(batch_size or self.config.batch_size)
            with self.update_lock:
                features = self.update_critic(batch, metrics)
                self._n_updates += 1
                if self._n_updates % self.config.actor_every == 0:
                    self.update_actor(features, batch, metrics)
                self.update_target()
        self.train_metrics = {**self.train_metrics, **{key: float(value) for key, value in metrics.items()}}

    def dump_logs(self) -> None:
        """Write log data, with the newest figures of the learner."""
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for key, value in self.train_metrics.items():
            self.logger.record(f"train/{key}", value)
        super().dump_logs()

    def sample(self, batch_size: int) -> Batch:
        """Draw a batch from both buffers, randomly shifted."""
        with self.store.lock:
            slots, from_demo = sample_slots(self.online, self.demo, batch_size, self.config, self.sampling_rng)
            return make_batch(self.store, slots, self.policy, self.config, self.sampling_rng, from_demo=from_demo)

    def target(self, batch: Batch) -> torch.Tensor:
        """Return y = R + discount * min_i Q_target,i(s', a'), a' ~ pi(s'), clamped to `clip_target`. Shape (B,).

        There is no entropy term (RLPD and HIL-SERL: backup_entropy off).
        """
        with torch.no_grad():
            features = self.policy.encode(batch.next_patches, self.precision)
            mean, log_std = self.policy.actor(features, batch.next_states)
            next_actions, _ = squashed_sample(mean, log_std, self._noise(len(features)))
            q = self.policy.critic_target(features, batch.next_states, next_actions)
            if self.config.critic_subset is not None:  # distinct members (REDQ, arXiv:2101.05982)
                members = self.sampling_rng.choice(self.config.critics, self.config.critic_subset, replace=False)
                q = q[members]
            target: torch.Tensor = batch.rewards + batch.discounts * q.min(0).values
            if self.config.clip_target is not None:
                target = target.clamp(*self.config.clip_target)
        return target

    def update_critic(self, batch: Batch, metrics: dict[str, torch.Tensor]) -> torch.Tensor:
        """Fit critics and encoder to the target; return the detached features of the observations. Shape (B, F)."""
        target = self.target(batch)
        features = self.policy.encode(batch.patches, self.precision)
        q = self.policy.critic(features, batch.states, batch.actions)
        loss = F.mse_loss(q, target.expand_as(q), reduction="none").sum(0).mean()
        self.critic_optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.critic_optimizer.step()
        metrics |= {"critic_loss": loss.detach(), "q_mean": q.detach().mean(), "target_mean": target.mean()}
        return features.detach()

    def update_actor(self, features: torch.Tensor, batch: Batch, metrics: dict[str, torch.Tensor]) -> None:
        """Raise E[Q(s, a) - alpha log pi(a|s)] - bc_weight * |mean action - demo action|^2, then move alpha.

        Features are fixed: pixels are learned by the critics alone. Cloned are the batch's demonstrations.
        """
        mean, log_std = self.policy.actor(features, batch.states)
        actions, log_prob = squashed_sample(mean, log_std, self._noise(len(features)))
        q = self.policy.critic(features, batch.states, actions)
        value = q.mean(0) if self.config.actor_q == "mean" else q.min(0).values
        loss = (self.log_ent_coef.detach().exp() * log_prob - value).mean()
        if self.config.bc_weight > 0.0 and batch.from_demo > 0:
            demos = slice(0, batch.from_demo)
            cloning_loss = F.mse_loss(torch.tanh(mean[demos]), batch.actions[demos])
            loss = loss + self.config.bc_weight * cloning_loss
            metrics["cloning_loss"] = cloning_loss.detach()
        self.actor_optimizer.zero_grad()
        torch.autograd.backward(loss, inputs=list(self.policy.actor.parameters()))  # no gradient for the critics
        self.actor_optimizer.step()

        entropy = -log_prob.detach().mean()
        temperature_loss = self.log_ent_coef * (entropy - self.target_entropy)
        self.ent_coef_optimizer.zero_grad()
        torch.autograd.backward(temperature_loss)
        self.ent_coef_optimizer.step()
        alpha = self.log_ent_coef.detach().exp()
        metrics |= {"actor_loss": loss.detach(), "ent_coef": alpha, "entropy": entropy}

    def update_target(self) -> None:
        """Mix the critics into their targets: Q_target <- (1 - tau) Q_target + tau Q. There is no target encoder."""
        with torch.no_grad():
            targets: list[torch.Tensor] = list(self.policy.critic_target.parameters())
            sources: list[torch.Tensor] = list(self.policy.critic.parameters())
            torch._foreach_lerp_(targets, sources, self.config.tau)
        if self.config.average_rate > 0.0:
            self.policy.average()

    def _noise(self, count: int) -> torch.Tensor:
        size = (count, self.action_space.shape[0])  # type: ignore[index]
        return torch.randn(size, generator=self.noise_rng, device=self.device)

    # --- saving ---------------------------------------------------------------------------------------------

    def _excluded_save_params(self) -> list[str]:
        wired = ["supervisor", "guidance", "loop", "learner", "published", "rate_hz", "update_lock"]
        memory = ["store", "online", "demo", "acting_rng", "sampling_rng", "noise_rng", "precision"]
        return [*super()._excluded_save_params(), *wired, *memory]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "critic_optimizer", "actor_optimizer", "ent_coef_optimizer"], ["log_ent_coef"]
