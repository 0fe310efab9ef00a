"""Files that a crash or a full disk leaves whole."""

import contextlib
import json
import os
import pickle
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl.errors import AgpsError, ConfigError

UNPICKLING = (
    OSError,
    EOFError,
    pickle.UnpicklingError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
)
"""What unpickling a damaged file raises."""


def quoted(word: Path | str | None) -> str:
    """Return a path, or another word, as a command in a message names it: whoever copies that into a shell runs it."""
    return shlex.quote(str(word))


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash or a full disk leaves either the old content or the new, never half.

    Half a character, as cut text has them, becomes a question mark.

    Raises:
        AgpsError: If it cannot be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode(errors="replace") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise AgpsError(f"Cannot write {path}: {error.strerror}; what was there before is unchanged.") from error


@contextmanager
def new_folder(folder: Path, *, purpose: str) -> Iterator[Path]:
    """Yield a hidden folder to fill; at the end it becomes `folder`, and where anything goes wrong it is deleted.

    Args:
        folder: Folder to make; an empty one may be there.
        purpose: What it is for, to say in a message.

    Raises:
        ConfigError: If the folder is in use.
        AgpsError: If the disk refuses.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} already exists; name another folder for {purpose}.")
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        unfinished.rename(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise AgpsError(f"Cannot save {folder}: {reason}; make room, or name another folder.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        AgpsError: If it cannot be read or is not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AgpsError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise AgpsError(f"{path} is not JSON ({error}); it is damaged.") from error
    if not isinstance(content, dict):
        raise AgpsError(f"{path} holds {type(content).__name__}, not an object; it is damaged.")
    return content
