"""Settings that every algorithm shares, with the origin of each default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Interval, Le

from rl.bounds import Positive, Whole, check_bounds
from rl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class GuidedConfig:
    """What every algorithm is told: its memory, its batches, and its pace. The defaults are DrQ's preset `tuned`."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tuned": {}}
    """Fields that differ from the defaults, by the name of a preset."""

    batch_size: Annotated[int, Le(65_536)] = 128
    """Transitions per update, demo and online together. HIL-SERL: 256."""
    demo_fraction: float = 0.5
    """Share of a batch from the demo buffer (RLPD)."""
    small_demo_count: Whole = 60
    """Demo buffers below this many transitions are small: half a batch would repeat each too often. Measured."""
    small_demo_fraction: float = 0.25
    """Share of a batch from a small demo buffer. Measured."""
    demo_reward: float | None = None
    """Episodes with a reward of at least this are drawn from as demonstrations are, whoever acted (the good experiences
    of self-imitation learning, arXiv:1806.05635): for rewards that exploring hardly meets. None: no such episodes."""
    buffer_capacity: Annotated[int, Le(100_000_000)] = 50_000
    """Observations kept, demonstrations included. HIL-SERL: 200k + 200k."""

    learning_starts: Whole = 200
    """Environment steps before the first update; demonstrations do not count. HIL-SERL: 100."""
    random_steps: Whole = 0
    """Environment steps with uniformly random actions at the start. HIL-SERL: 0."""
    train_freq: int = 2
    """Environment steps between calls of the lockstep learner. With `gradient_steps` = 1: half an update per step."""
    gradient_steps: int = 1
    """Critic updates per call of the lockstep learner."""

    gamma: float = 0.92
    """Discount per control step. HIL-SERL: 0.97; the shorter horizon was part of what made the task learnable."""
    tau: float = 0.01
    """Share of the critic mixed into its target at each update (DrQ-v2). HIL-SERL: 0.005."""
    learning_rate: Positive = 1e-3
    """Adam, for every network. HIL-SERL: 3e-4."""
    shift_pad: Annotated[int, Interval(ge=0, le=64)] = 4
    """Largest random shift of an image, [px] (DrQ)."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_bounds(self)
        for name in ("batch_size", "buffer_capacity", "train_freq", "gradient_steps"):
            check_at_least_one(name, getattr(self, name))
        for name in ("demo_fraction", "small_demo_fraction", "gamma", "tau"):
            check_share(name, getattr(self, name))


def check_at_least_one(name: str, value: int) -> None:
    """Refuse a count below 1.

    Raises:
        ConfigError: Names the setting.
    """
    if value < 1:
        raise ConfigError(f"{name} is {value}; ask for at least 1.")


def check_share(name: str, value: float) -> None:
    """Refuse a share outside [0, 1].

    Raises:
        ConfigError: Names the setting.
    """
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {value}; ask for a value in [0, 1].")
