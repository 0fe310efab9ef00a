"""Somebody else's environment in a run: what the run starts from, and what the environment is made with."""

import json
from typing import Any

from rl.errors import ConfigError
from rl.pixels.config import PixelConfig
from rl.tasks.base import Recipe

FOREIGN = Recipe(
    method="serl",
    demos=0,
    agent_demos=0,
    warm_up_updates=0,
    eval_every=1_000,
    max_env_steps=20_000,
    # Nothing is known of the rewards: targets are not clamped, and rewards are learned from in their own units.
    learners=(PixelConfig(clip_target=None),),
)
"""What a run in somebody else's environment starts from."""


def arguments_of(text: str) -> dict[str, Any]:
    """Return the arguments that a JSON object spells out.

    Raises:
        ConfigError: If it is none.
    """
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--env-arguments is {text!r}, no JSON object ({error}).") from error
    if not isinstance(arguments, dict):
        raise ConfigError(f"--env-arguments is {text!r}; write a JSON object such as '{{\"render_fps\": 10}}'.")
    return arguments
