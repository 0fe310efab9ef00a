"""Arguments into typed options (tyro), and every complaint about them into one line."""

import contextlib
import dataclasses
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any, TypeVar

import tyro
from pydantic import ValidationError

from agps_agent.cli.short_help import ALL, SHORT, common_options, positional_fields
from rl.bounds import check_bounds
from rl.errors import ConfigError
from rl.nearest import did_you_mean

OptionsT = TypeVar("OptionsT")

_STYLE = (tyro.conf.PositionalMetavarFromFieldName,)
_NAME = re.compile(r"--[A-Za-z]")
_FRAME = re.compile(r"^[│╭╰|+]|[│╮╯|+]$")
_OF_GROUP = re.compile(r"^Error parsing ([\w.-]+): (\w+) (?=Input should)")
"""A group of options that a limit is in: `Error parsing agent: max_views Input should be ...`."""
_OPTION = r"^(?:Error parsing )?(--[\w.-]+): "
_RIDDLES = tuple(
    (re.compile(said), plain)
    for said, plain in (
        # A value that is of none of several types: what they take says more than why each did not.
        (_OPTION + r"no type matching .* from \[(.*?)\]\..*`\[bold\](.*?)\[/bold\]`.*$", r"\1 is \2; give \3"),
        (_OPTION + r"no type matching .*: ([^:]+: '[^']*')$", r"\1: \2"),
        (_OPTION + r"invalid literal for int\(\) with base 10: (.*)$", r"\1 is \2; give a whole number"),
        (_OPTION + r"could not convert string to float: (.*)$", r"\1 is \2; give a number"),
        (r"^Missing value for argument '(--[\w.-]+)'\. Expected 1 values$", r"\1 wants a value"),
    )
)
"""What tyro and Python say of a value, and what a person is told."""
_PYDANTIC_HEAD = re.compile(r"\d+ validation errors? for \w+ ")
_PYDANTIC_TAIL = re.compile(r" ?\[type=\w+, input_value=(.+?), input_type=\w+\]( For further information visit \S+)?")


class UsageError(ConfigError):
    """The command line cannot be understood; the message says which part and what would be."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    """What a command takes."""

    options: type[Any] | None = None
    """Dataclass or pydantic model of its options; None: it is a group of commands."""
    default: Any = None
    """Instance that the options start from; None: the class says it."""
    commands: Mapping[str, Callable[[Sequence[str]], int]] = dataclasses.field(default_factory=dict)
    """Those of a group."""


class _Told(BaseException):
    """Ends a command that was only to say what it takes, before it does anything."""

    def __init__(self, described: Described) -> None:
        self.described = described


_only_tell: ContextVar[bool] = ContextVar("only_tell", default=False)


def describe(run: Callable[[Sequence[str]], int], argv: Sequence[str] = ()) -> Described:
    """Return what a command takes; nothing is parsed, and nothing done.

    Args:
        run: The command: the first thing that it does is to parse its options.
        argv: What decides which options there are, such as a task.
    """
    token = _only_tell.set(True)
    try:
        run(argv)
    except _Told as told:
        return told.described
    finally:
        _only_tell.reset(token)
    raise AssertionError(f"{run.__module__} parses no options")


def parse_options(
    options: type[OptionsT],
    argv: Sequence[str],
    *,
    prog: str,
    default: OptionsT | None = None,
    common: Sequence[str] = (),
    named: Sequence[str] = (),
) -> OptionsT:
    """Return the options that the arguments spell out.

    Args:
        options: Dataclass or pydantic model; its docstrings are the help.
        argv: Arguments after the command.
        prog: How the command is called, for the help.
        default: Values to start from; None: those of the class.
        common: Fields that `--help` shows, in their order; `--help-all` shows all. None of them: both do.
        named: Options with any number of values that want at least one where they are given, such as `--cells`.

    Raises:
        UsageError: With one line, if an argument is unknown, missing or out of range.
        SystemExit: With code 0, after `--help`.
    """
    if _only_tell.get():
        raise _Told(Described(options=options, default=default))
    if common and any(flag in argv for flag in SHORT):
        _show(common_options(options, default, common), prog)
        print(f"These are the common options. All of them: {prog} {ALL}")
        raise SystemExit(0)
    _check_not_empty(argv, prog)
    _check_named(argv, named)
    _check_nameless(argv, options, prog)
    given: dict[str, Any] = {} if default is None else {"default": default}
    told = [SHORT[-1] if argument == ALL else argument for argument in argv]
    with complaints_as_usage_errors(prog):
        parsed: OptionsT = tyro.cli(options, args=told, prog=prog, config=_STYLE, **given)
    if dataclasses.is_dataclass(parsed):  # pydantic models see to their numbers themselves
        try:
            check_bounds(parsed, lambda name: f"--{name.replace('_', '-')}")
        except ConfigError as error:
            raise UsageError(str(error)) from None
    return parsed


def _check_not_empty(argv: Sequence[str], prog: str) -> None:
    """Refuse options with an empty value, as "$DIR" leaves where DIR is not set: a path would be this folder.

    Raises:
        UsageError: With the first one.
    """
    for argument, following in zip(argv, [*argv[1:], None], strict=False):  # nothing, where there is no argument
        name, equals, value = argument.partition("=")
        if name.startswith("--") and (following == "" if not equals else not value):
            raise UsageError(f"{name} is empty; give it a value, or leave it out. See `{prog} --help`.")


def _check_named(argv: Sequence[str], named: Sequence[str]) -> None:
    """Refuse options without any of their values: nobody who writes `--cells` means all of them.

    Raises:
        UsageError: With the first one.
    """
    for argument, following in zip(argv, [*argv[1:], "--"], strict=False):  # nothing, where there is no argument
        if argument in named and following.startswith("--"):
            raise UsageError(f"{argument} names nothing; name at least one, or leave it out.")


def _check_nameless(argv: Sequence[str], options: type[Any], prog: str) -> None:
    """Refuse the name of an argument that stands without one, as `--task`: tyro would complain of its value.

    Raises:
        UsageError: With the first one.
    """
    for name in (field.replace("_", "-") for field in positional_fields(options)):
        if any(argument.partition("=")[0] == f"--{name}" for argument in argv):
            raise UsageError(f"{name.upper()} stands without --{name}: `{prog} {name.upper()}`. See `{prog} --help`.")


def _show(options: type[Any], prog: str) -> None:
    with contextlib.suppress(SystemExit):
        tyro.cli(options, args=[SHORT[-1]], prog=prog, config=_STYLE)


def peek_options(options: type[OptionsT], argv: Sequence[str], *, prog: str) -> OptionsT:
    """Return the few options that decide the defaults of the others; all else on the command line is left alone."""
    with complaints_as_usage_errors(prog):
        known, _ = tyro.cli(options, args=list(argv), prog=prog, return_unknown_args=True, add_help=False)
    return known


@contextlib.contextmanager
def complaints_as_usage_errors(prog: str) -> Iterator[None]:
    """Turn what tyro and pydantic say inside into one line; stderr is kept back meanwhile.

    Raises:
        UsageError: With that line.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            yield
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(f"{complaint_line(complaint.getvalue())} See `{prog} --help`.") from None
    except ValidationError as error:
        raise UsageError(_words_of_pydantic(error, prog)) from None


def _words_of_pydantic(error: ValidationError, prog: str) -> str:
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"]).replace("_", "-")
    reason = first["msg"].removeprefix("Value error, ")
    if not option:  # several options together
        return reason
    if reason.endswith("."):  # a sentence of ours, which has the value in it
        return f"--{option}: {reason} See `{prog} --help`."
    given = first["input"]
    return f"--{option}: {reason}, got {given if given not in ('', ()) else 'nothing'}. See `{prog} --help`."


def check_vlm(*vlms: str, model: str | None = None) -> None:
    """Refuse what can be no chat model, and the name of a served one where no server is named.

    Raises:
        UsageError: Saying what would be.
    """
    from agps_agent.models.library import check_model

    try:
        for vlm in vlms:
            check_model(vlm)
    except ConfigError as error:
        raise UsageError(f"--vlm: {error}") from None
    check_served(model, vlms)


def check_served(model: str | None, vlms: Sequence[str]) -> None:
    """Refuse the name of a served model where none of the chat models is behind a URL: nobody would read it.

    Raises:
        UsageError: Saying what to name.
    """
    from agps_agent.models.library import is_url

    if model is not None and not any(map(is_url, vlms)):
        raise UsageError(
            f"--vlm-model {model} is the name of a model at a server, and --vlm {' '.join(vlms)} is none; name the "
            "server with --vlm URL, or leave it out."
        )


def complaint_line(box: str) -> str:
    """Return what tyro says in its framed box as one line, without the frame, the title and the repeated help."""
    lines = [_FRAME.sub("", line).strip() for line in box.splitlines()]
    said: list[str] = []
    hint = ""
    for line in lines[1:]:
        is_rule = len(line) > 5 and set(line) <= {"─", "-"}
        if is_rule and any(said):
            break
        if not is_rule:
            said.append(line)
    meant = [line.split(" ")[0].rstrip(",") for line in lines if _NAME.match(line)]
    if meant and any(line.startswith("Perhaps you meant") for line in lines):
        wrong = next((word.rstrip(",") for line in lines for word in line.split() if _NAME.match(word)), "")
        close = get_close_matches(wrong, meant, n=1, cutoff=0.0)  # tyro lists them by where they stand
        hint = f" Did you mean {close[0]}?"
    text = _PYDANTIC_TAIL.sub(r", got \1", _PYDANTIC_HEAD.sub("", one_line(" ".join(said))))
    for noise, plain in (("Value error, ", ""), ("Error parsing config: ", ""), ("parsing config.", "parsing ")):
        text = text.replace(noise, plain)
    text = _OF_GROUP.sub(lambda found: f"--{found[1]}.{found[2].replace('_', '-')}: ", text)
    for riddle, plain in _RIDDLES:
        text = riddle.sub(plain, text.rstrip(" ."))
    return f"{text.rstrip(' .')}.{hint}"


def one_line(text: str) -> str:
    """Return text with every run of white space as one blank, and none before a comma or a full stop."""
    return re.sub(r"\s+([.,;])(?=\s|$)", r"\1", " ".join(text.split()))


def help_page(prog: str, purpose: str, commands: Mapping[str, str]) -> str:
    """Return the page that lists commands."""
    width = max(len(name) for name in commands)
    lines = [f"usage: {prog} COMMAND ...", "", purpose, "", "commands:"]
    lines += [f"  {name:<{width}}  {text}" for name, text in commands.items()]
    return "\n".join([*lines, "", f"`{prog} COMMAND --help` shows the options of one."])


def run_subcommand(
    prog: str, purpose: str, commands: Mapping[str, tuple[Callable[[Sequence[str]], int], str]], argv: Sequence[str]
) -> int:
    """Run the subcommand that the first argument names, or show the list.

    Args:
        prog: How the group is called, e.g. `agps demos`.
        purpose: One line about the group.
        commands: Name -> (function of the remaining arguments, one line of help).
        argv: Arguments after the group's name.
    """
    if _only_tell.get():
        raise _Told(Described(commands={name: function for name, (function, _) in commands.items()}))
    if not argv or argv[0] in ("-h", "--help"):
        print(help_page(prog, purpose, {name: text for name, (_, text) in commands.items()}))
        return 0 if argv else 2
    if argv[0] not in commands:
        hint = did_you_mean(argv[0], commands)
        raise UsageError(f"`{prog}` has no command {argv[0]!r}; use one of {', '.join(commands)}.{hint}")
    return commands[argv[0]][0](argv[1:])


@contextlib.contextmanager
def json_only_on_stdout(enabled: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:  # noqa: FBT001
    """Keep stdout for one JSON object: inside, everything else that prints goes to stderr.

    Yields:
        Function that takes the object; it is printed on the way out. Not called, or not enabled: nothing is.
    """
    result: list[Mapping[str, Any]] = []
    with contextlib.redirect_stdout(sys.stderr) if enabled else contextlib.nullcontext():
        yield result.append
    if enabled and result:
        print(json.dumps(result[-1], default=str))
