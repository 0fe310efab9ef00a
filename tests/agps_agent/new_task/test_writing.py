import os
import subprocess
import sys
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.new_task.writing import write_task
from rl.errors import AgpsError, ConfigError
from rl.tasks import load_task
from tests.outside import install

REPOSITORY = Path(__file__).parents[3]


def test_package_is_written_under_the_name(tmp_path: Path) -> None:
    written = [str(path.relative_to(tmp_path)) for path in write_task("open_lid", tmp_path)]
    assert written == [
        "open_lid/pyproject.toml",
        "open_lid/README.md",
        "open_lid/agps_open_lid/__init__.py",
        "open_lid/agps_open_lid/task.py",
        "open_lid/agps_open_lid/open_lid.md",
        "open_lid/tests/test_open_lid.py",
    ]
    assert not any("$" in path.read_text() for path in write_task("lid", tmp_path))


def test_installed_package_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task("open_lid", tmp_path)
    install(tmp_path / "open_lid", tmp_path / "site", monkeypatch)
    assert load_task("open_lid").__name__ == "OpenLid"


@pytest.mark.parametrize("name", ["Lid", "open-lid", "2_lids", "lid_", "../lid", ""])
def test_what_cannot_be_a_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a task; use lower-case letters, digits and _"):
        write_task(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_word_of_python_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'class' is a word of Python, and cannot name a module"):
        write_task("class", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_name_of_a_task_that_there_is_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is a task usb_insertion already"):
        write_task("usb_insertion", tmp_path)


def test_name_of_our_own_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="own package is called agps_agent; choose another name"):
        write_task("agent", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_disk_that_refuses_leaves_no_half_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *args: object, **options: object) -> int:
        if path.name == "task.py":
            raise OSError(28, "No space left on device")
        return write(path, *args, **options)  # type: ignore[arg-type]

    write = Path.write_text
    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(AgpsError, match="No space left on device; make room"):
        write_task("open_lid", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_exists_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "open_lid").mkdir()
    assert main(["new-task", "open_lid"]) == 2
    assert capsys.readouterr().err == "agps: open_lid exists already; choose another name, or another place.\n"
    assert list((tmp_path / "open_lid").iterdir()) == []


def test_written_code_is_clean_and_its_own_tests_pass(tmp_path: Path) -> None:
    """As somebody runs them: in another process, without what these tests set up."""
    write_task("open_lid", tmp_path)
    ruff = [Path(sys.executable).parent / "ruff", "check", "--config", REPOSITORY / "pyproject.toml", tmp_path]
    # Whose imports come last depends on whose repository it is.
    apart = ["--extend-ignore", "I001", "--extend-per-file-ignores", "test_*.py:D"]
    assert subprocess.run([*ruff, *apart], timeout=600).returncode == 0
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "open_lid"), str(REPOSITORY)])}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "open_lid")]
    told = subprocess.run(tests, env=where, cwd=tmp_path, capture_output=True, text=True, timeout=1_000)
    assert "3 passed" in told.stdout, told.stdout + told.stderr
