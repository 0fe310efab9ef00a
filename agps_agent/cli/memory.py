"""`agps memory list RUN_DIR`: what the agent remembers, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from agps_agent.cli.options import json_only_on_stdout, parse_options, run_subcommand
from agps_agent.runs import RunDirectory, read_json_object


@dataclass(frozen=True)
class ListOptions:
    """List the records in the memory of a run."""

    run_dir: tyro.conf.Positional[Path]
    """Run directory."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps memory`."""
    commands = {"list": (_list, "list what the agent of a run remembers")}
    return run_subcommand("agps memory", "The agent's episodic memory.", commands, argv)


def _list(argv: Sequence[str]) -> int:
    options = parse_options(ListOptions, argv, prog="agps memory list")
    directory = RunDirectory.open(options.run_dir)
    task = str(read_json_object(directory.config).get("config", {}).get("task", ""))
    from agps_agent.build import build_encoder
    from tools.memory import EpisodicMemory

    with EpisodicMemory(directory.memory, dim=build_encoder().dim, task=task) as memory:
        records = [
            {
                "id": record.id,
                "mode": record.mode,
                "episode": record.episode,
                "success": record.success,
                "uses": record.uses,
                "failures": record.failures,
                "target": record.target_label,
                "target_mm": None if record.aim is None else [round(1000 * float(v), 1) for v in record.aim],
            }
            for record in memory.records()
        ]
    with json_only_on_stdout(options.json) as show:
        show({"task": task, "records": records})
    if not options.json:
        print(f"{len(records)} records of {task} in {directory.memory}")
        for record in records:
            outcome = "open" if record["success"] is None else "worked" if record["success"] else "failed"
            where = f"{record['target']} at {record['target_mm']} mm" if record["target_mm"] else ""
            print(f"  {record['id']:<14} {record['mode']:<6} rollout {record['episode']:<5} {outcome:<7} {where}")
    return 0
