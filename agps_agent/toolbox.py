"""What the model may call in each kind of help: the tools that a task's prompt names, and those that are added."""

from collections.abc import Iterable, Mapping

from prompts.loader import TaskPrompt
from rl.errors import ConfigError
from tools.answers import Mode
from tools.spec import Tools, load_tools

Toolbox = Mapping[Mode, Tools]


def open_toolbox(task: TaskPrompt, *, added: Iterable[str] = (), answering: bool = True) -> Toolbox:
    """Return the tools by kind of help, each looked up once.

    Args:
        task: Its prompt names the tools that it allows.
        added: More of them; each is offered wherever what it gives is of use.
        answering: Offer those that answer too.

    Raises:
        ConfigError: If there is no such tool, two have the same name, one gives what its kind of help cannot use, or
            one that is added would not be offered at all.
    """
    more = tuple(added)
    mute = [spec.name for spec in load_tools(more).values() if spec.gives == "text" and not answering]
    if mute:
        raise ConfigError(
            f"--agent.tools adds {', '.join(mute)}, which only answers, but --agent.max-tool-answers is 0; give 1 or "
            "more, or leave the tool out."
        )
    return {mode: _offered(task, mode, more, answering=answering) for mode in ("prune", "guide")}


def _offered(task: TaskPrompt, mode: Mode, added: tuple[str, ...], *, answering: bool) -> Tools:
    named = load_tools(task.tools[mode])
    for spec in named.values():
        if mode not in spec.modes:
            raise ConfigError(
                f"The prompt of {task.task} names the tool {spec.name} under {mode}, but it gives {spec.gives}; name "
                f"it under {' or '.join(sorted(spec.modes))}."
            )
    found = load_tools((*task.tools[mode], *added))
    return {name: spec for name, spec in found.items() if mode in spec.modes and (answering or spec.gives != "text")}
