"""ConRFT: a consistency policy, pre-trained offline with Cal-QL and improved online."""

from rl.conrft.backbone import Backbone
from rl.conrft.config import ConRFTConfig, StageConfig
from rl.conrft.conrft import ConRFT
from rl.conrft.policies import ConRFTPolicy

__all__ = ["Backbone", "ConRFT", "ConRFTConfig", "ConRFTPolicy", "StageConfig"]
