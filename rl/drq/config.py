"""Hyperparameters of DrQ, with the origin of each default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rl.bounds import NotNegative, Positive, Share
from rl.changes import preset
from rl.config import check_at_least_one
from rl.errors import ConfigError
from rl.pixels.config import PixelConfig
from rl.traits import Traits


@dataclass(frozen=True, kw_only=True)
class DrQConfig(PixelConfig):
    """What the learner does. The defaults are the preset `tuned`.

    `tuned` is the recipe that reached 50 of 50 simulated USB insertions within 6-12 thousand steps; `hil-serl` are the
    values of HIL-SERL's image policies (arXiv:2410.21845 and its released code), which AGPS says it follows.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tuned": {},
        "hil-serl": {
            "batch_size": 256,
            "small_demo_fraction": 0.5,
            "buffer_capacity": 200_000,
            "learning_starts": 100,
            "train_freq": 1,
            "gradient_steps": 2,
            "actor_every": 2,
            "gamma": 0.97,
            "n_step": 1,
            "clip_target": None,
            "average_rate": 0.0,
            "bc_weight": 0.0,
            "tau": 0.005,
            "learning_rate": 3e-4,
            "target_entropy_per_action": -0.5,
        },
    }

    points: bool = True
    """As `PixelConfig` says."""
    actor_every: int = 1
    """Every how many critic updates the actor and the temperature are updated. HIL-SERL: 2 (1 critic-only, 1 full)."""

    critic_subset: int | None = None
    """How many distinct members the target takes the minimum of (REDQ); None for all."""
    actor_q: Literal["mean", "min"] = "mean"
    """What the actor maximises over the ensemble. HIL-SERL: mean."""

    bc_weight: NotNegative = 1.0
    """Weight of the squared distance between the actor's mean and the actions of demonstrations, successful guidance
    included (as in TD3+BC, arXiv:2106.06860). Without it the policy hesitates above the port, where waiting costs the
    critic little. HIL-SERL: 0."""

    teacher_weight: NotNegative = 3.0
    """Weight of the distance between the actor's mean and what a teacher would do in the same state."""
    taught_value_weight: Share = 0.3
    """Weight of value and entropy where a teacher has said what to do, while the policy alone never succeeds; it grows
    to 1 with its success. Of the first thousand steps critics know too little, and pull the policy off what it is
    taught; in the end they know what no teacher does."""

    initial_temperature: Positive = 0.01
    """Weight of the entropy at the start. There is no entropy in the critic's target (RLPD, HIL-SERL)."""
    target_entropy_per_action: float = -1.5
    """Target entropy per action component, [nat]. HIL-SERL: -0.5, which is a noise of several millimetres per step."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        super().__post_init__()
        check_at_least_one("actor_every", self.actor_every)
        if self.critic_subset is not None and not 1 <= self.critic_subset <= self.critics:
            raise ConfigError(f"critic_subset is {self.critic_subset}; ask for 1 to {self.critics}.")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "DrQConfig":
        """Return a preset, with some fields changed.

        Raises:
            ConfigError: If the preset or a field is unknown.
        """
        return preset(cls, name, changes)


TRAITS = Traits(config_class=DrQConfig)
