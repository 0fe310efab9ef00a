"""What a running fleet says of itself, from its run directory: nobody needs to join the cluster to look."""

import time
from pathlib import Path
from typing import Any

from agps_agent.fleet.training import STATUS
from rl.errors import AgpsError, ConfigError
from rl.files import quoted, read_json_object


def read_status(path: Path) -> dict[str, Any]:
    """Return the robots and the pool of a run as they were said last, and how long ago that was, `age_s`.

    Raises:
        ConfigError: If the run is no fleet's, or has not begun.
        AgpsError: If the file is damaged.
    """
    file = path / "fleet" / STATUS
    if not file.is_file():
        raise ConfigError(
            f"There is no fleet in {path}: `agps train TASK --robots N --run-dir {quoted(path)}` starts one, and says "
            "how it goes once its learner has begun."
        )
    status = read_json_object(file)
    at = status.get("at", 0.0)
    if not isinstance(at, int | float):
        raise AgpsError(f"{file}: at is {at!r}, no time; it is damaged, or of another version.")
    return {**status, "age_s": max(0.0, time.time() - at)}
