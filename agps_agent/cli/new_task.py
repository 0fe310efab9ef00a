"""`agps new-task NAME`: a package with a task of one's own, which trains as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from agps_agent.cli.options import json_only_on_stdout, parse_options


@dataclass(frozen=True)
class NewTaskOptions:
    """Write a package with a small task, a button that is pressed, to make your own of: scene, words, plan and test."""

    name: tyro.conf.Positional[str]
    """Name of the task: lower-case letters, digits and _, as ring_on_peg."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps new-task`."""
    options = parse_options(NewTaskOptions, argv, prog="agps new-task")
    from agps_agent.new_task.writing import write_task

    written = write_task(options.name, Path())
    with json_only_on_stdout(options.json) as show:
        show({"task": options.name, "folder": options.name, "files": [str(path) for path in written]})
    if not options.json:
        print("\n".join(map(str, written)))
        print(f"Next: pip install -e {options.name}, then agps keypoints mark {options.name}")
    return 0
