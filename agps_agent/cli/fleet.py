"""`agps fleet status RUN_DIR`: how the robots of a fleet are doing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from agps_agent.cli.options import json_only_on_stdout, parse_options, run_subcommand
from agps_agent.cli.progress_bar import robot_line


@dataclass(frozen=True)
class StatusOptions:
    """Say how the robots of a fleet are doing: steps, success, waiting, period, age of their weights."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps fleet`."""
    return run_subcommand("agps fleet", "Robots that learn one policy together.", COMMANDS, argv)


def status(argv: Sequence[str]) -> int:
    """Run `agps fleet status`."""
    options = parse_options(StatusOptions, argv, prog="agps fleet status")
    from agps_agent.fleet.status import read_status

    with json_only_on_stdout(options.json) as show:
        said = read_status(options.run_dir)
        show(said)
    if not options.json:
        print(f"{len(said['robots'])} robots, {said['age_s']:.0f} s ago:")
        for row in said["robots"]:
            print(robot_line(row))
        if said["pool"]:
            pool = said["pool"]
            print(
                f"agents: {pool['questions']} questions, {pool['model_calls']} model calls, {pool['memory_hits']} "
                f"answered from memory, {pool['late']} too late, at work {pool['use']:.0%} of the time"
            )
    return 0


COMMANDS = {"status": (status, "how the robots are doing")}
