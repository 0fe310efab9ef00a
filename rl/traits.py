"""Algorithms by name, and what is known of one before it is loaded: that takes seconds, as it brings torch along."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rl.config import GuidedConfig
from rl.registry import Registry

if TYPE_CHECKING:  # a name is known without its class
    from rl.algorithm import GuidedAlgorithm

StoreGuided = Literal["online", "both", "success"]
"""Where steps go whose action a waypoint or a human gave. `online`: as any other step (AGPS, Algorithm 1). `both`: into
the demo buffer too (HIL-SERL). `success`: into the demo buffer too, from the first guided step on, if the episode
succeeds; needed without demonstrations."""

ALGORITHMS: Registry["type[GuidedAlgorithm]"] = Registry("agps.algorithms", "algorithm")
"""Learners by the name that checkpoints and the command line call them."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a command line must know of an algorithm: help and mistakes are answered without torch."""

    config_class: type[GuidedConfig]
    """Its settings."""
    pretrains: bool = False
    """Whether it has a first stage, on demonstrations alone."""
    needs_demonstrations: bool = False
    """Whether it cannot begin without demonstrations."""


TRAITS: Registry[Traits] = Registry("agps.algorithm_traits", "algorithm")
"""Traits of algorithms by the same names; those of one that is not here are read from its class."""
