"""The one root of every error that this project raises on purpose, and the words of somebody else's."""

import traceback
from pathlib import Path


class AgpsError(Exception):
    """An error with one clear sentence: the value, the limit, what to do."""


class HardwareFault(AgpsError):
    """The arm or a camera failed: it has been stopped before this was raised."""


class ConfigError(AgpsError):
    """A request that cannot be carried out as it was asked for."""


class NotFinite(AgpsError):
    """An observation, a reward, an action, a loss or a weight is no finite number: going on would poison the rest."""


class EnvironmentFailed(AgpsError):
    """Somebody else's environment raised an error of its own."""


def words_of(error: BaseException) -> str:
    """Return kind and message of somebody else's error; where it has no message, file and line that raised it."""
    kind, said = type(error).__name__, str(error).strip()
    if said:
        return f"{kind}: {said}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{kind} in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else kind
