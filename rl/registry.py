"""Names of what there is several of: tasks, algorithms, arms, rewards, detectors, tools, models.

Ours and everybody else's are found in the same way, as entry points of an installed package::

    [project.entry-points."agps.tasks"]
    peg_in_hole = "agps_peg_in_hole.task:PegInHole"

A program or a notebook registers without a package: `TASKS.register("peg_in_hole", PegInHole)`, or as a decorator.
Nothing is imported before it is asked for by name. `package.module:Name` and `./file.py:Name` need no registration; the
working directory is looked in last, as nobody has installed what lies there.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from rl.errors import ConfigError, words_of
from rl.nearest import did_you_mean

T = TypeVar("T")

_REFERENCE = re.compile(r"(.+\.py|[A-Za-z_]\w*(\.\w+)*):[A-Za-z_][\w.]*")

HERE = "this program"
"""Origin of what was registered without a package."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A registered name, and where it comes from."""

    name: str
    origin: str
    """Installed distribution and its version, or `this program`."""


def is_reference(name: str) -> bool:
    """Return whether a name has the form `package.module:Name` or `./file.py:Name`; nothing is looked for."""
    return _REFERENCE.fullmatch(name) is not None


class Registry(Generic[T]):
    """Finds things of one kind by name."""

    def __init__(self, group: str, what: str) -> None:
        """Make a registry.

        Args:
            group: Group of the entry points, such as `agps.tasks`.
            what: What one of them is called in messages, such as `task`.
        """
        self.group = group
        self.what = what
        self._registered: dict[str, T] = {}

    def register(self, name: str, value: T | None = None) -> Callable[[T], T]:
        """Register a value under a name; without the value: a decorator that does.

        Raises:
            ConfigError: If the name is taken by something else.
        """

        def keep(value: T) -> T:
            if self._registered.get(name, value) is not value or name in self._entry_points():
                raise ConfigError(f"There is a {self.what} {name!r} already; choose another name.")
            self._registered[name] = value
            return value

        if value is not None:
            keep(value)
        return keep

    def unregister(self, name: str) -> None:
        """Forget a name that was registered by this program."""
        self._registered.pop(name, None)

    @property
    def names(self) -> tuple[str, ...]:
        """Every registered name, ours first, in the order of their packages."""
        return tuple(entry.name for entry in self)

    def __iter__(self) -> Iterator[Entry]:
        """Yield what is registered; nothing is imported."""
        for name, point in self._entry_points().items():
            dist = point.dist
            yield Entry(name=name, origin="?" if dist is None else f"{dist.name} {dist.version}")
        for name in self._registered:
            yield Entry(name=name, origin=HERE)

    def __contains__(self, name: object) -> bool:
        """Whether a name is registered; `module:Name` is not."""
        return name in self._registered or name in self._entry_points()

    def load(self, name: str) -> T:
        """Return what a name stands for: a registered one, `package.module:Name` or `./file.py:Name`.

        Raises:
            ConfigError: If there is none, saying which there are; or if it cannot be imported, saying why.
        """
        if name in self._registered:
            return self._registered[name]
        point = self._entry_points().get(name)
        if point is not None:
            return self._imported(name, point.module, point.attr)
        module, colon, attribute = name.rpartition(":")
        if not colon:
            raise ConfigError(self._unknown(name))
        return self._imported(name, module, attribute)

    def reference(self, name: str) -> str:
        """Return the name of the same thing that holds in every working directory: what lies in this one, by its file.

        Raises:
            ConfigError: If it cannot be imported, saying why.
        """
        module, colon, attribute = name.rpartition(":")
        if name in self or not colon:
            return name
        self.load(name)
        if module.endswith(".py"):
            return f"{Path(module).expanduser().resolve()}:{attribute}"
        file, place = Path(sys.modules[module].__file__ or "").resolve(), Path.cwd().joinpath(*module.split("."))
        return f"{file}:{attribute}" if file in (place.with_suffix(".py"), place / "__init__.py") else name

    def _unknown(self, name: str) -> str:
        known = ", ".join(self.names) or "none; install AGPS with pip, its own are entry points"
        return (
            f"Unknown {self.what} {name!r}; known: {known}.{did_you_mean(name, self.names)} Others are named as "
            "package.module:Name or ./file.py:Name."
        )

    def _imported(self, name: str, module: str, attribute: str) -> T:
        try:
            value = load_reference(f"{module}:{attribute}")
        except (Exception, SystemExit) as error:  # somebody else's code: whatever it raises is theirs to mend
            raise ConfigError(f"Cannot import the {self.what} {name!r} ({words_of(error)}).") from error
        return value  # type: ignore[no-any-return]  # what is at the name; its user checks what it is

    def _entry_points(self) -> dict[str, EntryPoint]:
        found = _entry_points(self.group)
        return {point.name: point for point in found}


_LONE = "agps_file_"
"""What the names of modules begin with whose files are in no package."""


def _rank(point: EntryPoint) -> tuple[bool, str]:
    """Return where a name stands in lists: ours first, then by the alphabet, whatever wrote the package's file."""
    return point.dist is None or point.dist.name != "agps", point.name


_CACHE: dict[str, tuple[tuple[str, ...], tuple[EntryPoint, ...]]] = {}


def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, ours first; read again only when the search path has changed."""
    path = tuple(sys.path)
    if group not in _CACHE or _CACHE[group][0] != path:
        found = sorted(entry_points(group=group), key=_rank)
        _CACHE[group] = path, tuple(found)
    return _CACHE[group][1]


def load_reference(reference: str) -> Any:
    """Return what `package.module:Name` or `file.py:Name` names; raises whatever importing it does."""
    module, _, attribute = reference.rpartition(":")
    value: Any = _import_file(Path(module)) if module.endswith(".py") else _import_module(module)
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [name for name, one in vars(value).items() if isinstance(one, type) and name[0] != "_"]
            own = [name for name in names if getattr(value, name).__module__ == getattr(value, "__name__", None)]
            raise AttributeError(f"{module} has no attribute {part!r}; it has {', '.join(own) or 'no class'}")
        value = getattr(value, part)
    return value


def file_reference(kind: type[Any]) -> str | None:
    """Return `file.py:Name` of a class that came from a lone file: no other process can import its module by name."""
    if not kind.__module__.startswith(_LONE):
        return None
    return f"{sys.modules[kind.__module__].__file__}:{kind.__qualname__}"


def _import_module(module: str) -> ModuleType:
    """Return a module by its dotted name: an installed one, else one in the working directory."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        first = module.partition(".")[0]
        here = Path.cwd()
        if error.name != first or not ((here / first).is_dir() or (here / f"{first}.py").is_file()):
            raise
    _search_in(here)
    return importlib.import_module(module)


def _import_file(path: Path) -> ModuleType:
    """Return the module in a file: in its package if it is in one, else alone, with its folder importable for it."""
    path = path.expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    root, dotted = _dotted(path)
    _search_in(root)
    if "." not in dotted and path.name != "__init__.py":
        return _import_lone_file(path)
    module = importlib.import_module(dotted)
    if Path(module.__file__ or "").resolve() != path:
        raise ImportError(f"{dotted} is {module.__file__} already; give one of the two packages another name")
    return module


def _dotted(path: Path) -> tuple[Path, str]:
    """Return the folder that must be on the search path for a file's module, and the module's dotted name."""
    root, parts = path.parent, [] if path.name == "__init__.py" else [path.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    return root, ".".join(parts)


def _search_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: what is installed keeps its name


def _import_lone_file(path: Path) -> ModuleType:
    name = f"{_LONE}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_module(module: str) -> ModuleType:
    """Return the module of a dotted name or a file, as `Registry.load` finds it; raises whatever importing it does."""
    return _import_file(Path(module)) if module.endswith(".py") else _import_module(module)
