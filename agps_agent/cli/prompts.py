"""`agps prompts list|show`: the words that the agent is given."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from agps_agent.cli.options import parse_options, run_subcommand


@dataclass(frozen=True)
class ListOptions:
    """List every prompt with its version and hash."""


@dataclass(frozen=True)
class ShowOptions:
    """Show a prompt as it is sent, before its variables are filled in."""

    name: tyro.conf.Positional[str]
    """Prompt, or task whose words to show."""
    version: int | None = None
    """Version; None: the newest."""


def run(argv: Sequence[str]) -> int:
    """Run `agps prompts`."""
    commands = {"list": (_list, "list every prompt"), "show": (_show, "show one prompt, or the words of a task")}
    return run_subcommand("agps prompts", "The words that the agent is given.", commands, argv)


def _list(argv: Sequence[str]) -> int:
    from prompts.loader import load_prompt, load_task_prompt, prompt_names, prompt_versions, task_names

    parse_options(ListOptions, argv, prog="agps prompts list")
    for name in prompt_names():
        for version in prompt_versions(name):
            prompt = load_prompt(name, version)
            answer = prompt.answer.__name__ if prompt.answer else "-"
            print(f"{prompt.tag:<24} {prompt.sha}  {answer:<18} {', '.join(prompt.variables)}")
    for task in task_names():
        words = load_task_prompt(task)
        print(f"{f'tasks/{task}@v{words.version}':<24} {words.sha}  keypoints: {', '.join(words.keypoints)}")
    return 0


def _show(argv: Sequence[str]) -> int:
    from prompts.loader import load_prompt, load_task_prompt, task_names

    options = parse_options(ShowOptions, argv, prog="agps prompts show")
    if options.name in task_names():
        words = load_task_prompt(options.name)
        print(f"{words.description}\n\nKeypoints:\n{words.requested_keypoints}")
        for mode, advice in words.heuristics.items():
            print(f"\n# {mode} (tools: {', '.join(words.tools.get(mode, ()))})\n{advice}")
        return 0
    prompt = load_prompt(options.name, options.version)
    print(f"# {prompt.tag} {prompt.sha}\n\n## system\n{prompt.system}\n\n## user\n{prompt.user}")
    return 0
