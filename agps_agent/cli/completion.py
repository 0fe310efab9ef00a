"""`agps completion bash|zsh`: the script that completes commands, options, tasks and other names. tyro writes it.

tyro completes commands, options and choices, no positional arguments. So a task is a command here, whose options are
the command's and the task's own; and names that anybody may add to, which are plain text elsewhere, are choices.
"""

import contextlib
import copy
import dataclasses
import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tyro

from agps_agent.cli.options import Described, describe, parse_options
from agps_agent.cli.short_help import first_sentence, flat_fields, is_positional, positional_fields

Run = Callable[[Sequence[str]], int]
_COMMAND = tyro.conf.arg(name="")
_BASH = """
# Where nothing fits there may be a file or a folder, such as a run directory.
_agps() {
  _tyro_agps
  [[ -n "${COMPREPLY[*]}" ]] || COMPREPLY=()
}
complete -o default -F _agps agps
"""
_ZSH_CALL = '_tyro_agps "$@"\n'
_ZSH = """# As a file `_agps` on $fpath zsh calls it; in ~/.zshrc it is registered.
if [[ "${funcstack[1]}" == _agps ]]; then
  _tyro_agps "$@"
elif (( $+functions[compdef] )); then
  compdef _tyro_agps agps
fi
"""


@dataclass(frozen=True)
class CompletionOptions:
    """Print what lets a shell complete `agps`: commands, options, the names of tasks and of whatever else is installed.

    Write it to a file once, and again after something was installed; a line in ~/.bashrc or ~/.zshrc reads it.
    bash: `agps completion bash > ~/.agps.bash`, then the line `source ~/.agps.bash`. zsh: `agps completion zsh >
    ~/.agps.zsh`, then `source ~/.agps.zsh` below the line with compinit.
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh"]]
    """Shell."""


def run(argv: Sequence[str]) -> int:
    """Run `agps completion`."""
    options = parse_options(CompletionOptions, argv, prog="agps completion")
    print(script(options.shell), end="")
    return 0


def script(shell: Literal["bash", "zsh"]) -> str:
    """Return the script of a shell."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(_commands(), args=["--tyro-print-completion", shell], prog="agps")
    text = printed.getvalue().rstrip("\n") + "\n"
    return text + _BASH if shell == "bash" else text.removesuffix(_ZSH_CALL) + _ZSH


def _commands() -> Any:
    from agps_agent.cli.main import COMMANDS

    runs: dict[str, Run] = {
        name: importlib.import_module(f"agps_agent.cli.{module}").run for name, (module, _) in COMMANDS.items()
    }
    return _one_of({name: _command(name, run) for name, run in runs.items()})


def _command(name: str, run: Run) -> type[Any]:
    """Return a dataclass that takes what a command takes."""
    told = describe(run)
    if told.commands:
        return _group(name, {inner: _command(inner, function) for inner, function in told.commands.items()})
    fields, words = _fields(told), _words(told, run)
    if name == "eval":  # two commands in one
        alone = partial(_alone, run)
        fields = {"agent_alone": (bool, False), **_fields(describe(alone)), **fields}
        words = _words(describe(alone), alone)
    if name == "calibrate":
        words = {"board": _plain("board", _fields(describe(run, ["board"])))}
        words |= {camera: _plain(camera, fields) for camera in _cameras()}
    return _group(name, words, fields)


def _alone(run: Run, argv: Sequence[str]) -> int:
    return run(["--agent-alone", *argv])


def _words(told: Described, run: Run) -> Mapping[str, type[Any]]:
    """Return what the first argument may be, where that is a task or one of a few words, and what may follow it."""
    from rl.tasks.registry import TASKS

    name, kind = next(iter(positional_fields(*_source(told)).items()), ("", None))
    if name == "task":
        return {task: _plain(task, _fields(describe(run, [task]))) for task in TASKS.names if _can_load(task)}
    return {str(word): _plain(str(word), {}) for word in get_args(kind)} if get_origin(kind) is Literal else {}


def _cameras() -> set[str]:
    """Return the names of the cameras that tasks have, which a station calls its own by."""
    from rl.tasks.registry import TASKS, load_task, make_task

    tasks = [make_task(load_task(task)) for task in TASKS.names if _can_load(task)]
    return {camera.name for task in tasks for camera in (*task.policy_cameras, *task.agent_cameras)}


def _can_load(task: str) -> bool:
    from rl.errors import ConfigError
    from rl.tasks.registry import load_task

    with contextlib.suppress(ConfigError):
        load_task(task)
        return True
    return False


def _source(told: Described) -> tuple[type[Any], Any]:
    assert told.options is not None
    return told.options, told.default


def _fields(told: Described) -> dict[str, tuple[Any, Any]]:
    """Return type and default of each option, by its field."""
    names = _names()
    fields: dict[str, tuple[Any, Any]] = {}
    for name, hint, help_, default in flat_fields(*_source(told)):
        if is_positional(hint) or default in (dataclasses.MISSING, tyro.MISSING):
            continue
        if name in names:
            hint = _with_choices(hint, names[name])
        fields[name] = (Annotated[hint, tyro.conf.arg(help=first_sentence(help_))], default)
    return fields


def _with_choices(hint: Any, names: Sequence[str]) -> Any:
    """Return the type of an option that takes some names, where it took any text."""
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    one: Any = Literal[tuple(names)]
    return {str: one, str | None: one | None, tuple[str, ...]: tuple[one, ...]}.get(inner, hint)


def _names() -> Mapping[str, Sequence[str]]:
    """Return the names that an option may have, by its field; all but the last few may be added to by packages."""
    from agps_agent.detectors import DETECTORS, ENCODERS
    from agps_agent.models.library import MODELS
    from agps_agent.run.methods import HELPERS, METHODS
    from rl.drq.config import DrQConfig
    from rl.rewards.base import REWARDS
    from rl.robots.base import ARMS
    from rl.tasks.registry import TASKS
    from rl.traits import ALGORITHMS

    return {
        "task": TASKS.names,
        "algorithm": ALGORITHMS.names,
        "helper": HELPERS.names,
        "reward": REWARDS.names,
        "detectors": DETECTORS.names,
        "encoder": ENCODERS.names,
        "vlm": MODELS.names,
        "robot": ("sim", "station", *ARMS.names),
        "method": tuple(METHODS),
        "methods": tuple(METHODS),
        "preset": tuple(DrQConfig.presets),
    }


def _plain(name: str, fields: Mapping[str, tuple[Any, Any]]) -> type[Any]:
    # A default may be an instance that a dataclass would not take as such: it is made by a function.
    described = [(key, hint, field(default_factory=partial(copy.copy, value))) for key, (hint, value) in fields.items()]
    return dataclasses.make_dataclass(f"Options_{name.replace('-', '_')}", described, kw_only=True)


def _group(
    name: str, commands: Mapping[str, type[Any]], fields: Mapping[str, tuple[Any, Any]] | None = None
) -> type[Any]:
    """Return a dataclass of some options and then one of some commands, if there are any."""
    options = _plain(name, fields or {})
    if not commands:
        return options
    return dataclasses.make_dataclass(
        options.__name__, [("command", Annotated[_one_of(commands), _COMMAND])], bases=(options,), kw_only=True
    )


def _one_of(commands: Mapping[str, type[Any]]) -> Any:
    kinds = tuple(Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)] for name, kind in commands.items())
    return Union[kinds]  # noqa: UP007  # made of a tuple
