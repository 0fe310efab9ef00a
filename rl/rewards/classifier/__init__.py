"""Success from images: collected, learned, calibrated, and checked on episodes that it never saw."""

from typing import TYPE_CHECKING

from rl.lazy import lazy
from rl.rewards.classifier.config import FitConfig
from rl.rewards.classifier.frames import LabelledFrames, load_frames

if TYPE_CHECKING:
    from rl.rewards.classifier.classifier import RewardClassifier
    from rl.rewards.classifier.fitting import fit_classifier

__all__ = ["FitConfig", "LabelledFrames", "RewardClassifier", "fit_classifier", "load_frames"]

# The command line reads the settings of a fit, without torch.
__getattr__ = lazy(
    __name__,
    {"RewardClassifier": "rl.rewards.classifier.classifier", "fit_classifier": "rl.rewards.classifier.fitting"},
)
