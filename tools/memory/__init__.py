"""Vector memory of what worked: an append-only log holds the truth, a Chroma index finds the nearest records."""

from tools.memory.episodic import EpisodicMemory, read_records
from tools.memory.record import MemoryRecord, Target

__all__ = ["EpisodicMemory", "MemoryRecord", "Target", "read_records"]
