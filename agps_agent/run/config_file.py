"""config.json: the configuration of a run on disk, its versions, and what a resumed run may change."""

import importlib.metadata
import json
import platform
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from agps_agent.run.config import MayChange, RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.origin import origin
from agps_agent.run.rows import config_of
from rl.errors import AgpsError, ConfigError
from rl.files import read_json_object, write_atomically

TESTED_PACKAGES = (
    "agps",
    "chromadb",
    "gymnasium",
    "langchain-core",
    "langchain-openai",
    "langgraph",
    "mujoco",
    "numpy",
    "pot",
    "stable-baselines3",
    "torch",
)
"""Packages whose version can change a result; saved beside the configuration."""


def fixed_changes(saved: RunConfig, now: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    """Yield each setting that differs though a resumed run must keep it: its name, its value then and now."""
    yield from differing(saved, now, but={n for n, f in RunConfig.model_fields.items() if MayChange in f.metadata})
    if saved.is_fleet != now.is_fleet:  # robots may come and go, but a run of one keeps other things than a fleet
        yield "robots", saved.robots, now.robots


def differing(saved: RunConfig, now: RunConfig, *, but: Collection[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each setting that differs, but for some: its name, its value then and now."""
    was, given = (_leaves(config.model_dump(exclude=set(but))) for config in (saved, now))
    for name in was.keys() | given.keys():
        if was.get(name) != given.get(name):
            yield name, was.get(name), given.get(name)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return what is in mappings within mappings, by dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        leaves |= _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return leaves


def save_config(config: RunConfig, run: RunDirectory, *, model: str | None = None) -> None:
    """Write config.json: the complete configuration, the names of task and model, and what it ran with, and on."""
    about = {"task": config.task_name, "model": model, "versions": installed_versions(), **origin()}
    content = {"config": config.model_dump(mode="json"), **about}
    write_atomically(run.config, json.dumps(content, indent=2) + "\n")


def load_config(run: RunDirectory) -> RunConfig:
    """Return the configuration of a run.

    Raises:
        AgpsError: If config.json is damaged.
        ConfigError: If it was written by a version with other fields.
    """
    content = read_json_object(run.config)
    if not isinstance(content.get("config"), dict):
        raise AgpsError(f"{run.config} has no `config` object; it is damaged.")
    config = config_of(content, run.config)
    try:
        # A run of before it could be chosen was evaluated by its mean, on an arm too.
        return RunConfig.model_validate({"eval_acting": "mean", **config})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{run.config} does not fit this version: {field}: {first['msg']}.") from error
    except ConfigError as error:
        raise ConfigError(f"{run.config} does not fit: {error}") from error


def load_versions(run: RunDirectory) -> dict[str, str]:
    """Return the package versions that a run was made with; empty when none were saved."""
    saved = read_json_object(run.config)
    config_of(saved, run.config)
    return {name: str(version) for name, version in (saved.get("versions") or {}).items()}


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of each package whose version can change a result."""
    versions = {"python": platform.python_version()}
    for package in TESTED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
