"""Files that a crash or a full disk leaves whole."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from rl.errors import AgpsError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash or a full disk leaves either the old content or the new, never half.

    Raises:
        AgpsError: If it cannot be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise AgpsError(f"Cannot write {path}: {error.strerror}; what was there before is unchanged.") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        AgpsError: If it cannot be read or is not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AgpsError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise AgpsError(f"{path} is not JSON ({error}); it is damaged.") from error
    if not isinstance(content, dict):
        raise AgpsError(f"{path} holds {type(content).__name__}, not an object; it is damaged.")
    return content
