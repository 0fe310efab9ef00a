"""Success from images: collected, learned, calibrated, and checked on episodes that it never saw."""

from rl.rewards.classifier.classifier import RewardClassifier
from rl.rewards.classifier.fitting import FitConfig, fit_classifier
from rl.rewards.classifier.frames import LabelledFrames, load_frames

__all__ = ["FitConfig", "LabelledFrames", "RewardClassifier", "fit_classifier", "load_frames"]
