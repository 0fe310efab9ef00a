"""Online failure detection: FLOAT with its encoders, and the rule that watches until there are demonstrations."""

from agps_agent.float_trigger.detector import FloatConfig, FloatDetector, FloatReading, NotEnoughDemos
from agps_agent.float_trigger.encoder import DinoV2Encoder, Encoder, ThumbnailEncoder, default_encoder
from agps_agent.float_trigger.stall import StallConfig, StallRule
from agps_agent.float_trigger.transport import EmbeddingMismatch, IncrementalFloatIndex, float_index

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
