"""DrQ with demonstrations as a Stable-Baselines3 algorithm: SAC from shifted pixels, half of each batch from demos."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import BasePolicy
from torch.nn import functional as F

from rl.algorithm import GuidedAlgorithm
from rl.buffers import STATE
from rl.drq.batch import Batch, make_batch
from rl.drq.config import DrQConfig
from rl.drq.policies import DrQPolicy, choose_precision, squashed_sample


class DrQ(GuidedAlgorithm):
    """Data-regularised Q-learning (arXiv:2004.13649) on demonstrations and online data (RLPD, arXiv:2302.02948).

    Used like any Stable-Baselines3 algorithm::

        model = DrQ("MultiInputPolicy", env, config=DrQConfig.preset("tuned"), seed=0)
        model.add_demonstrations(episodes)
        model.learn(8_000)
        model.save("policy.zip")
    """

    name: ClassVar[str] = "drq"
    config_class = DrQConfig
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MultiInputPolicy": DrQPolicy}
    policy: DrQPolicy
    config: DrQConfig

    def setup_optimizers(self) -> None:
        """Make the optimizers of critics with encoder, actor, and temperature."""
        config = self.config
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
        self.target_entropy = config.target_entropy_per_action * self.policy.action_space.shape[0]

    def act(self, observation: Mapping[str, npt.NDArray[Any]], deterministic: bool = False) -> npt.NDArray[np.float32]:
        """Return the action for one observation. Shape (A,), in [-1, 1]."""
        policy = self.acting_policy
        assert isinstance(policy, DrQPolicy)
        with torch.inference_mode():
            tensors, _ = policy.obs_to_tensor(observation)
            assert isinstance(tensors, dict)
            means, log_stds = policy.distribution(tensors["patches"], tensors[STATE], deterministic=deterministic)
            mean, std = means[0].cpu().numpy(), log_stds[0].exp().cpu().numpy()
        if not deterministic:
            mean = mean + std * self.acting_rng.standard_normal(mean.shape, np.float32)
        action: npt.NDArray[np.float32] = np.tanh(mean)
        return action

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

    def sample(self, batch_size: int) -> Batch:
        """Draw a batch from both buffers, randomly shifted."""
        with self.store.lock:
            slots, from_demo = self.draw_slots(batch_size)
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
        return [*super()._excluded_save_params(), "precision"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "critic_optimizer", "actor_optimizer", "ent_coef_optimizer"], ["log_ent_coef"]
