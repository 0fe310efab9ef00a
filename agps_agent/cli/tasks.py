"""`agps tasks`: which tasks there are and where they come from; and the TASK argument that many commands share."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import tyro

from agps_agent.cli.options import UsageError, json_only_on_stdout, parse_options
from rl.errors import ConfigError
from rl.nearest import nearest

if TYPE_CHECKING:  # loads NumPy; `agps --help` does without
    from rl.tasks.base import Task

OptionsT = TypeVar("OptionsT")

TaskOptions = tyro.conf.Suppress[Mapping[str, Any]]
"""Type of the field `task_options` of a command: `parse_for_task` shows the options of the task in its place."""
_FLAG = "task-options"


@dataclass(frozen=True)
class TasksOptions:
    """List the tasks that there are: ours, and those of installed packages.

    A task needs no registration to be used: every command takes `package.module:Name` and `./file.py:Name` too.
    """

    task: tyro.conf.Positional[str | None] = None
    """One task, to see whether it is found and what it has. None: all that are registered."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps tasks`."""
    options = parse_options(TasksOptions, argv, prog="agps tasks")
    with json_only_on_stdout(options.json) as show:
        tasks = list(_registered() if options.task is None else _one(options.task))
        show({"tasks": tasks})
    if not options.json:
        for task in tasks:
            print("\n".join(_in_words(task)))
    return 0


def check_task(name: str) -> "type[Task]":
    """Return the class of a task.

    Raises:
        UsageError: If it does not exist, naming the tasks that do.
        ConfigError: If its code cannot be imported, or is not a task.
    """
    from rl.tasks.registry import TASKS, load_task

    if is_task(name):
        return load_task(name)
    close = nearest(name, TASKS.names)
    hint = f"did you mean {close}? " if close else ""
    raise UsageError(
        f"There is no task {name!r}; {hint}Tasks: {', '.join(TASKS.names)}. Others are named as package.module:Name or "
        "./file.py:Name."
    )


def is_task(name: str) -> bool:
    """Return whether a name is that of a registered task, or has the form of a reference to one."""
    from rl.registry import is_reference
    from rl.tasks.registry import TASKS

    return name in TASKS or (is_reference(name) and not name.startswith("-"))


def parse_for_task(
    options: type[OptionsT],
    argv: Sequence[str],
    *,
    prog: str,
    default: str | None = None,
    start: Callable[[str | None], OptionsT] | None = None,
    task_of: Callable[[OptionsT], str] = lambda options: options.task,  # type: ignore[attr-defined]
    spelled: Callable[[Sequence[str], OptionsT], Sequence[str]] = lambda argv, start: argv,
    groups: Mapping[str, Any] = MappingProxyType({}),
    common: Sequence[str] = (),
) -> OptionsT:
    """Return the options of a command that changes something about its task: `--task-options.<field>`.

    Only the fields of the task are options. Which argument is the task only the whole parse can tell: each that could
    be one is tried.

    Args:
        options: Dataclass with a field `task_options` of type `TaskOptions`.
        argv: Arguments after the command.
        prog: How the command is called, for the help.
        default: The task where none is named.
        start: Returns what to start from for a task; None: the defaults of the class.
        task_of: Returns the task that was parsed.
        spelled: Returns the arguments as the options are called, for what is started from.
        groups: Further fields that hold options by name, as `task_options` does, and the model of each.
        common: As in `parse_options`.

    Raises:
        UsageError: With one line, if an argument is unknown, missing or out of range.
        ConfigError: If the task cannot be imported.
    """
    refusals: list[ConfigError] = []
    candidates: list[str | None] = [*_candidates(argv)]
    for candidate in candidates if candidates and default is None else [*candidates, default]:
        try:
            given = None if start is None else start(candidate)
            told = argv if given is None else spelled(argv, given)
            parsed = _parse(options, told, candidate, given, prog, groups, common)
            if candidate is None or task_of(parsed) in (candidate, _reference(candidate)):
                return parsed
            check_task(task_of(parsed))
        except ConfigError as error:
            refusals.append(error)
    # What is no task at all may be somebody's algorithm: what is said of the real task comes first.
    raise min(refusals, key=lambda error: not isinstance(error, UsageError))


def _parse(
    options: type[OptionsT],
    argv: Sequence[str],
    task: str | None,
    start: OptionsT | None,
    prog: str,
    groups: Mapping[str, Any],
    common: Sequence[str],
) -> OptionsT:
    """Return the options where the task is a given one; None: it is unknown."""
    from agps_agent.run.field_options import options_model
    from rl.tasks.base import Task

    kind: Any = Task if task is None else check_task(task)
    _check_names(argv, kind, prog)
    models: dict[str, Any] = {"task_options": options_model(kind), **groups}
    shown = dataclasses.make_dataclass(
        options.__name__,
        [(name, model, field(default=model(), kw_only=True)) for name, model in models.items()],
        bases=(options,),
        frozen=True,
        namespace={"__doc__": options.__doc__},
    )
    default = (
        None if start is None else shown(**{**_fields(start), **{name: model() for name, model in models.items()}})
    )
    parsed: Any = parse_options(shown, argv, prog=prog, default=default, common=common)
    return options(**{**_fields(parsed), **{name: getattr(parsed, name).given() for name in models}})


def _check_names(argv: Sequence[str], kind: "type[Task]", prog: str) -> None:
    """Refuse options that the task does not have, with those that it has.

    Raises:
        UsageError: With the first one.
    """
    from agps_agent.run.field_options import has_option, no_such_option

    for argument in argv:
        name = argument.partition("=")[0].replace("-", "_").removeprefix(f"__{_FLAG}.".replace("-", "_"))
        if argument.replace("_", "-").startswith(f"--{_FLAG}.") and not has_option(kind, name.partition(".")[0]):
            error = no_such_option(kind, name, flag=_FLAG, name=getattr(kind, "name", "the task"))
            raise UsageError(f"{error} See `{prog} --help`.")


def _fields(options: Any) -> dict[str, Any]:
    return {each.name: getattr(options, each.name) for each in dataclasses.fields(options)}


def _candidates(argv: Sequence[str]) -> list[str]:
    """Return the arguments that could be the task, each once."""
    return list(dict.fromkeys(argument for argument in argv if is_task(argument)))


def _reference(task: str) -> str:
    from rl.tasks.registry import TASKS

    return TASKS.reference(task)


def _registered() -> Iterator[dict[str, Any]]:
    """Yield what is known of each registered task; of one that cannot be imported, why."""
    from rl.tasks.registry import TASKS, load_task

    for entry in TASKS:
        try:
            yield _described(load_task(entry.name), entry.origin)
        except ConfigError as error:
            yield {"name": entry.name, "origin": entry.origin, "error": str(error)}


def _one(name: str) -> Iterator[dict[str, Any]]:
    from rl.tasks.registry import TASKS

    kind = check_task(name)
    origins = {entry.name: entry.origin for entry in TASKS}
    yield _described(kind, origins.get(name, TASKS.reference(name)))


def _described(kind: "type[Task]", origin: str) -> dict[str, Any]:
    from prompts.loader import find_task_prompt
    from rl.tasks.base import SimulatedTask
    from rl.tasks.registry import make_task

    task = make_task(kind)
    prompt = find_task_prompt(kind)
    return {
        "name": kind.name,
        "origin": origin,
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "instruction": kind.instruction,
        "simulated": isinstance(task, SimulatedTask),
        "expert": isinstance(task, SimulatedTask) and task.expert() is not None,
        "prompt": None if prompt is None else str(prompt),
        "policy_cameras": [camera.name for camera in task.policy_cameras],
        "agent_cameras": [camera.name for camera in task.agent_cameras],
        "method": kind.recipe.method,
    }


def _in_words(task: Mapping[str, Any]) -> Iterator[str]:
    yield f"{task['name']}  ({task['origin']})"
    if "error" in task:
        yield f"    {task['error']}"
        return
    has = [
        "simulated" if task["simulated"] else "for a real table",
        "scripted expert" if task["expert"] else "no scripted expert",
        "words for the agent" if task["prompt"] else "no words for the agent",
    ]
    yield f"    {task['instruction']}"
    yield f"    {', '.join(has)}; cameras {', '.join(task['policy_cameras'])}; {task['class']}"
