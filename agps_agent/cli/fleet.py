"""`agps fleet status RUN_DIR`: how the robots of a fleet are doing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from agps_agent.cli.options import json_only_on_stdout, parse_options, run_subcommand
from agps_agent.cli.progress_bar import robot_line
from rl.counting import counted
from rl.errors import AgpsError


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
        try:
            lines = _in_words(said)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise AgpsError(
                f"What the fleet in {options.run_dir} says of itself is damaged, or of another version ({error!r}); "
                "--json shows it as it is."
            ) from error
        print("\n".join(lines))
    return 0


def _in_words(said: Mapping[str, Any]) -> list[str]:
    lines = [f"{counted(len(said['robots']), 'robot')}, {said['age_s']:.0f} s ago:", *map(robot_line, said["robots"])]
    if pool := said["pool"]:
        lines.append(
            f"agents: {counted(pool['questions'], 'question')}, {counted(pool['model_calls'], 'model call')}, "
            f"{pool['memory_hits']} answered from memory, {pool['late']} too late, at work {pool['use']:.0%} of the "
            "time"
        )
    return lines


COMMANDS = {"status": (status, "how the robots are doing")}
