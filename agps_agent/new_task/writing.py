"""Writes the package of a new task: what somebody edits until it is theirs, and what trains as it is."""

import keyword
import re
import shutil
from importlib.resources import files
from pathlib import Path
from string import Template

from rl.errors import AgpsError, ConfigError
from rl.tasks.registry import TASKS

FILES = {
    "pyproject.toml": "pyproject.toml.in",
    "README.md": "README.md.in",
    "$package/__init__.py": "init.py.in",
    "$package/task.py": "task.py.in",
    "$package/$name.md": "prompt.md.in",
    "tests/test_$name.py": "test.py.in",
}
"""What is written, and from which template."""


def write_task(name: str, parent: Path) -> list[Path]:
    """Write the package of a task into a new folder of its name; return the files, in the order of `FILES`.

    Args:
        name: Name of the task: lower-case letters, digits and _, as `ring_on_peg`.
        parent: Where the folder is made.

    Raises:
        ConfigError: If the name cannot be one or is taken, or the folder exists.
        AgpsError: If a file cannot be written; then none is.
    """
    _check_name(name)
    folder = parent / name
    if folder.exists():
        raise ConfigError(f"{folder} exists already; choose another name, or another place.")
    words = {
        "name": name,
        "dashed": name.replace("_", "-"),
        "package": f"agps_{name}",
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "title": name.replace("_", " ").capitalize(),
    }
    templates = files("agps_agent.new_task").joinpath("template")
    written = []
    try:
        for place, source in FILES.items():
            path = folder / Template(place).substitute(words)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = templates.joinpath(source).read_text(encoding="utf-8")
            path.write_text(Template(text).substitute(words), encoding="utf-8")
            written.append(path)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise AgpsError(f"Cannot write {folder}: {error.strerror}; make room, or choose another place.") from error
    return written


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ConfigError(f"{name!r} cannot name a task; use lower-case letters, digits and _, as in ring_on_peg.")
    if keyword.iskeyword(name):
        raise ConfigError(f"{name!r} is a word of Python, and cannot name a module; choose another name.")
    if name in TASKS:
        raise ConfigError(f"There is a task {name} already; choose another name.")
    if f"agps_{name}" == __name__.partition(".")[0]:  # it would be installed into ourselves
        raise ConfigError(f"AGPS's own package is called agps_{name}; choose another name.")
