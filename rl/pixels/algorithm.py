"""What DrQ and ConRFT share: optimizers, batches, target networks, and the critic of a discrete gripper."""

from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from rl.algorithm import GuidedAlgorithm, warn
from rl.buffers import IntArray
from rl.finite import check_loss
from rl.pixels.batch import Batch, make_batch
from rl.pixels.config import PixelConfig
from rl.pixels.encoder import choose_precision
from rl.pixels.gripper import GripperBatch, double_dqn_target, make_gripper_batch, margin_loss
from rl.pixels.pointer import HUBER, UNIT_M, UNIT_RAD, in_units
from rl.pixels.policy import PixelPolicy

POLICY_NAMES = ("MultiInputPolicy", "CnnPolicy", "MlpPolicy")
"""What Stable-Baselines3 calls policies, by the observations that they take: here one takes all."""


class PixelAlgorithm(GuidedAlgorithm):
    """Learns an actor, critics and an encoder from shifted pixels; see the subclasses for how."""

    policy: PixelPolicy
    config: PixelConfig
    precision: torch.dtype
    """Arithmetic of the encoder in updates."""
    critic_optimizer: torch.optim.Optimizer
    """Of critics, encoder, and a discrete gripper's critic."""
    actor_optimizer: torch.optim.Optimizer
    pointer_optimizer: torch.optim.Optimizer | None
    clip_target: tuple[float, float] | None
    """Range to which targets are clamped: that of `config`, until rewards show that a default nobody chose is wrong."""
    _warned_of_returns = False
    _pointing: Executor | None = None

    @property
    @abstractmethod
    def cloning_weight(self) -> float:
        """Weight of imitating demonstrations, in the actor's loss and the gripper's."""

    def policy_arguments(self) -> dict[str, Any]:
        """Return what the policy is built from, beside the spaces."""
        # Files of the time before environments said so: seven components were six and a gripper command.
        has_gripper = self.action_space.shape == (7,) if self.has_gripper is None else self.has_gripper
        points = self.state_scales is not None and self.config.points
        is_wrong = self._warned_of_returns and self.config.clip_target == PixelConfig.clip_target  # so rewards showed
        self.clip_target = None if is_wrong else self.config.clip_target
        return {**super().policy_arguments(), "has_gripper": has_gripper, "points": points}

    def look_at(self, slots: IntArray) -> None:
        """Warn, once, of returns beyond `clip_target`: critics would not tell them apart."""
        config = self.config
        if self._warned_of_returns or config.clip_target is None or len(slots) == 0:
            return
        lower, upper = (bound * config.reward_scale for bound in config.clip_target)
        returns = self.store.returns(slots, config.gamma)
        rounding = 1e-4 * config.reward_scale
        if lower - rounding <= returns.min() and returns.max() <= upper + rounding:
            return
        self._warned_of_returns = True
        if config.clip_target == PixelConfig.clip_target:
            self.clip_target = None
            then = "they are no longer clamped. To be rid of this warning"
        else:
            then = "values beyond cannot be told apart. If this is not meant"
        warn(
            f"Rewards were stored that give returns from {returns.min():.4g} to {returns.max():.4g}, outside of "
            f"{lower:.4g} to {upper:.4g}, to which clip_target (times reward_scale) clamps what critics learn: {then}, "
            "set clip_target to the range of this task's returns, or to None."
        )

    def setup_optimizers(self) -> None:
        """Make the optimizers of critics with encoder, and of the actor."""
        self.precision = choose_precision(self.config.precision, self.device)
        critic_parameters = [*self.policy.critic.parameters()]
        for network in (self.policy.encoder, self.policy.gripper):
            if network is not None:
                critic_parameters += network.parameters()
        rate = self.config.learning_rate
        self.critic_optimizer = torch.optim.Adam(critic_parameters, rate, fused=True)
        self.actor_optimizer = torch.optim.Adam(self.policy.actor.parameters(), rate, fused=True)
        pointer = self.policy.pointer
        self.pointer_optimizer = None if pointer is None else torch.optim.Adam(pointer.parameters(), rate, fused=True)

    def make_batch(self, slots: IntArray, from_demo: int) -> Batch:
        """Return the transitions in these slots, the first `from_demo` demonstrations, randomly shifted."""
        config = self.config
        batch = make_batch(
            self.store,
            slots,
            self.policy,
            config,
            self.sampling_rng,
            from_demo=from_demo,
            scales=self.state_scales,
            precision=self.precision,
        )
        if self.policy.gripper is None:
            return batch
        gripper = make_gripper_batch(
            self.store,
            slots,
            n_step=config.n_step,
            gamma=config.gamma,
            reward_scale=config.reward_scale,
            toggle_penalty=config.toggle_penalty,
            device=self.device,
        )
        return replace(batch, gripper=gripper)

    def next_features(self, batch: Batch) -> torch.Tensor:
        """Return features of the next observations, without gradient. Shape (B, F)."""
        with torch.no_grad():
            return self.policy.encode(batch.next_patches, self.precision)

    def gripper_target(self, batch: Batch, gripper: GripperBatch, next_features: torch.Tensor) -> torch.Tensor:
        """Return the double-DQN target of the gripper's critic, clamped to `clip_target` and what toggling may cost.

        Shape (B,).
        """
        critic, target_critic, config = self.policy.gripper, self.policy.gripper_target, self.config
        assert critic is not None and target_critic is not None
        with torch.no_grad():
            q_next, q_target_next = (net(next_features, batch.next_states) for net in (critic, target_critic))
            target = double_dqn_target(gripper.rewards, batch.discounts, q_next, q_target_next)
            if self.clip_target is not None and config.gamma < 1.0:
                lower, upper = self.clip_target
                target = target.clamp(lower + config.toggle_penalty / (1.0 - config.gamma), upper)
        return target

    def gripper_loss(
        self,
        features: torch.Tensor,
        batch: Batch,
        gripper: GripperBatch,
        target: torch.Tensor,
        metrics: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """Return TD error + cloning weight * large-margin loss of the demonstrations' commands. A scalar."""
        assert self.policy.gripper is not None
        q = self.policy.gripper(features, batch.states)
        loss = F.mse_loss(q.gather(1, gripper.choices[:, None])[:, 0], target)
        metrics |= {"gripper_loss": loss.detach(), "gripper_q_mean": q.detach().mean()}
        shown = batch.shown
        if self.cloning_weight > 0.0 and bool(shown.any()):
            cloning_loss = margin_loss(q[shown], gripper.alike[shown], self.config.gripper_margin)
            loss = loss + self.cloning_weight * cloning_loss
            metrics["gripper_cloning_loss"] = cloning_loss.detach()
        return loss

    @contextmanager
    def updating_pointer(
        self, batch: Batch, metrics: dict[str, torch.Tensor], way: torch.Tensor | None
    ) -> Iterator[None]:
        """Take `update_pointer` beside what is done within, in a thread of its own, with two to an update; else after.

        It shares no weights with actor and critics: once both have looked, the order of their updates is all one.
        Where what is within fails, that is told: no update of the pointer begins then, one under way is waited for.
        """
        if self.update_threads == 1 or way is None:
            yield
            self.update_pointer(batch, metrics, way)
            return
        if self._pointing is None:
            self._pointing = ThreadPoolExecutor(1, thread_name_prefix="pointer")
        pointing = self._pointing.submit(self.update_pointer, batch, metrics, way)
        try:
            yield
        finally:  # no weights change once the lock is free
            wait([pointing])
        pointing.result()

    def update_pointer(self, batch: Batch, metrics: dict[str, torch.Tensor], way: torch.Tensor | None = None) -> None:
        """Learn the way to where episodes succeeded, from the batch's frames of successes: Huber's loss.

        Args:
            batch: Frames and ways; rows that are not numbers are not learned from.
            metrics: Takes the error.
            way: What the pointer has said of these frames, with gradient; None: it is asked. Shape (B, 4).
        """
        pointer, optimizer = self.policy.pointer, self.pointer_optimizer
        known = ~torch.isnan(batch.ways[:, 0])
        if pointer is None or optimizer is None or not bool(known.any()):
            return
        said = (pointer(batch.patches, self.precision) if way is None else way)[known]
        told = in_units(batch.ways[known])
        error = torch.where(torch.isnan(told), 0.0, said - told.nan_to_num())
        loss = F.huber_loss(error, torch.zeros_like(error), delta=HUBER)
        check_loss("pointer's", loss, update=self._n_updates + 1)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        off = error.detach().abs().mean(0)
        metrics["goal_error_mm"] = 1e3 * UNIT_M * off[:3].mean()
        if not bool(torch.isnan(told[:, 3]).any()):
            metrics["goal_error_deg"] = torch.rad2deg(UNIT_RAD * off[3])

    def update_target(self) -> None:
        """Mix the critics into their targets: Q_target <- (1 - tau) Q_target + tau Q. There is no target encoder."""
        with torch.no_grad():
            for target, source in self.policy.targets():
                targets: list[torch.Tensor] = list(target.parameters())
                torch._foreach_lerp_(targets, list(source.parameters()), self.config.tau)
        if self.config.average_rate > 0.0:
            self.policy.average()

    def optimizers(self) -> list[str]:
        """Return the names of policy and optimizers, as a checkpoint has them."""
        pointers = [] if self.pointer_optimizer is None else ["pointer_optimizer"]
        return ["policy", "critic_optimizer", "actor_optimizer", *pointers]

    def _noise(self, *size: int) -> torch.Tensor:
        """Return standard normal noise for the actor. Shape (*size, C)."""
        return torch.randn((*size, self.policy.actor_size), generator=self.noise_rng, device=self.device)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "precision", "clip_target", "update_threads", "_pointing"]
