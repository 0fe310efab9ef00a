"""Chat models by name: `embedded`, those of installed packages, `package.module:Name` and `./file.py:Name`."""

from typing import Protocol

from langchain_core.language_models import BaseChatModel

from agps_agent.models.profiles import ModelProfile, load_profile
from prompts.loader import TaskPrompt
from rl.errors import ConfigError, words_of
from rl.registry import Registry, is_reference


class MakesModel(Protocol):
    """A class of chat models, or a function that makes one.

    An attribute `profile_family` says how the model writes points, as the name of a profile (docs/vlm.md). Without it
    that is `--agent.profile`, else `plain`: pixels of the image that is sent.
    """

    def __call__(self, *, tasks: tuple[TaskPrompt, ...]) -> BaseChatModel:
        """Return a model; `tasks` are the words of what it will be asked about."""


MODELS: Registry[MakesModel] = Registry("agps.models", "model")
"""Chat models that need no server of their own, by name."""


def is_url(vlm: str) -> bool:
    """Return whether `--vlm` names a server."""
    return vlm.startswith(("http://", "https://"))


def check_model(vlm: str) -> None:
    """Refuse what can be no chat model; nothing is imported.

    Raises:
        ConfigError: Saying what would be.
    """
    if not is_url(vlm) and vlm not in MODELS and not is_reference(vlm):
        raise ConfigError(
            f"There is no model {vlm!r}; use {', '.join(MODELS.names)}, package.module:Name, ./file.py:Name, or the "
            "URL of an OpenAI-compatible server such as http://localhost:8000/v1."
        )


def open_model(name: str, *, tasks: tuple[TaskPrompt, ...], profile: str | None) -> tuple[BaseChatModel, ModelProfile]:
    """Return a chat model by its name, and the profile of its points.

    Args:
        name: As `MODELS` knows it.
        tasks: Words of what it will be asked about.
        profile: What `--agent.profile` says.

    Raises:
        ConfigError: If there is none, it cannot be made, or it has a profile of its own beside the one that is given.
    """
    kind = MODELS.load(name)
    own = getattr(kind, "profile_family", None)
    if own is not None and profile is not None:
        raise ConfigError(f"--agent.profile {profile}: the model {name} has its own, {own}; leave it out.")
    try:
        model = kind(tasks=tasks)
    except Exception as error:  # somebody else's code: whatever it raises is theirs to mend
        raise ConfigError(f"Cannot make the model {name} ({words_of(error)}).") from error
    if not isinstance(model, BaseChatModel):
        raise ConfigError(f"{name} is no chat model: derive it from langchain_core's BaseChatModel.")
    return model, load_profile(own or profile or "plain")
