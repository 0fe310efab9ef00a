"""DrQ: reinforcement learning from pixels with demonstrations."""

from rl.drq.config import DrQConfig
from rl.drq.drq import DrQ
from rl.drq.policies import DrQPolicy

__all__ = ["DrQ", "DrQConfig", "DrQPolicy"]
