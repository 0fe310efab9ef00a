"""ConRFT: a consistency policy, pre-trained offline with Cal-QL and improved online."""

from typing import TYPE_CHECKING

from rl.conrft.config import ConRFTConfig, StageConfig
from rl.lazy import lazy

if TYPE_CHECKING:
    from rl.conrft.backbone import Backbone
    from rl.conrft.conrft import ConRFT
    from rl.conrft.policies import ConRFTPolicy

__all__ = ["Backbone", "ConRFT", "ConRFTConfig", "ConRFTPolicy", "StageConfig"]

# A task's recipe names settings also where nothing learns, as in the emulator: without torch.
__getattr__ = lazy(
    __name__,
    {"Backbone": "rl.conrft.backbone", "ConRFT": "rl.conrft.conrft", "ConRFTPolicy": "rl.conrft.policies"},
)
