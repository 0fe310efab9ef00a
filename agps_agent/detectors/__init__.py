"""Online failure detection: FLOAT with its encoders, the stall rule, and what a detector of one's own must be."""

from agps_agent.detectors.base import DETECTORS, FailureDetector, Reading, make_detector
from agps_agent.detectors.float.detector import FloatConfig, FloatDetector, FloatReading, NotEnoughDemos
from agps_agent.detectors.float.encoder import (
    ENCODERS,
    DinoV2Encoder,
    Encoder,
    ThumbnailEncoder,
    default_encoder,
    make_encoder,
)
from agps_agent.detectors.float.transport import EmbeddingMismatch, IncrementalFloatIndex, float_index
from agps_agent.detectors.float_watch import FloatWatch
from agps_agent.detectors.stall import StallConfig, StallRule
from agps_agent.detectors.watch import Watch

__all__ = [
    "DETECTORS",
    "ENCODERS",
    "DinoV2Encoder",
    "EmbeddingMismatch",
    "Encoder",
    "FailureDetector",
    "FloatConfig",
    "FloatDetector",
    "FloatReading",
    "FloatWatch",
    "IncrementalFloatIndex",
    "NotEnoughDemos",
    "Reading",
    "StallConfig",
    "StallRule",
    "ThumbnailEncoder",
    "Watch",
    "default_encoder",
    "float_index",
    "make_detector",
    "make_encoder",
]
