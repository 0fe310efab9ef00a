"""pyarrow and PyAV, imported only when a dataset is written or read."""

import importlib
from typing import Any

from rl.errors import ConfigError


def load_arrow() -> Any:
    """Return the module `pyarrow`, with `pyarrow.compute` and `pyarrow.parquet` loaded.

    Raises:
        ConfigError: If it is not installed, or does not load.
    """
    for part in ("pyarrow.compute", "pyarrow.parquet"):
        _load(part)
    return _load("pyarrow")


def load_av() -> Any:
    """Return the module `av` (PyAV).

    Raises:
        ConfigError: If it is not installed, or does not load.
    """
    return _load("av")


def _load(name: str) -> Any:
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ConfigError(f"{package} is not installed; run `pip install 'agps[lerobot]'`.") from None
    except ImportError as error:
        raise ConfigError(f"{package} does not load: {error}; reinstall it for this Python.") from error
