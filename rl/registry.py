"""Names of what there is several of: tasks, algorithms, arms, rewards, detectors, tools, models.

Ours and everybody else's are found in the same way, as entry points of an installed package::

    [project.entry-points."agps.tasks"]
    peg_in_hole = "agps_peg_in_hole.task:PegInHole"

A program or a notebook registers without a package: `TASKS.register("peg_in_hole", PegInHole)`, or as a decorator.
Nothing is imported before it is asked for by name. `package.module:Name` and `./file.py:Name` need no registration.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from rl.errors import ConfigError

T = TypeVar("T")

HERE = "this program"
"""Origin of what was registered without a package."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A registered name, and where it comes from."""

    name: str
    origin: str
    """Installed distribution and its version, or `this program`."""


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

    def _unknown(self, name: str) -> str:
        known = ", ".join(self.names) or "none; install AGPS with pip, its own are entry points"
        return (
            f"Unknown {self.what} {name!r}; known: {known}. Others are named as package.module:Name or ./file.py:Name."
        )

    def _imported(self, name: str, module: str, attribute: str) -> T:
        try:
            value: Any = _import_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
            for part in attribute.split("."):
                value = getattr(value, part)
        except Exception as error:  # somebody else's code runs here: whatever it raises is theirs to mend
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"Cannot import the {self.what} {name!r} ({reason}).") from error
        return value  # type: ignore[no-any-return]  # what is at the name; its user checks what it is

    def _entry_points(self) -> dict[str, EntryPoint]:
        found = _entry_points(self.group)
        return {point.name: point for point in found}


_CACHE: dict[str, tuple[tuple[str, ...], tuple[EntryPoint, ...]]] = {}


def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, ours first; read again only when the search path has changed."""
    path = tuple(sys.path)
    if group not in _CACHE or _CACHE[group][0] != path:
        found = sorted(entry_points(group=group), key=lambda point: point.dist is None or point.dist.name != "agps")
        _CACHE[group] = path, tuple(found)
    return _CACHE[group][1]


def _import_file(path: Path) -> ModuleType:
    """Return the module in a file that is in no package; its own folder is importable for it, as for a script."""
    path = path.expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    name = f"agps_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
