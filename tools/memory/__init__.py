"""Vector memory of what worked: an append-only log holds the truth, a Chroma index finds the nearest records."""

from tools.memory.episodic import EpisodicMemory, read_records
from tools.memory.record import MemoryRecord

__all__ = ["EpisodicMemory", "MemoryRecord", "read_records"]
