"""Imports go down only: cli -> report, measure, doctor, fleet -> run -> the agent -> prompts -> tools -> rl."""

import ast
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import agps_agent
import rl
import tools

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("agps_agent", "tools", "prompts", "rl")
FILES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))

BACKENDS = ("rl.robots", "rl.envs")
"""What drives an arm: only what runs or measures one may touch it from outside of `rl`."""
STATION = "rl.robots.station"
"""What describes an arm: anybody may read it."""
MODEL_CODE = ("langchain", "langgraph", "chromadb", "openai")
ROOMS = (
    ("agps_agent.cli", 6),
    ("agps_agent.doctor", 5),
    ("agps_agent.fleet", 5),
    ("agps_agent.measure", 5),
    ("agps_agent.report", 5),
    ("agps_agent.run", 4),
    ("agps_agent", 3),
    ("prompts", 2),
    ("tools", 1),
    ("rl", 0),
)
"""The floors of the house (DESIGN section 3): folders, and how high each lies."""
RUNS_ARMS = ("agps_agent/cli/", "agps_agent/doctor/", "agps_agent/fleet/", "agps_agent/measure/", "agps_agent/run/")
"""Folders that build whole set-ups to train, try or measure them."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LONGEST_FUNCTION = 60
"""Lines from `def` to the end, documentation included."""


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def files_outside(*folders: str) -> list[Path]:
    """Every source file of ours that is not in one of some folders or files."""
    return [path for path in FILES if not relative(path).startswith(folders)]


def layer(name: str) -> int | None:
    """Height of a module; None for what is not ours."""
    return next((height for room, height in ROOMS if name == room or name.startswith(f"{room}.")), None)


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_import_goes_up(path: Path) -> None:
    own = layer(module_name(path))
    assert own is not None
    upward = [name for name in imports(ast.parse(path.read_text())) if (layer(name) or 0) > own]
    assert upward == []


def folder(name: str) -> str:
    """Folder in which a module lies; what an import names beyond the module is left out."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]


def test_no_folders_import_each_other_in_a_circle() -> None:
    uses: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        ours = (other for other in imports(ast.parse(path.read_text())) if layer(other) is not None)
        uses.setdefault(folder(name), set()).update(folder(other) for other in ours)
    TopologicalSorter({room: used - {room} for room, used in uses.items()}).prepare()  # raises CycleError with the way


@pytest.mark.parametrize("path", files_outside("agps_agent", "tools", "prompts"), ids=relative)
def test_learning_code_knows_no_language_model(path: Path) -> None:
    names = imports(ast.parse(path.read_text()))
    assert [name for name in names if name.startswith(("agps_agent", "tools", "prompts", *MODEL_CODE))] == []


@pytest.mark.parametrize("path", files_outside("rl/", *RUNS_ARMS), ids=relative)
def test_only_what_runs_an_arm_touches_backends(path: Path) -> None:
    touched = [module for module in imports(ast.parse(path.read_text())) if module.startswith(BACKENDS)]
    assert [module for module in touched if not module.startswith(STATION)] == []


@pytest.mark.parametrize("path", files_outside("agps_agent/cli/"), ids=relative)
def test_nothing_prints_outside_the_command_line(path: Path) -> None:
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_function_is_longer_than_60_lines(path: Path) -> None:
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, FUNCTIONS))
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("module", [agps_agent, tools, rl])
def test_generic_names_are_our_packages(module: object) -> None:
    file = getattr(module, "__file__", None)
    assert file is not None and Path(file).resolve().is_relative_to(REPOSITORY)


def test_every_package_is_listed_for_installation() -> None:
    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {module_name(path) for path in FILES if path.name == "__init__.py"}
    assert set(listed) == found
