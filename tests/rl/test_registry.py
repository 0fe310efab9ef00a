import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rl.errors import ConfigError
from rl.registry import HERE, Registry, is_reference


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[type]]:
    """A registry into which an installed package, made here, brings a square and a broken circle."""
    package = tmp_path / "site"
    meta = package / "shapely_pegs-1.2.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: shapely-pegs\nVersion: 1.2\n")
    (meta / "entry_points.txt").write_text("[test.shapes]\nsquare = pegs:Square\ncircle = pegs:Circle\n")
    (package / "pegs.py").write_text("class Square:\n    corners = 4\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(package)])
    yield Registry("test.shapes", "shape")
    sys.modules.pop("pegs", None)


def test_installed_package_brings_names_and_nothing_is_imported_to_list_them(shapes: Registry[type]) -> None:
    assert [(entry.name, entry.origin) for entry in shapes] == [
        ("circle", "shapely-pegs 1.2"),
        ("square", "shapely-pegs 1.2"),
    ]
    assert "pegs" not in sys.modules


def test_name_of_an_installed_package_loads(shapes: Registry[type]) -> None:
    assert shapes.load("square").corners == 4  # type: ignore[attr-defined]


def test_name_whose_code_is_broken_says_why(shapes: Registry[type]) -> None:
    with pytest.raises(ConfigError, match="Cannot import the shape 'circle'.*has no attribute 'Circle'"):
        shapes.load("circle")


def test_wrong_name_says_which_there_are(shapes: Registry[type]) -> None:
    with pytest.raises(ConfigError, match="Unknown shape 'sqare'; known: circle, square"):
        shapes.load("sqare")


def test_program_registers_by_decorator(shapes: Registry[type]) -> None:
    @shapes.register("line")
    class Line:
        pass

    assert shapes.load("line") is Line
    assert [entry.origin for entry in shapes if entry.name == "line"] == [HERE]
    shapes.unregister("line")
    assert "line" not in shapes


@pytest.mark.parametrize("taken", ["square", "line"])
def test_taken_name_is_refused(shapes: Registry[type], taken: str) -> None:
    shapes.register("line", int)
    with pytest.raises(ConfigError, match=f"There is a shape '{taken}' already"):
        shapes.register(taken, float)


def test_module_and_name_need_no_registration(shapes: Registry[type]) -> None:
    assert shapes.load("pegs:Square").corners == 4  # type: ignore[attr-defined]


def test_file_and_name_need_no_package(shapes: Registry[type], tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("SIDES = 6\n")
    file = tmp_path / "hexagon.py"
    file.write_text("from beside import SIDES\nclass Hexagon:\n    corners = SIDES\n")
    loaded = shapes.load(f"{file}:Hexagon")
    assert loaded.corners == 6  # type: ignore[attr-defined]
    assert shapes.load(f"{file}:Hexagon") is loaded


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("./nowhere.py:Hexagon", "there is no file .*nowhere.py"),
        ("no_such_package.shapes:Hexagon", "No module named 'no_such_package'"),
        ("pegs:Hexagon", "has no attribute 'Hexagon'; it has Square"),
    ],
)
def test_reference_that_leads_nowhere_says_why(shapes: Registry[type], name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        shapes.load(name)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a package that nobody has installed, and a file beside it."""
    package = tmp_path / "lab_shapes"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sides.py").write_text("SIDES = 8\n")
    (package / "octagon.py").write_text("from .sides import SIDES\nclass Octagon:\n    corners = SIDES\n")
    (tmp_path / "lone.py").write_text("class Point:\n    corners = 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("lab_shapes", "lab_shapes.sides", "lab_shapes.octagon"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["lab_shapes.octagon:Octagon", "./lab_shapes/octagon.py:Octagon"])
def test_package_in_the_working_directory_is_found_with_its_relative_imports(
    shapes: Registry[type], here: Path, name: str
) -> None:
    assert shapes.load(name).corners == 8  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["lab_shapes.octagon:Octagon", "lab_shapes/octagon.py:Octagon", "lone.py:Point"])
def test_reference_holds_in_another_working_directory(
    shapes: Registry[type], here: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = shapes.reference(name)
    loaded = shapes.load(name)
    monkeypatch.chdir("/")
    assert reference.startswith(f"{here}/")
    assert shapes.load(reference) is loaded


@pytest.mark.parametrize("name", ["square", "pegs:Square", "nonsense"])
def test_reference_to_what_is_installed_is_its_name(shapes: Registry[type], name: str) -> None:
    assert shapes.reference(name) == name


def test_file_of_a_package_whose_name_is_taken_is_refused(shapes: Registry[type], here: Path) -> None:
    shapes.load("lab_shapes.octagon:Octagon")
    other = here / "elsewhere" / "lab_shapes"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "octagon.py").write_text("class Octagon:\n    corners = 9\n")
    with pytest.raises(ConfigError, match="lab_shapes.octagon is .*already; give one of the two packages another name"):
        shapes.load(f"{other}/octagon.py:Octagon")


def test_file_that_ends_the_program_is_refused(shapes: Registry[type], here: Path) -> None:
    (here / "script.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(ConfigError, match="Cannot import the shape './script.py:Main' .SystemExit: 3."):
        shapes.load("./script.py:Main")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("./my_task.py:MyTask", True),
        ("my_package.my_task:MyTask", True),
        ("a:B.c", True),
        ("peg_in_hole", False),
        ("http://localhost:8000/v1", False),
        ("127.0.0.1:9", False),
        (":Name", False),
    ],
)
def test_reference_is_known_by_its_form(name: str, is_one: bool) -> None:
    assert is_reference(name) is is_one
