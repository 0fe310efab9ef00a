"""Experiments by name: those that ship, as TOML files beside this one, and anybody's own."""

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from agps_agent.measure.experiments.declaration import Experiment
from agps_agent.measure.experiments.measurement import MEASURES, Measurement
from rl.errors import ConfigError
from rl.nearest import did_you_mean

PACKAGE = "agps_agent.measure.experiments"
"""Where the experiments lie that ship."""
SUFFIX = ".toml"


@cache
def declared_names() -> tuple[str, ...]:
    """Return the names of all experiments that ship."""
    entries = files(PACKAGE).iterdir()
    return tuple(sorted(entry.name.removesuffix(SUFFIX) for entry in entries if entry.name.endswith(SUFFIX)))


def experiment_names() -> list[str]:
    """Return the names of those that train."""
    return [name for name in declared_names() if isinstance(load_declared(name), Experiment)]


def measurement_names() -> list[str]:
    """Return the names of those that measure what others have trained."""
    return [name for name in declared_names() if isinstance(load_declared(name), Measurement)]


def load_experiment(name: str) -> Experiment:
    """Return an experiment that trains.

    Raises:
        ConfigError: If there is none, it is not what an experiment is, or it trains nothing.
    """
    declared = load_declared(name)
    if isinstance(declared, Measurement):
        raise ConfigError(f"{name} trains nothing: it measures runs of {declared.runs_of}; name that one.")
    return declared


def load_measurement(name: str) -> Measurement:
    """Return an experiment that measures runs of another.

    Raises:
        ConfigError: If there is none, it is not what an experiment is, or it trains.
    """
    declared = load_declared(name)
    if isinstance(declared, Experiment):
        raise ConfigError(f"{name} trains, and measures no runs of another; {', '.join(measurement_names())} do.")
    return declared


def load_declared(name: str) -> Experiment | Measurement:
    """Return an experiment by its name, or by the path of a TOML file.

    Raises:
        ConfigError: If there is none, or it is not what an experiment is.
    """
    if not name.endswith(SUFFIX):
        known = declared_names()
        if name not in known:
            raise ConfigError(
                f"There is no experiment {name!r}; there are {', '.join(known)}, and FILE.toml names one of your own."
                f"{did_you_mean(name, known)}"
            )
        return _parsed(files(PACKAGE).joinpath(name + SUFFIX).read_text(encoding="utf-8"), name, where=name)
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"There is no file {path}; `agps reproduce` lists the experiments that ship.") from None
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}; name a TOML file.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8; an experiment is a TOML file.") from error
    return _parsed(text, path.stem, where=str(path))


def _parsed(text: str, name: str, *, where: str) -> Experiment | Measurement:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not TOML: {error}.") from None
    if "name" in content:
        raise ConfigError(f"{where}: name is what the file is called; leave it out.")
    kind: type[Experiment] | type[Measurement] = Measurement if MEASURES in content else Experiment
    try:
        return kind.model_validate({**content, "name": name})
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_complaint(error, content)}") from None


def _first_complaint(error: ValidationError, content: dict[str, object]) -> str:
    """Return the first thing that is wrong in one sentence, a cell or condition called by its name."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    parts = content.get(place[0]) if place else None
    if place[:1] in (["cells"], ["conditions"]) and place[1:2] and place[1].isdecimal() and isinstance(parts, list):
        part = parts[int(place[1])]
        called = part.get("name") if isinstance(part, dict) else None
        place = [f"{place[0].removesuffix('s')} {called or f'number {int(place[1]) + 1}'}", *place[2:]]
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    said = {"Field required": "is missing", "Extra inputs are not permitted": "is nothing that is known here"}.get(
        said, said
    )
    return f"{': '.join(place)}{': ' if place and not said.startswith('is ') else ' '}{said}.".lstrip()
