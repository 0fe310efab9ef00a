"""`agps prompts list|show|replay`: the words that the agent is given, and whether others are better."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from agps_agent.cli.folders import check_file
from agps_agent.cli.options import (
    UsageError,
    check_vlm,
    json_only_on_stdout,
    parse_options,
    run_subcommand,
)
from agps_agent.cli.tasks import is_task
from rl.bounds import Count

if TYPE_CHECKING:  # heavy: loaded when a command needs them
    from agps_agent.measure.replay.replay import Query, Variant


@dataclass(frozen=True)
class ListOptions:
    """List every prompt with its version and hash."""


@dataclass(frozen=True)
class ShowOptions:
    """Show a prompt as it is sent, before its variables are filled in."""

    name: tyro.conf.Positional[str]
    """Prompt, or task whose words to show."""
    version: Count | None = None
    """Version; None: the newest."""


@dataclass(frozen=True)
class ReplayOptions:
    """Ask the questions that a run recorded once more with each prompt and model, and compare the answers."""

    run_dir: tyro.conf.Positional[Path]
    """Run directory, or any folder of saved questions."""
    prompt: tuple[str, ...] = ()
    """Prompts to compare, e.g. action_guidance@v1 action_guidance@v2; one alone is compared with the newest version.
    None: the newest of all."""
    vlm: tuple[str, ...] = ("embedded",)
    """Models to compare: `embedded`, or base URLs of OpenAI-compatible servers."""
    vlm_model: str | None = None
    """Model name at those servers. None: the first that each lists."""
    mode: Literal["recorded", "prune", "guide"] = "recorded"
    """Kind of help to ask for: what each question was answered with, or one kind for all."""
    limit: Count | None = None
    """Questions to ask, spread evenly over the run. None: all."""
    out: Path | None = None
    """Page to write. None: replay.html in the run directory."""
    langsmith: bool = False
    """Also keep the questions as a LangSmith dataset, and each variant as an experiment; needs LANGSMITH_API_KEY."""
    json: bool = False
    """Print one JSON object on stdout: averages and every score."""


def run(argv: Sequence[str]) -> int:
    """Run `agps prompts`."""
    commands = {
        "list": (_list, "list every prompt"),
        "show": (_show, "show one prompt, or the words of a task"),
        "replay": (_replay, "ask recorded questions again with other prompts or models, and compare"),
    }
    return run_subcommand("agps prompts", "The words that the agent is given.", commands, argv)


def _list(argv: Sequence[str]) -> int:
    from prompts.loader import find_task_prompt, load_prompt, load_task_prompt, prompt_names, prompt_versions
    from rl.tasks.registry import TASKS, load_task

    parse_options(ListOptions, argv, prog="agps prompts list")
    for name in prompt_names():
        for version in prompt_versions(name):
            prompt = load_prompt(name, version)
            answer = prompt.answer.__name__ if prompt.answer else "-"
            print(f"{prompt.tag:<24} {prompt.sha}  {answer:<18} {', '.join(prompt.variables)}")
    for task in TASKS.names:
        if find_task_prompt(load_task(task)) is None:
            continue
        words = load_task_prompt(task)
        print(f"{f'tasks/{task}@v{words.version}':<24} {words.sha}  keypoints: {', '.join(words.keypoints)}")
    return 0


def _show(argv: Sequence[str]) -> int:
    from prompts.loader import load_prompt, load_task_prompt

    options = parse_options(ShowOptions, argv, prog="agps prompts show")
    if is_task(options.name):
        if options.version is not None:
            raise UsageError(f"--version {options.version} is of a prompt; a task's words have one, leave it out.")
        words = load_task_prompt(options.name)
        print(f"{words.description}\n\nKeypoints:\n{words.requested_keypoints}")
        for mode, advice in words.heuristics.items():
            print(f"\n# {mode} (tools: {', '.join(words.tools.get(mode, ()))})\n{advice}")
        return 0
    prompt = load_prompt(options.name, options.version)
    print(f"# {prompt.tag} {prompt.sha}\n\n## system\n{prompt.system}\n\n## user\n{prompt.user}")
    return 0


def _replay(argv: Sequence[str]) -> int:
    options = parse_options(ReplayOptions, argv, prog="agps prompts replay", named=("--prompt", "--vlm"))
    for flag, names in (("--prompt", options.prompt), ("--vlm", options.vlm)):
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{flag} names {name} {names.count(name)} times; name each once.")
    check_vlm(*options.vlm, model=options.vlm_model)
    from agps_agent.measure.replay.comparison import comparison_table, write_comparison_page
    from agps_agent.measure.replay.experiments import check_account, run_experiment
    from agps_agent.measure.replay.replay import load_queries, replay, summarise
    from agps_agent.report.interventions import spread

    if options.langsmith:
        check_account()
    queries = load_queries(options.run_dir)
    page = options.out or options.run_dir / "replay.html"
    _check_page(page)
    if options.limit is not None:
        queries = spread(queries, options.limit)
    if options.mode != "recorded":
        queries = [dataclasses.replace(query, mode=options.mode) for query in queries]
    variants = _variants(options, queries)
    results = {}
    with json_only_on_stdout(options.json) as show:
        for variant in variants:
            results[variant.name] = replay(queries, variant, lambda done: _show_progress(done, len(queries)))
            if options.langsmith:
                run_experiment(queries, variant, source=options.run_dir.name)
        versions = {variant.name: variant.versions for variant in variants}
        write_comparison_page(page, results, queries=queries, versions=versions, source=str(options.run_dir))
        show(
            {
                "page": str(page),
                "summary": {name: summarise(scores) for name, scores in results.items()},
                "scores": {name: [dataclasses.asdict(score) for score in scores] for name, scores in results.items()},
            }
        )
    if not options.json:
        _print_table(*comparison_table(results))
        print(page)
    return 0


def _check_page(page: Path) -> None:
    """Refuse a page that cannot be written, before questions are asked that may cost money.

    Raises:
        ConfigError: If its folder is missing, or it is a folder.
    """
    check_file(page)
    if not page.parent.is_dir():
        raise UsageError(f"There is no folder {page.parent} for the page; make it, or name another --out.")


def _variants(options: ReplayOptions, queries: "Sequence[Query]") -> "list[Variant]":
    """Return every chosen prompt with every chosen model."""
    from agps_agent.measure.replay.replay import build_variant, recorded_task, recorded_tools
    from agps_agent.settings import AgentSettings

    task, tools = recorded_task(options.run_dir, queries), recorded_tools(options.run_dir)
    prompts = _chosen_prompts(options.prompt)
    variants = []
    for vlm in options.vlm:
        for tag, versions in prompts.items():
            name = tag if len(options.vlm) == 1 else f"{tag} {vlm}" if options.prompt else vlm
            settings = AgentSettings(prompt_versions=versions, tools=tools)
            variants.append(build_variant(name, task=task, vlm=vlm, vlm_model=options.vlm_model, settings=settings))
    return variants


def _chosen_prompts(tags: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the prompt versions of each variant by its name."""
    from prompts.loader import load_prompt

    if not tags:
        return {"newest prompts": {}}
    chosen = {}
    for tag in tags:
        name, at, version = tag.partition("@v")
        if not at or not version.isdigit():
            raise UsageError(f"--prompt is {tag!r}; write name@vN, e.g. action_guidance@v1.")
        chosen[load_prompt(name, int(version)).tag] = {name: int(version)}
    if len(chosen) == 1:
        newest = load_prompt(tags[0].partition("@v")[0])
        chosen.setdefault(newest.tag, {newest.name: newest.version})
    return chosen


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} questions", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
