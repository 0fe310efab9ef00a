"""Hyperparameters of learning from pixels, and of DrQ, with the origin of each default."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from rl.algorithm import GuidedConfig, check_at_least_one, check_share
from rl.errors import ConfigError
from rl.ranges import Range, above, at_least, check_ranges

Precision = Literal["auto", "float32", "bfloat16"]
Preset = Literal["tuned", "hil-serl"]
Gripper = Literal["discrete", "continuous"]


@dataclass(frozen=True, kw_only=True)
class PixelConfig(GuidedConfig):
    """What algorithms share that learn critics and an encoder from shifted pixels."""

    n_step: int = 3
    """Rewards summed before bootstrapping (DrQ-v2). HIL-SERL: 1."""
    reward_scale: float = 1.0
    """Rewards are divided by this when they are learned from: a task's reward for success. What is weighed against
    values (temperature, cloning, penalties) then means the same in every task."""
    clip_target: tuple[float, float] | None = (0.0, 1.0)
    """Range of possible returns, to which critic targets are clamped, in units of `reward_scale`. None for rewards
    other than a sparse 0/1."""
    critics: int = 2
    """Members of the critic ensemble."""

    average_rate: float = 0.005
    """Share of actor and encoder mixed per update into the averaged copies that act deterministically; the newest
    weights alone swing by tens of percent of success from one evaluation to the next. HIL-SERL: 0, none."""

    shift_together: bool = True
    """Shift the cameras of one observation alike. Features then locate the port to 0.3 mm where separate shifts left
    0.4 mm, after as many updates; their rows and columns stay comparable."""
    patch_size: int | None = None
    """Side of the patches of the encoder's first layer, [px]; None for a 16th of the image's height."""
    channels: int = 32
    """Channels of each of the encoder's layers."""
    gripper: Gripper = "discrete"
    """Last of seven action components: chosen by a critic of its own among close, stay and open (HIL-SERL), or as the
    others, thresholded by the environment at +-0.5. No matter for six components."""
    toggle_penalty: float = -0.02
    """Discrete gripper: added to the reward of a command that toggles it, in units of `reward_scale`, for the gripper's
    critic alone (HIL-SERL, whose success gives 1)."""
    gripper_margin: float = 0.1
    """Discrete gripper: lead in value that `bc_weight` asks of demonstrated commands over all others (DQfD,
    arXiv:1704.03732: 0.8), in units of `reward_scale`."""

    feature_size: int = 64
    """Image features given to actor and critics."""
    hidden_size: int = 256
    """Width of the two hidden layers of actor and critics."""
    precision: Precision = "auto"
    """Arithmetic of the encoder in updates; `auto` takes bfloat16 where the processor multiplies it natively."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        super().__post_init__()
        for name in ("n_step", "critics"):
            check_at_least_one(name, getattr(self, name))
        check_share("average_rate", self.average_rate)
        check_ranges(
            self,
            n_step=Range(1, 1_000),
            reward_scale=above(0),
            critics=Range(1, 100),
            patch_size=Range(1, 256),
            channels=Range(1, 1_024),
            gripper_margin=at_least(0),
            feature_size=Range(1, 4_096),
            hidden_size=Range(1, 4_096),
        )
        if self.toggle_penalty > 0.0:
            raise ConfigError(f"toggle_penalty is {self.toggle_penalty}, which pays for toggling; ask for at most 0.")


@dataclass(frozen=True, kw_only=True)
class DrQConfig(PixelConfig):
    """What the learner does. The defaults are the preset `tuned`.

    `tuned` is the recipe that reached 50 of 50 simulated USB insertions within 6-12 thousand steps; `hil-serl` are the
    values of HIL-SERL's image policies (arXiv:2410.21845 and its released code), which AGPS says it follows.
    """

    actor_every: int = 1
    """Every how many critic updates the actor and the temperature are updated. HIL-SERL: 2 (1 critic-only, 1 full)."""

    critic_subset: int | None = None
    """How many distinct members the target takes the minimum of (REDQ); None for all."""
    actor_q: Literal["mean", "min"] = "mean"
    """What the actor maximises over the ensemble. HIL-SERL: mean."""

    bc_weight: float = 1.0
    """Weight of the squared distance between the actor's mean and the actions of demonstrations, successful guidance
    included (as in TD3+BC, arXiv:2106.06860). Without it the policy hesitates above the port, where waiting costs the
    critic little. HIL-SERL: 0."""

    initial_temperature: float = 0.01
    """Weight of the entropy at the start. There is no entropy in the critic's target (RLPD, HIL-SERL)."""
    target_entropy_per_action: float = -1.5
    """Target entropy per action component, [nat]. HIL-SERL: -0.5, which is a noise of several millimetres per step."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        super().__post_init__()
        check_at_least_one("actor_every", self.actor_every)
        check_ranges(self, bc_weight=at_least(0), initial_temperature=above(0))
        if self.critic_subset is not None and not 1 <= self.critic_subset <= self.critics:
            raise ConfigError(f"critic_subset is {self.critic_subset}; ask for 1 to {self.critics}.")

    @classmethod
    def preset(cls, name: Preset, **changes: Any) -> "DrQConfig":
        """Return a preset, with some fields changed.

        Raises:
            ConfigError: If the preset or a field is unknown.
        """
        if name not in PRESETS:
            raise ConfigError(f"There is no preset '{name}'; choose from {', '.join(PRESETS)}.")
        unknown = set(changes) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(f"DrQ has no setting {', '.join(sorted(unknown))}.")
        return cls(**{**PRESETS[name], **changes})


PRESETS: dict[Preset, dict[str, Any]] = {
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
