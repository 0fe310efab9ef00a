import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rl.ownership import LOCK, InUse, give_up, own, owner_of

OWNER = (
    "import sys, time; from pathlib import Path; from rl.ownership import own; "
    "own(Path(sys.argv[1])); print('mine', flush=True); time.sleep(60)"
)


def test_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    descriptor = own(tmp_path)
    with pytest.raises(InUse, match=f"in use by process {os.getpid()}"):
        own(tmp_path)
    give_up(tmp_path, descriptor)
    give_up(tmp_path, own(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_folder_is_free_again_when_its_owner_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "mine\n"
        with pytest.raises(InUse, match=f"in use by process {process.pid}"):
            own(tmp_path)
        process.kill()
        process.wait()
    assert (tmp_path / LOCK).read_text() == f"{process.pid}\n"  # left behind, and nobody minds
    give_up(tmp_path, own(tmp_path))


def test_folder_that_was_deleted_and_made_anew_is_left_to_its_new_owner(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    old = own(folder)
    (folder / LOCK).unlink()
    folder.rmdir()
    new = own(folder)
    give_up(folder, old)
    with pytest.raises(InUse):
        own(folder)
    give_up(folder, new)


def test_owner_is_told_to_who_asks(tmp_path: Path) -> None:
    assert owner_of(tmp_path / "nowhere") is None and owner_of(tmp_path) is None
    descriptor = own(tmp_path)
    assert owner_of(tmp_path) == str(os.getpid())
    give_up(tmp_path, descriptor)
    (tmp_path / LOCK).touch()  # as an owner that was killed leaves it
    assert owner_of(tmp_path) is None


def test_folder_that_is_only_looked_at_is_not_in_use(tmp_path: Path) -> None:
    looking = os.open(tmp_path / LOCK, os.O_CREAT | os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)  # as `owner_of` does for an instant
    end = threading.Timer(0.1, os.close, (looking,))
    end.start()
    give_up(tmp_path, own(tmp_path))
    end.join()
