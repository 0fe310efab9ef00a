"""`agps memory list|show|rebuild|forget`: what the agent remembers, what came of it, and repairs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from agps_agent.cli.options import json_only_on_stdout, parse_options, run_subcommand
from agps_agent.cli.tasks import check_task, is_task
from agps_agent.run.directory import RunDirectory
from agps_agent.run.rows import config_of
from rl.counting import counted
from rl.errors import ConfigError
from rl.files import read_json_object

if TYPE_CHECKING:
    from tools.memory import EpisodicMemory, MemoryRecord


@dataclass(frozen=True)
class ListOptions:
    """List what is remembered; a run may be using it meanwhile."""

    folder: tyro.conf.Positional[Path]
    """Run directory, or a folder that runs were given with --memory."""
    task: str | None = None
    """Task; needed where a folder remembers several."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class RecordOptions:
    """Show one record with everything that is known of it, or forget it."""

    folder: tyro.conf.Positional[Path]
    """Run directory, or a folder that runs were given with --memory."""
    record: tyro.conf.Positional[str]
    """Id of the record, as `agps memory list` prints it."""
    task: str | None = None
    """Task; needed where a folder remembers several."""


@dataclass(frozen=True)
class RebuildOptions:
    """Build the index again from the log; with a Chroma server, send every record of this log again."""

    folder: tyro.conf.Positional[Path]
    """Run directory, or a folder that runs were given with --memory."""
    task: str | None = None
    """Task; needed where a folder remembers several."""


@dataclass(frozen=True)
class _Place:
    """Where a memory is."""

    directory: Path
    task: str
    server: str | None

    def records(self) -> "tuple[MemoryRecord, ...]":
        from tools.memory import read_records

        return read_records(self.directory, self.task)

    def record(self, name: str) -> "MemoryRecord":
        """Return one record.

        Raises:
            ConfigError: If there is none of this id.
        """
        for record in self.records():
            if record.id == name:
                return record
        raise ConfigError(f"The memory {self.directory} holds no record {name!r}; `agps memory list` names all.")

    def open(self) -> "EpisodicMemory":
        """Open it for changes: there is one owner at a time."""
        from tools.memory import EpisodicMemory

        records = self.records()
        if not records:
            raise ConfigError(f"{self.directory} remembers nothing of {self.task}.")
        return EpisodicMemory(self.directory, len(records[0].embedding), self.task, server=self.server)


def run(argv: Sequence[str]) -> int:
    """Run `agps memory`."""
    commands = {
        "list": (_list, "list what is remembered"),
        "show": (_show, "show one record"),
        "rebuild": (_rebuild, "build the index again from the log"),
        "forget": (_forget, "forget one record"),
    }
    return run_subcommand("agps memory", "The agent's episodic memory.", commands, argv)


def _list(argv: Sequence[str]) -> int:
    options = parse_options(ListOptions, argv, prog="agps memory list")
    place = _find(options.folder, options.task)
    with json_only_on_stdout(options.json) as show:
        records = [_summary(record) for record in place.records()]
        show({"task": place.task, "records": records})
    if not options.json:
        print(f"{counted(len(records), 'record')} of {place.task} in {place.directory}")
        for record in records:
            outcome = "open" if record["success"] is None else "worked" if record["success"] else "failed"
            where = ", ".join(f"{label} at {mm} mm" for label, mm in record["targets_mm"].items())
            where += f" ({record['ended']})" if record["ended"] else ""
            print(f"  {record['id']:<14} {record['mode']:<6} rollout {record['episode']:<5} {outcome:<7} {where}")
    return 0


def _show(argv: Sequence[str]) -> int:
    options = parse_options(RecordOptions, argv, prog="agps memory show")
    place = _find(options.folder, options.task)
    print(json.dumps(_described(place.record(options.record)), indent=2))
    return 0


def _rebuild(argv: Sequence[str]) -> int:
    options = parse_options(RebuildOptions, argv, prog="agps memory rebuild")
    place = _find(options.folder, options.task)
    with place.open() as memory:
        memory.rebuild()
        print(f"The index of {counted(len(memory), 'record')} of {place.task} was built again.")
    return 0


def _forget(argv: Sequence[str]) -> int:
    options = parse_options(RecordOptions, argv, prog="agps memory forget")
    place = _find(options.folder, options.task)
    place.record(options.record)  # refuses before anything is opened for changes
    with place.open() as memory:
        memory.forget(options.record)
        print(f"{options.record} is forgotten; {counted(len(memory), 'record')} of {place.task} left.")
    return 0


def _find(folder: Path, task: str | None) -> _Place:
    """Return the memory of a run, or in a folder.

    Raises:
        ConfigError: If there is none, or it is not clear which.
    """
    if (folder / "config.json").is_file():
        run = RunDirectory.open(folder)
        saved = read_json_object(run.config)
        config = config_of(saved, run.config)
        memory = config.get("memory")
        server = memory if memory and "://" in memory else None
        directory = run.memory if memory is None or server else Path(memory)
        own = str(saved.get("task") or config.get("task", ""))
        if task is not None and _name_of(task) not in (own, *_remembered(directory)):
            raise ConfigError(f"{directory} remembers nothing of {_name_of(task)}; the run is of {own}.")
        return _Place(directory, own if task is None else _name_of(task), server)
    task = None if task is None else _name_of(task)
    tasks = _remembered(folder)
    if not tasks:
        raise ConfigError(f"{folder} is neither a run directory nor a memory; name one that `agps train` wrote.")
    if task is None and len(tasks) > 1:
        raise ConfigError(f"{folder} remembers {', '.join(tasks)}; choose one with --task.")
    if task is not None and task not in tasks:
        raise ConfigError(f"{folder} remembers nothing of {task}; it has {', '.join(tasks)}.")
    return _Place(folder, task or tasks[0], None)


def _remembered(folder: Path) -> list[str]:
    """Return the tasks that a memory knows something of."""
    return sorted(log.stem for log in folder.glob("*.jsonl"))


def _name_of(task: str) -> str:
    """Return the name under which a task is remembered."""
    return check_task(task).name if is_task(task) else task


def _summary(record: "MemoryRecord") -> dict[str, Any]:
    return {
        "id": record.id,
        "mode": record.mode,
        "model": record.model,
        "episode": record.episode,
        "success": record.success,
        "uses": record.uses,
        "failures": record.failures,
        "ended": record.ended,
        "targets_mm": {
            label: [round(1000 * float(v), 1) for v in target.aim] for label, target in record.targets.items()
        },
    }


def _described(record: "MemoryRecord") -> dict[str, Any]:
    """Return everything that is known of a record, the numbers of embedding and patches left out."""
    from tools.memory.record import to_json

    described = to_json(record)
    for target in described["targets"].values():
        if (patch := target["patch"]) is not None:
            target["patch"] = f"{patch['side']} x {patch['side']} px of {patch['camera']}"
    return {**described, "embedding": f"{len(record.embedding)} numbers"}
