"""What a training method is: an algorithm, and whoever helps it."""

from dataclasses import dataclass
from typing import Literal

Method = Literal["agps", "serl", "hil-serl", "conrft", "agps-conrft", "hil-conrft"]
Helper = Literal["agent", "human", "nobody"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a method does."""

    algorithm: Literal["drq", "conrft"]
    """What learns. ConRFT has a first stage, on demonstrations alone."""
    helper: Helper
    """Who watches the rollouts."""
    online: bool = True
    """Whether it learns from rollouts of its own."""
    store_guided: Literal["online", "both", "success"] = "success"
    """Where steps go that a helper guided, if the run does not say: HIL-SERL and ConRFT put a human's into both."""


METHODS: dict[Method, Plan] = {
    "agps": Plan(algorithm="drq", helper="agent"),
    "serl": Plan(algorithm="drq", helper="nobody"),
    "hil-serl": Plan(algorithm="drq", helper="human", store_guided="both"),
    "conrft": Plan(algorithm="conrft", helper="nobody", online=False),
    "agps-conrft": Plan(algorithm="conrft", helper="agent"),
    "hil-conrft": Plan(algorithm="conrft", helper="human", store_guided="both"),
}
