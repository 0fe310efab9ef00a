"""DrQ with demonstrations as a Stable-Baselines3 algorithm: SAC from shifted pixels, half of each batch from demos."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import BasePolicy
from torch.nn import functional as F

from rl.drq.config import DrQConfig
from rl.drq.policies import DrQPolicy, squashed_sample
from rl.episodes import STATE
from rl.finite import check_loss
from rl.pixels.algorithm import POLICY_NAMES, PixelAlgorithm
from rl.pixels.batch import Batch

LABEL_KNEE = 0.1
"""Distance between action and label from which its loss grows linearly."""


class DrQ(PixelAlgorithm):
    """Data-regularised Q-learning (arXiv:2004.13649) on demonstrations and online data (RLPD, arXiv:2302.02948).

    A gripper command, where the environment says that it has one, has by default a critic of its own (HIL-SERL,
    `rl.pixels.gripper`). Used like any Stable-Baselines3 algorithm:

        model = DrQ("MultiInputPolicy", env, config=DrQConfig.preset("tuned"), seed=0)
        model.add_demonstrations(episodes)
        model.learn(8_000)
        model.save("policy.zip")
    """

    name: ClassVar[str] = "drq"
    config_class = DrQConfig
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict.fromkeys(POLICY_NAMES, DrQPolicy)
    policy: DrQPolicy
    config: DrQConfig
    log_ent_coef: torch.Tensor
    """Logarithm of the temperature. Shape (1,)."""
    ent_coef_optimizer: torch.optim.Optimizer
    target_entropy: float
    """What the temperature steers the entropy of actions to, [nat]."""

    @property
    def cloning_weight(self) -> float:
        """Weight of imitating demonstrations, in the actor's loss and the gripper's."""
        return self.config.bc_weight

    def setup_optimizers(self) -> None:
        """Make the optimizers of critics with encoder, actor, and temperature."""
        config = self.config
        super().setup_optimizers()
        initial = np.log(config.initial_temperature)
        self.log_ent_coef = torch.full((1,), initial, dtype=torch.float32, device=self.device, requires_grad=True)
        self.ent_coef_optimizer = torch.optim.Adam([self.log_ent_coef], config.learning_rate)
        self.target_entropy = config.target_entropy_per_action * self.policy.actor_size

    def act(self, observation: Mapping[str, npt.NDArray[Any]], deterministic: bool = False) -> npt.NDArray[np.float32]:
        """Return the action for one observation. Shape (A,), in [-1, 1]."""
        policy = self.acting_policy
        assert isinstance(policy, DrQPolicy)
        with torch.inference_mode():
            tensors = policy.tensors({key: np.asarray(value)[None] for key, value in observation.items()})
            patches, state = tensors["patches"], tensors[STATE]
            means, log_stds, commands = policy.distribution(patches, state, deterministic=deterministic)
            mean, std, command = (part[0].cpu().numpy() for part in (means, log_stds.exp(), commands))
        if not deterministic:
            mean = mean + std * self.acting_rng.standard_normal(mean.shape, np.float32)
        action: npt.NDArray[np.float32] = np.concatenate((np.tanh(mean), command))
        return action

    # --- learning -------------------------------------------------------------------------------------------

    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """Update the critics with the encoder, then the actor and the temperature."""
        metrics: dict[str, torch.Tensor] = {}
        for _ in range(gradient_steps):
            batch = self.sample(batch_size or self.config.batch_size)
            with self.update_lock:
                seen, next_features = self.policy.see(batch.patches, self.precision), self.next_features(batch)
                with self.updating_pointer(batch, metrics, seen.way):
                    features = self.update_critic(batch, metrics, (seen.features, next_features))
                    if (self._n_updates + 1) % self.config.actor_every == 0:
                        self.update_actor(features, batch, metrics)
                self._n_updates += 1
                self.update_target()
        self.train_metrics = {**self.train_metrics, **{key: float(value) for key, value in metrics.items()}}

    def sample(self, batch_size: int) -> Batch:
        """Draw a batch from both buffers, randomly shifted."""
        with self.store.lock:
            return self.make_batch(*self.replay_buffer.draw(batch_size, self.sampling_rng))

    def target(self, batch: Batch, next_features: torch.Tensor) -> torch.Tensor:
        """Return y = R + discount * min_i Q_target,i(s', a'), a' ~ pi(s'), clamped to `clip_target`. Shape (B,).

        There is no entropy term (RLPD and HIL-SERL: backup_entropy off).
        """
        with torch.no_grad():
            mean, log_std = self.policy.actor(next_features, batch.next_states)
            next_actions, _ = squashed_sample(mean, log_std, self._noise(len(next_features)))
            q = self.policy.critic_target(next_features, batch.next_states, next_actions)
            if self.config.critic_subset is not None:  # distinct members (REDQ, arXiv:2101.05982)
                members = self.sampling_rng.choice(self.config.critics, self.config.critic_subset, replace=False)
                q = q[members]
            target: torch.Tensor = batch.rewards + batch.discounts * q.min(0).values
            if self.clip_target is not None:
                target = target.clamp(*self.clip_target)
        return target

    def update_critic(
        self,
        batch: Batch,
        metrics: dict[str, torch.Tensor],
        features: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Fit critics and encoder to their targets; return the detached features of the observations. Shape (B, F).

        Args:
            batch: What to learn from.
            metrics: Takes loss and values.
            features: Of the observations, with gradient, and of the next ones, without; None: the policy looks.
        """
        seen, next_features = features or (self.policy.encode(batch.patches, self.precision), self.next_features(batch))
        target = self.target(batch, next_features)
        q = self.policy.critic(seen, batch.states, batch.actions[:, : self.policy.actor_size])
        loss = F.mse_loss(q, target.expand_as(q), reduction="none").sum(0).mean()
        metrics |= {"critic_loss": loss.detach(), "q_mean": q.detach().mean(), "target_mean": target.mean()}
        metrics |= {"q_min": q.detach().min(), "q_max": q.detach().max()}
        if batch.gripper is not None:
            gripper_target = self.gripper_target(batch, batch.gripper, next_features)
            loss = loss + self.gripper_loss(seen, batch, batch.gripper, gripper_target, metrics)
        check_loss("critic's", loss, update=self._n_updates + 1)
        self.critic_optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.critic_optimizer.step()
        return seen.detach()

    def update_actor(self, features: torch.Tensor, batch: Batch, metrics: dict[str, torch.Tensor]) -> None:
        """Raise E[w (Q(s, a) - alpha log pi(a|s))] minus what imitation costs, then move alpha.

        w is 1, but where a teacher has labelled the state it begins at `taught_value_weight` and grows to 1 with the
        success of the policy alone.

        Features are fixed: pixels are learned by the critics alone.
        """
        mean, log_std = self.policy.actor(features, batch.states)
        actions, log_prob = squashed_sample(mean, log_std, self._noise(len(features)))
        q = self.policy.critic(features, batch.states, actions)
        value = q.mean(0) if self.config.actor_q == "mean" else q.min(0).values
        least = self.config.taught_value_weight
        weight = torch.where(batch.labelled, least + (1.0 - least) * self.success_alone, 1.0)
        loss = (weight * (self.log_ent_coef.detach().exp() * log_prob - value)).mean()
        loss = loss + self.imitation_loss(mean, batch, metrics)
        check_loss("actor's", loss, update=self._n_updates + 1)
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

    def imitation_loss(self, mean: torch.Tensor, batch: Batch, metrics: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return bc_weight |mean - demo action|^2 + teacher_weight |mean - label|_1, each over its own rows. A scalar.

        Where a label says "on" here and "wait" a hair beside, half of each is the least square, and the policy stands
        still. The least distance is one of both (linear beyond `LABEL_KNEE`).

        Args:
            mean: The actor's, before squashing. Shape (B, C).
            batch: A teacher's word goes before the action of a demonstration that has a label.
            metrics: Takes both distances.
        """
        config = self.config
        taken, loss = torch.tanh(mean), mean.new_zeros(())
        labels = batch.labels[:, : self.policy.actor_size]
        labelled = batch.labelled
        demos = batch.shown & ~labelled
        if config.bc_weight > 0.0 and bool(demos.any()):
            cloning_loss = F.mse_loss(taken[demos], batch.actions[demos, : self.policy.actor_size])
            loss = loss + config.bc_weight * cloning_loss
            metrics["cloning_loss"] = cloning_loss.detach()
        if config.teacher_weight > 0.0 and bool(labelled.any()):
            teaching_loss = F.smooth_l1_loss(taken[labelled], labels[labelled], beta=LABEL_KNEE)
            loss = loss + config.teacher_weight * teaching_loss
            metrics["teaching_loss"] = teaching_loss.detach()
        return loss

    # --- saving ---------------------------------------------------------------------------------------------

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return [*self.optimizers(), "ent_coef_optimizer"], ["log_ent_coef"]
