"""A configuration with some of its fields changed, as recipes, files and command lines tell them."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from rl.config import GuidedConfig
from rl.errors import ConfigError

SettingsT = TypeVar("SettingsT")
ConfigT = TypeVar("ConfigT", bound=GuidedConfig)


def changed(settings: SettingsT, changes: Mapping[str, Any]) -> SettingsT:
    """Return a dataclass with some fields changed; of a field that is one itself, a mapping changes some.

    Values are brought to the types of their fields, so that a list from a JSON file becomes a tuple.

    Raises:
        ConfigError: If a field is unknown, or its value not of its type.
    """
    try:
        made: SettingsT = TypeAdapter(type(settings)).validate_python(_merged(settings, changes))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name} is {first['input']!r}: {first['msg']}.") from error
    return made


def preset(kind: type[ConfigT], name: str, changes: Mapping[str, Any]) -> ConfigT:
    """Return one of the presets of a learner's configuration, with some fields changed.

    Raises:
        ConfigError: If the preset or a field is unknown.
    """
    if name not in kind.presets:
        raise ConfigError(f"{kind.__name__} has no preset {name!r}; choose from {', '.join(kind.presets)}.")
    return changed(kind(), {**kind.presets[name], **changes})


def differences(config: GuidedConfig) -> dict[str, Any]:
    """Return the fields of a configuration that are not its class's defaults."""
    default = type(config)()
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def _merged(settings: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    present = {field.name: getattr(settings, field.name) for field in fields(settings)}
    if unknown := sorted(changes.keys() - present.keys()):
        raise ConfigError(f"{type(settings).__name__} has no setting {', '.join(unknown)}.")
    return {**present, **{name: _replaced(present[name], value) for name, value in changes.items()}}


def _replaced(present: Any, value: Any) -> Any:
    return _merged(present, value) if is_dataclass(present) and isinstance(value, Mapping) else value
