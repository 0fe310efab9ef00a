"""Hyperparameters of ConRFT, with the origin of each default.

ConRFT (arXiv:2502.05450) fine-tunes a vision-language-action model on one GPU beside a robot; what differs here differs
because a small encoder learns from pixels on a processor, and says so.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Interval, Le

from rl.bounds import NotNegative, Positive, check_bounds
from rl.changes import changed
from rl.config import check_at_least_one
from rl.errors import ConfigError
from rl.pixels.config import Gripper, PixelConfig
from rl.traits import Traits


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Weights of the losses in one of the two stages."""

    bc_weight: NotNegative
    """beta: weight of the reconstruction of stored actions."""
    q_weight: NotNegative
    """eta: weight of the mean value of the policy's actions."""
    conservative_weight: NotNegative
    """alpha: weight of Cal-QL's conservative gap; 0 for plain TD."""

    def __post_init__(self) -> None:
        """Refuse weights below 0."""
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class NoiseScales:
    """Sizes of noise that the policy learns to remove; the defaults are ConRFT's, from EDM (arXiv:2206.00364)."""

    sigma_min: float = 0.002
    """Smallest noise, at which the policy returns its input."""
    sigma_max: float = 80.0
    """Largest noise, from which actions are drawn."""
    rho: Positive = 7.0
    """How strongly the scales crowd at the small end."""
    count: Annotated[int, Interval(ge=2, le=10_000)] = 40
    """Number of scales."""
    sigma_data: Positive = 0.5
    """Standard deviation that actions are assumed to have."""

    def __post_init__(self) -> None:
        """Refuse scales that are not in order."""
        check_bounds(self)
        if not 0.0 < self.sigma_min < self.sigma_max or self.count < 2:
            raise ConfigError(
                f"Noise from {self.sigma_min} to {self.sigma_max} in {self.count} scales is no schedule; "
                "ask for 0 < sigma_min < sigma_max and at least 2 scales."
            )


@dataclass(frozen=True, kw_only=True)
class ConRFTConfig(PixelConfig):
    """What the learner does in both stages."""

    gamma: float = 0.97
    """Discount per control step. ConRFT: 0.98. With 40-60 steps to the reward, a horizon of 33."""
    clip_target: tuple[float, float] | None = None
    """Range of possible returns; ConRFT: none. A task that knows its returns should say so."""
    learning_rate: float = 5e-4
    """Adam, for every network. ConRFT: 3e-4."""

    pretrain: StageConfig = field(
        default_factory=lambda: StageConfig(bc_weight=1.0, q_weight=0.1, conservative_weight=0.1)
    )
    """Stage 1, offline on demonstrations. Paper: beta 1, eta 0.1, alpha 0.01; its code: eta 0, alpha 0.1."""
    online: StageConfig = field(
        default_factory=lambda: StageConfig(bc_weight=0.5, q_weight=1.0, conservative_weight=0.0)
    )
    """Stage 2, online. Paper: beta 0.5, eta 1; its code: beta 0.1."""

    sampled_actions: Annotated[int, Le(10_000)] = 10
    """Cal-QL: random actions per state, and as many of the policy here, and in the next state (ConRFT)."""
    conservative_temperature: Positive = 1.0
    """Cal-QL: temperature of the soft maximum (ConRFT)."""
    conservative_states: Annotated[int, Le(65_536)] = 32
    """Cal-QL: states of a batch whose actions are sampled. ConRFT: all, which would double an update's time on a
    processor core; these take a quarter of it."""
    encoder_clones: bool = True
    """Whether the reconstruction trains the shared encoder too. ConRFT's actor has its own, pretrained one."""
    reconstruct: Literal["all", "demo"] = "demo"
    """Actions that the policy reconstructs: the demonstrations', successful guidance included, or the whole batch's
    (ConRFT), which ties it to its own failures. Learning to reach from pictures: 0.89 against 0.71 (one seed)."""
    exploration_noise: NotNegative = 0.1
    """Standard deviation added to each component of a collected action. ConRFT: 0. Reconstruction teaches the mean
    action at the largest noise, so that samples hardly vary: after demonstrations that dawdle, stage 2 learned nothing
    in 1,200 steps of a small task (0.58); with 0.2 it reached 0.83, with 0.4 0.90."""
    noise_scales: NoiseScales = NoiseScales()
    """Of the consistency policy."""
    gripper: Gripper = "continuous"
    """The gripper command as one more component, as ConRFT; `discrete` for HIL-SERL's critic of its own. On the towel
    they end alike: 49, 48, 44 and 48, 49, 45 successes of 50."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        super().__post_init__()
        for name in ("sampled_actions", "conservative_states"):
            check_at_least_one(name, getattr(self, name))

    @classmethod
    def of(cls, **changes: Any) -> "ConRFTConfig":
        """Return the defaults with some fields changed; a stage may be given as the fields of it that differ.

        Raises:
            ConfigError: If a field is unknown.
        """
        return changed(cls(), changes)


TRAITS = Traits(config_class=ConRFTConfig, pretrains=True, needs_demonstrations=True)
