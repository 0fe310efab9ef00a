"""ConRFT as a Stable-Baselines3 algorithm: offline on demonstrations, then online beside a supervisor."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from rl.algorithm import PretrainCallback
from rl.buffers import IntArray
from rl.conrft.backbone import Backbone, EmbeddingCache, Frozen
from rl.conrft.batch import ConRFTBatch
from rl.conrft.calql import calql_loss, td_loss
from rl.conrft.config import TRAITS, ConRFTConfig, StageConfig
from rl.conrft.consistency import reconstruction_loss
from rl.conrft.policies import ConRFTPolicy
from rl.errors import ConfigError
from rl.finite import check_loss
from rl.pixels.algorithm import POLICY_NAMES, PixelAlgorithm
from rl.pixels.batch import Batch


class ConRFT(PixelAlgorithm):
    """Consistency-policy fine-tuning in two stages (arXiv:2502.05450).

    Used like any Stable-Baselines3 algorithm, after a first stage without the environment:

        model = ConRFT("MultiInputPolicy", env, seed=0)
        model.add_demonstrations(episodes)
        model.pretrain(10_000)
        model.learn(5_000)

    Stage 1 fits critics by Cal-QL and the policy to the demonstrations; stage 2 is plain TD on half demonstrations and
    half online data, with more weight on value and less on imitation. Both stages are one update with other weights.
    """

    name: ClassVar[str] = "conrft"
    config_class = ConRFTConfig
    pretrains: ClassVar[bool] = TRAITS.pretrains
    keeps_guidance: ClassVar[bool] = True
    needs_demonstrations: ClassVar[bool] = TRAITS.needs_demonstrations
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict.fromkeys(POLICY_NAMES, ConRFTPolicy)
    policy: ConRFTPolicy
    config: ConRFTConfig

    def __init__(
        self,
        policy: str | type[ConRFTPolicy] = "MultiInputPolicy",
        env: GymEnv | str | None = None,
        *,
        backbone: Backbone | None = None,
        **common: Any,
    ) -> None:
        """Build networks and memory.

        Args:
            policy: `MultiInputPolicy` or a subclass of `ConRFTPolicy`.
            env: Environment to learn in; None for an algorithm that is only loaded to predict.
            backbone: Frozen model whose features the actor reads; None for our own encoder, which learns. It is not
                saved: give it to `load` too.
            **common: As `GuidedAlgorithm` takes them, such as `config` (a `ConRFTConfig`), `supervisor` and `seed`.
        """
        self.backbone = backbone
        self.backbone_name = None if backbone is None else backbone.name
        super().__init__(policy, env, **common)

    def policy_arguments(self) -> dict[str, Any]:
        """Return what the policy is built from."""
        name = None if self.backbone is None else self.backbone.name
        if name != self.backbone_name:
            raise ConfigError(
                f"This policy was trained with backbone {self.backbone_name}, not {name}; pass `backbone=` to load()."
            )
        frozen = None if self.backbone is None else Frozen(self.backbone)
        return {**super().policy_arguments(), "frozen": frozen}

    def setup_memory(self) -> None:
        """Start with an empty replay memory."""
        super().setup_memory()
        frozen = self.policy.frozen
        self.cache = None if frozen is None else EmbeddingCache(self.store, frozen)

    def act(self, observation: Mapping[str, npt.NDArray[Any]], deterministic: bool = False) -> npt.NDArray[np.float32]:
        """Return the action for one observation, in [-1, 1]. Shape (A,).

        It is a single-step sample, with `exploration_noise`; the deterministic one starts from zero noise and comes
        from the averaged weights.
        """
        policy = self.acting_policy
        assert isinstance(policy, ConRFTPolicy)
        size = (1, policy.actor_size)
        noise = np.zeros(size, np.float32) if deterministic else self.acting_rng.standard_normal(size, np.float32)
        with torch.inference_mode():
            tensors = policy.tensors({key: np.asarray(value)[None] for key, value in observation.items()})
            start = torch.from_numpy(noise).to(self.device)
            action: npt.NDArray[np.float32] = policy.actions(tensors, start, smooth=deterministic)[0].cpu().numpy()
        if not deterministic and self.config.exploration_noise > 0.0:
            added = self.config.exploration_noise * self.acting_rng.standard_normal(policy.actor_size, np.float32)
            action[: policy.actor_size] = np.clip(action[: policy.actor_size] + added, -1.0, 1.0)
        return action

    # --- the two stages -------------------------------------------------------------------------------------

    @property
    def stage_config(self) -> StageConfig:
        """The weights of the present stage."""
        return self.config.pretrain if self.stage == "pretrain" else self.config.online

    @property
    def cloning_weight(self) -> float:
        """Weight of imitating stored actions, in the actor's loss and the gripper's."""
        return self.stage_config.bc_weight

    def pretrain(self, updates: int, callback: PretrainCallback | None = None) -> None:
        """Stage 1: learn from the demonstrations alone, until `updates` have been done in all.

        Args:
            updates: Updates of stage 1, those before a resume included.
            callback: Called after each update; stage 1 ends early where it returns False.

        Raises:
            ConfigError: If there are no demonstrations.
        """
        if len(self.demo) == 0:
            raise ConfigError("There is nothing to pre-train on: add demonstrations first.")
        super().pretrain(updates, callback)

    # --- learning -------------------------------------------------------------------------------------------

    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """Update critics, encoder and actor with the weights of the present stage."""
        metrics: dict[str, torch.Tensor] = {}
        for _ in range(gradient_steps):
            batch = self.sample(batch_size or self.config.batch_size)
            with self.update_lock:
                self.update(batch, metrics)
                self._n_updates += 1
                self.update_target()
        self.train_metrics = {**self.train_metrics, **{key: float(value) for key, value in metrics.items()}}

    def sample(self, batch_size: int) -> ConRFTBatch:
        """Draw a batch: of demonstrations in stage 1, of both buffers in stage 2."""
        rng = self.sampling_rng
        with self.store.lock:
            if self.stage == "pretrain":
                slots, from_demo = self.demo.sample(batch_size, rng), batch_size
            else:
                slots, from_demo = self.replay_buffer.draw(batch_size, self.sampling_rng)
            return self.complete(self.make_batch(slots, from_demo), slots)

    def complete(self, batch: Batch, slots: IntArray) -> ConRFTBatch:
        """Return a batch with the returns and a backbone's features of its transitions, which lie in these slots."""
        store, cache, config = self.store, self.cache, self.config
        lowest = 0.0 if self.clip_target is None else self.clip_target[0] * config.reward_scale
        returns = store.returns(slots, config.gamma, after_end=lowest) / np.float32(config.reward_scale)
        last = store.n_step(slots, n=config.n_step, gamma=config.gamma).last

        def embeddings(of: IntArray) -> torch.Tensor | None:
            return None if cache is None else torch.from_numpy(cache.features(of)).to(self.device)

        return ConRFTBatch(
            batch=batch,
            returns=torch.from_numpy(returns).to(self.device),
            embeddings=embeddings(slots),
            next_embeddings=embeddings(last),
        )

    def update(self, drawn: ConRFTBatch, metrics: dict[str, torch.Tensor]) -> None:
        """Take one step down the critics' loss and beta * reconstruction - eta * mean Q(s, pi(s)).

        The reconstruction teaches the encoder too, if `encoder_clones`; the value of the policy's actions never does.
        """
        policy, weights = self.policy, self.stage_config
        batch = drawn.batch
        features, way = policy.see(batch.patches, self.precision)
        observed = self._observed(features if self.config.encoder_clones else features.detach(), drawn)
        critic_loss = self.critic_loss(features, observed.detach(), drawn, metrics)
        cloning_loss = self.cloning_loss(observed, drawn, metrics)
        for name, loss in (("critic's", critic_loss), ("cloning", cloning_loss)):
            check_loss(name, loss, update=self._n_updates + 1)

        self.critic_optimizer.zero_grad()
        self.actor_optimizer.zero_grad()
        torch.autograd.backward(critic_loss + weights.bc_weight * cloning_loss)
        if weights.q_weight > 0.0:
            value = self.policy_value(features.detach(), drawn, metrics)
            check_loss("actor's", value, update=self._n_updates + 1)
            torch.autograd.backward(-weights.q_weight * value, inputs=list(policy.actor.parameters()))
        self.critic_optimizer.step()
        self.actor_optimizer.step()
        self.update_pointer(batch, metrics, way)

    def critic_loss(
        self, features: torch.Tensor, observed: torch.Tensor, drawn: ConRFTBatch, metrics: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return TD error + alpha * conservative gap over the first `conservative_states` of the batch.

        And the loss of a discrete gripper's critic.
        """
        policy, batch, weight = self.policy, drawn.batch, self.stage_config.conservative_weight
        next_features = self.next_features(batch)
        with torch.no_grad():
            next_observed = self._next_observed(next_features, drawn)
            target = self.target(next_features, next_observed, drawn)
        q = policy.critic(features, batch.states, batch.actions[:, : policy.actor_size])
        metrics |= {"td_loss": td_loss(q.detach(), target), "q_mean": q.detach().mean(), "target_mean": target.mean()}
        metrics |= {"q_min": q.detach().min(), "q_max": q.detach().max()}
        gripper_loss = features.new_zeros(())
        if batch.gripper is not None:
            gripper_target = self.gripper_target(batch, batch.gripper, next_features)
            gripper_loss = self.gripper_loss(features, batch, batch.gripper, gripper_target, metrics)
        if weight == 0.0:
            return td_loss(q, target) + gripper_loss
        some = slice(0, self.config.conservative_states)
        candidates = self.sampled_actions(observed[some], next_observed[some])
        q_sampled = policy.critic.values(features[some], batch.states[some], candidates, self.precision)
        loss = calql_loss(
            q,
            target,
            q_sampled,
            drawn.returns[some],
            weight=weight,
            temperature=self.config.conservative_temperature,
            metrics=metrics,
        )
        return loss + gripper_loss

    def target(self, next_features: torch.Tensor, next_observed: torch.Tensor, drawn: ConRFTBatch) -> torch.Tensor:
        """Return y = R + discount * min_i Q_target,i(s', a'), a' a single-step sample in s'. Shape (B,)."""
        batch = drawn.batch
        next_actions = self.policy.actor.head.sample(next_observed, self._noise(len(next_observed)))
        q = self.policy.critic_target(next_features, batch.next_states, next_actions)
        target: torch.Tensor = batch.rewards + batch.discounts * q.min(0).values
        return target if self.clip_target is None else target.clamp(*self.clip_target)

    def sampled_actions(self, observed: torch.Tensor, next_observed: torch.Tensor) -> torch.Tensor:
        """Return actions to value low: random ones, the policy's here, and its next ones. Shape (M, 3 N, A)."""
        size = (len(observed), self.config.sampled_actions, self.policy.actor_size)
        with torch.no_grad():
            uniform = torch.rand(size, generator=self.noise_rng, device=self.device)
            here = self.policy.actor.head.sample(observed, self._noise(*size[:2]))
            there = self.policy.actor.head.sample(next_observed, self._noise(*size[:2]))
        return torch.cat((2.0 * uniform - 1.0, here, there), 1)

    def cloning_loss(
        self, observed: torch.Tensor, drawn: ConRFTBatch, metrics: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return the weighted error of giving back noised actions, of the whole batch or of what is shown.

        Shown are demonstrations, and elsewhere what a teacher would have done.
        """
        head, batch, size = self.policy.actor.head, drawn.batch, self.policy.actor_size
        shown = torch.ones_like(batch.shown) if self.config.reconstruct == "all" else batch.shown
        if not bool(shown.any()):
            return observed.new_zeros(())
        told = batch.labelled
        actions = torch.where(told[:, None], batch.labels[:, :size], batch.actions[:, :size])[shown]
        sigma = head.draw_sigmas(len(actions), self.noise_rng)
        denoised = head(observed[shown], actions + sigma[:, None] * self._noise(len(actions)), sigma)
        loss = reconstruction_loss(denoised, actions, sigma, head.scales)
        metrics["cloning_loss"] = loss.detach()
        return loss

    def policy_value(
        self, features: torch.Tensor, drawn: ConRFTBatch, metrics: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return the mean over states and critics of Q(s, pi(s)), pi(s) a single-step sample."""
        batch = drawn.batch
        actions = self.policy.actor.head.sample(self._observed(features, drawn), self._noise(len(features)))
        value: torch.Tensor = self.policy.critic(features, batch.states, actions).mean()
        distance = (actions.detach() - batch.actions[:, : self.policy.actor_size]).abs()[: batch.from_demo]
        metrics |= {"policy_value": value.detach(), "demo_distance": distance.mean()}
        return value

    def _observed(self, features: torch.Tensor, drawn: ConRFTBatch) -> torch.Tensor:
        read = features if drawn.embeddings is None else drawn.embeddings
        observed: torch.Tensor = self.policy.actor.observed(read, drawn.batch.states)
        return observed

    def _next_observed(self, features: torch.Tensor, drawn: ConRFTBatch) -> torch.Tensor:
        read = features if drawn.next_embeddings is None else drawn.next_embeddings
        observed: torch.Tensor = self.policy.actor.observed(read, drawn.batch.next_states)
        return observed

    # --- saving ---------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """Return the name of the backbone."""
        return {"backbone": self.backbone_name}

    def memory_state(self) -> dict[str, Any]:
        """Return the backbone's features of the stored frames."""
        return {} if self.cache is None else self.cache.state_dict()

    def set_memory_state(self, state: Mapping[str, Any]) -> None:
        """Take over the features of a checkpoint, if it has some; frames without are embedded when they are drawn."""
        if self.cache is not None and state:
            self.cache.load_state_dict(state)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "backbone", "cache", "policy_kwargs"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return self.optimizers(), []
