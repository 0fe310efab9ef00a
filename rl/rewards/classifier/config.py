"""How a classifier is fitted; read without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Interval, Le

from rl.bounds import Count, NotNegative, Positive, Seed, Share, Whole, check_bounds
from rl.widths import check_width


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a classifier is fitted."""

    width: Annotated[int, Le(1_024)] = 16
    """Filters of the first stage, a multiple of 8. Two images of 64 px take 1.1 ms of one core, 1.8 with 32, 5.9 with
    HIL-SERL's 64."""
    pretrained: Path | None = None
    """Plain torch state dict of the trunk, which then stays frozen (HIL-SERL). None: from scratch."""
    state: tuple[Whole, ...] | None = None
    """Entries of `state` to read beside the images, as HIL-SERL adds a height or the gripper to its verdicts. None:
    height over the start and gripper opening (2, 18) for tasks that command the gripper, else nothing."""
    updates: Count = 3000
    """The weights after the last one are kept: with those of the lowest validation loss, which a few episodes decide,
    four towel fits of 1,500 updates had a precision of 0.972 to 0.979, with the last ones 0.982 to 0.986."""
    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 64
    """Frames of an update, half of them successes."""
    learning_rate: Positive = 1e-3
    """Of AdamW, falling to zero along a cosine."""
    weight_decay: NotNegative = 1e-2
    """Of AdamW."""
    average: Annotated[float, Interval(ge=0, lt=1)] = 0.98
    """Weight of the past in the moving average of the weights, which is what is checked and kept."""
    check_every: Count = 100
    """Updates from one validation loss, for people to see, to the next."""
    shift: Annotated[int, Interval(ge=0, le=64)] = 4
    """Largest random shift of the images, alike for the cameras of a frame, [px]."""
    brightness: Share = 0.2
    """Largest relative change of brightness, and half of it of each colour."""
    contrast: Share = 0.2
    """Largest relative change of contrast."""
    flip: bool = False
    """Mirror all images of a frame left to right half of the time: only for tasks that look alike in the mirror."""
    precision: Annotated[float, Interval(gt=0, le=1)] = 0.98
    """Precision that the threshold is chosen for, on the validation split."""
    least_positives: Count = 20
    """Fewest successes in the training split."""
    seed: Seed = 0
    """Of weights, batches and augmentation."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_width("width", self.width)
        check_bounds(self)
