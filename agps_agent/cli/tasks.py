"""The TASK argument that many commands share."""

from difflib import get_close_matches

from agps_agent.cli.options import UsageError


def check_task(name: str) -> None:
    """Refuse a task that does not exist.

    Raises:
        UsageError: Naming the tasks that do.
    """
    from rl.tasks import TASK_NAMES

    if name in TASK_NAMES:
        return
    close = get_close_matches(name, TASK_NAMES, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UsageError(f"There is no task {name!r}; {hint}Tasks: {', '.join(TASK_NAMES)}.")
