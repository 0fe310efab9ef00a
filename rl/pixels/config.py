"""Hyperparameters that algorithms share which learn from pixels, with the origin of each default."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, Le

from rl.bounds import NotNegative
from rl.config import GuidedConfig, check_at_least_one, check_share
from rl.errors import ConfigError
from rl.widths import check_width

Precision = Literal["auto", "float32", "bfloat16"]
Gripper = Literal["discrete", "continuous"]


@dataclass(frozen=True, kw_only=True)
class PixelConfig(GuidedConfig):
    """What algorithms share that learn critics and an encoder from shifted pixels."""

    n_step: Annotated[int, Le(1_000)] = 3
    """Rewards summed before bootstrapping (DrQ-v2). HIL-SERL: 1."""
    reward_scale: float = 1.0
    """Rewards are divided by this when they are learned from: a task's reward for success. What is weighed against
    values (temperature, cloning, penalties) then means the same in every task."""
    clip_target: tuple[float, float] | None = (0.0, 1.0)
    """Range of possible returns, to which critic targets are clamped, in units of `reward_scale`. None for rewards
    other than a sparse 0/1."""
    critics: Annotated[int, Le(100)] = 2
    """Members of the critic ensemble."""

    points: bool = False
    """Whether an encoder of its own learns from successes where the TCP has to go (`rl.pixels.pointer`), and actor and
    critics see what it says; where `state` begins with the TCP's way since reset (`metadata["position_scale_m"]`)."""

    average_rate: float = 0.005
    """Share of actor and encoder mixed per update into the averaged copies that act deterministically; the newest
    weights alone swing by tens of percent of success from one evaluation to the next. HIL-SERL: 0, none."""

    shift_together: bool = True
    """Shift the cameras of one observation alike. Features then locate the port to 0.3 mm where separate shifts left
    0.4 mm, after as many updates; their rows and columns stay comparable."""
    patch_size: Annotated[int, Le(1_024)] | None = None
    """Side of the patches of the encoder's first layer, [px]. None for a 16th of the image's height, with the edges
    repeated where that does not divide the image; a size that is asked for must divide it."""
    channels: Annotated[int, Le(1_024)] = 32
    """Channels of each of the encoder's layers, a multiple of 8."""
    gripper: Gripper = "discrete"
    """The gripper command, where the environment has one (`metadata["gripper"]`, see `rl.pixels.gripper`): chosen by a
    critic of its own among close, stay and open (HIL-SERL), or as the other components, thresholded by the environment
    at +-0.5. No matter for other environments, all of whose components are continuous."""
    toggle_penalty: float = -0.02
    """Discrete gripper: added to the reward of a command that toggles it, in units of `reward_scale`, for the gripper's
    critic alone (HIL-SERL, whose success gives 1)."""
    gripper_margin: NotNegative = 0.1
    """Discrete gripper: lead in value that `bc_weight` asks of demonstrated commands over all others (DQfD,
    arXiv:1704.03732: 0.8), in units of `reward_scale`."""

    feature_size: Annotated[int, Interval(ge=1, le=4_096)] = 64
    """Image features given to actor and critics."""
    hidden_size: Annotated[int, Interval(ge=1, le=4_096)] = 256
    """Width of the two hidden layers of actor and critics."""
    precision: Precision = "auto"
    """Arithmetic of the encoder in updates; `auto` takes bfloat16 where the processor multiplies it natively."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        super().__post_init__()
        for name in ("n_step", "critics"):
            check_at_least_one(name, getattr(self, name))
        check_width("channels", self.channels)
        check_share("average_rate", self.average_rate)
        if self.reward_scale <= 0.0:
            raise ConfigError(f"reward_scale is {self.reward_scale}; ask for more than 0.")
        if self.clip_target is not None and not self.clip_target[0] < self.clip_target[1]:
            raise ConfigError(f"clip_target is {self.clip_target}; ask for (lowest, highest) return, or None.")
        if self.toggle_penalty > 0.0:
            raise ConfigError(f"toggle_penalty is {self.toggle_penalty}, which pays for toggling; ask for at most 0.")
