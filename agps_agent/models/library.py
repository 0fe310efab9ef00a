"""Chat models by name: `embedded`, those of installed packages, `package.module:Name` and `./file.py:Name`.

Settings of a model stand behind its name, `embedded,point-error-px=3,miss-share=0.05`: a model that errs is another
one, and whatever records the name records that.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, get_type_hints
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from agps_agent.models.profiles import ModelProfile, load_profile
from rl.bounds import check_bounds
from rl.errors import ConfigError, words_of
from rl.registry import Registry, is_reference

if TYPE_CHECKING:  # a name is checked without loading what it names
    from langchain_core.language_models import BaseChatModel

    from prompts.loader import TaskPrompt


class MakesModel(Protocol):
    """A class of chat models, or a function that makes one.

    An attribute `profile_family` says how the model writes points, as the name of a profile (docs/vlm.md). Without it
    that is `--agent.profile`, else `plain`: pixels of the image that is sent.

    An attribute `config_class` names the frozen dataclass of its settings: an instance is handed over as `config`, with
    what `--vlm NAME,field=value` says, and with the run's seed where it has a field `seed` that is not given.
    """

    def __call__(self, *, tasks: "tuple[TaskPrompt, ...]") -> "BaseChatModel":
        """Return a model; `tasks` are the words of what it will be asked about."""


MODELS: Registry[MakesModel] = Registry("agps.models", "model")
"""Chat models that need no server of their own, by name."""

_EXAMPLE = "embedded,point-error-px=3,miss-share=0.05"
_SETTING = r",([A-Za-z][\w-]*)=([^,:]*)"
_NAMED = re.compile(rf"(.*?)((?:{_SETTING})*)", re.DOTALL)


def is_url(vlm: str) -> bool:
    """Return whether `--vlm` names a server."""
    return vlm.startswith(("http://", "https://"))


def check_url(url: str) -> None:
    """Refuse what can be no server's address, before anybody asks there.

    Raises:
        ConfigError: Saying what is wrong with it.
    """
    example = "give e.g. http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        named = parts.hostname, parts.port  # the port is read only here
    except ValueError as error:
        raise ConfigError(f"{url!r} is no URL ({error}); {example}.") from error
    if not is_url(url) or not named[0]:
        raise ConfigError(f"{url!r} is no URL of a server (http:// or https://, then its name); {example}.")
    if parts.username is not None or parts.query:
        raise ConfigError(
            f"The URL of {parts.hostname} holds a name, a password or a query, which would be written to config.json, "
            "reports and logs; leave it out, and give the server's key as OPENAI_API_KEY."
        )


def check_model(vlm: str) -> None:
    """Refuse what can be no chat model; nothing is imported, unless it is given settings.

    Raises:
        ConfigError: Saying what would be.
    """
    if is_url(vlm):
        check_url(vlm)
        return
    name, given = _split(vlm)
    if name not in MODELS and name.partition(",")[0] in MODELS:
        raise ConfigError(f"The model {vlm!r}: settings follow a name as in {_EXAMPLE}.")
    if name not in MODELS and not is_reference(name):
        raise ConfigError(
            f"There is no model {name!r}; use {', '.join(MODELS.names)}, package.module:Name, ./file.py:Name, or the "
            "URL of an OpenAI-compatible server such as http://localhost:8000/v1."
        )
    if given:
        _config(name, MODELS.load(name), given, seed=0)


def model_reference(vlm: str) -> str:
    """Return what `--vlm` says so that it holds in every working directory, see `Registry.reference`.

    Raises:
        ConfigError: If the model cannot be imported.
    """
    if is_url(vlm):
        return vlm
    name, _ = _split(vlm)
    return MODELS.reference(name) + vlm.removeprefix(name)


def open_model(
    vlm: str, *, tasks: "tuple[TaskPrompt, ...]", profile: str | None, seed: int = 0
) -> "tuple[BaseChatModel, ModelProfile]":
    """Return a chat model by its name, and the profile of its points.

    Args:
        vlm: Name as `MODELS` knows it, with the model's settings.
        tasks: Words of what it will be asked about.
        profile: What `--agent.profile` says.
        seed: Of what a model draws that has a seed, unless its settings give one.

    Raises:
        ConfigError: If there is none, it cannot be made, or it has a profile of its own beside the one that is given.
    """
    from langchain_core.language_models import BaseChatModel

    name, given = _split(vlm)
    kind: Any = MODELS.load(name)
    own = getattr(kind, "profile_family", None)
    if own is not None and profile is not None:
        raise ConfigError(f"--agent.profile {profile}: the model {name} has its own, {own}; leave it out.")
    config = _config(name, kind, given, seed=seed)
    try:
        model = kind(tasks=tasks) if config is None else kind(tasks=tasks, config=config)
    except ConfigError:  # one of ours, in plain words
        raise
    except Exception as error:  # somebody else's code: whatever it raises is theirs to mend
        raise ConfigError(f"Cannot make the model {name} ({words_of(error)}).") from error
    if not isinstance(model, BaseChatModel):
        raise ConfigError(f"{name} is no chat model: derive it from langchain_core's BaseChatModel.")
    return model, load_profile(own or profile or "plain")


def _split(vlm: str) -> tuple[str, dict[str, str]]:
    """Return the name of a model, and its settings as they are written."""
    named = _NAMED.fullmatch(vlm)
    assert named is not None  # the name alone may be anything
    return named[1], dict(re.findall(_SETTING, named[2]))


def _config(name: str, kind: Any, given: Mapping[str, str], *, seed: int) -> object | None:
    """Return the settings of a model; None for one that has none.

    Raises:
        ConfigError: If it has no such setting, or a value is out of bounds.
    """
    config_class = getattr(kind, "config_class", None)
    if config_class is not None and not (isinstance(config_class, type) and dataclasses.is_dataclass(config_class)):
        raise ConfigError(
            f"config_class of the model {name} is {config_class!r}; name a frozen dataclass, or leave it out."
        )
    kinds = {} if config_class is None else get_type_hints(config_class)
    values: dict[str, Any] = {"seed": seed} if "seed" in kinds else {}
    for option, text in given.items():
        field = option.replace("-", "_")
        if field not in kinds:
            has = ", ".join(_spelled(known) for known in kinds)
            raise ConfigError(f"The model {name} has no setting {option}; it has {has or 'none'}.")
        values[field] = _value(option, kinds[field], text)
    if config_class is None:
        return None
    try:
        config: object = config_class(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Cannot make the settings of the model {name} ({error}).") from error
    check_bounds(config, _spelled)
    return config


def _value(option: str, kind: Any, text: str) -> Any:
    """Return the value of a setting; its bounds are not looked at.

    Raises:
        ConfigError: If the text is none of its type.
    """
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise ConfigError(f"{option} is {text!r}: {said[0].lower()}{said[1:]}.") from error


def _spelled(field: str) -> str:
    return field.replace("_", "-")
