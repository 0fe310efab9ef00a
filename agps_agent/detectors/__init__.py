"""Online failure detection: FLOAT with its encoders, and the rule that watches until there are demonstrations."""

from agps_agent.detectors.float.detector import FloatConfig, FloatDetector, FloatReading, NotEnoughDemos
from agps_agent.detectors.float.encoder import DinoV2Encoder, Encoder, ThumbnailEncoder, default_encoder
from agps_agent.detectors.float.transport import EmbeddingMismatch, IncrementalFloatIndex, float_index
from agps_agent.detectors.stall import StallConfig, StallRule

__all__ = [
    "DinoV2Encoder",
    "EmbeddingMismatch",
    "Encoder",
    "FloatConfig",
    "FloatDetector",
    "FloatReading",
    "IncrementalFloatIndex",
    "NotEnoughDemos",
    "StallConfig",
    "StallRule",
    "ThumbnailEncoder",
    "default_encoder",
    "float_index",
]
