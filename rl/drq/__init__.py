"""DrQ: reinforcement learning from pixels with demonstrations."""

from typing import TYPE_CHECKING

from rl.drq.config import DrQConfig
from rl.lazy import lazy

if TYPE_CHECKING:
    from rl.drq.drq import DrQ
    from rl.drq.policies import DrQPolicy

__all__ = ["DrQ", "DrQConfig", "DrQPolicy"]

# A task's recipe names settings also where nothing learns, as in the emulator: without torch.
__getattr__ = lazy(__name__, {"DrQ": "rl.drq.drq", "DrQPolicy": "rl.drq.policies"})
