"""`agps train TASK`: from nothing, or from a run that was interrupted, to a policy and its report."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from agps_agent.cli.idle import refuse_without_effect
from agps_agent.cli.options import UsageError, json_only_on_stdout, parse_options, peek_options
from agps_agent.cli.progress_bar import ProgressDisplay
from agps_agent.cli.tasks import TaskOptions, check_task, parse_for_task
from agps_agent.detectors.base import load_detector
from agps_agent.models.library import is_url
from agps_agent.models.prices import in_dollars
from agps_agent.run.config import OWN_SETTINGS, RunConfig, check_fits, start_values, still_missing
from agps_agent.run.config_file import fixed_changes, load_config
from agps_agent.run.directory import RunDirectory, alone_in
from agps_agent.run.ending import resume_command
from agps_agent.run.estimate import estimate
from agps_agent.run.field_options import options_group, options_model
from agps_agent.run.methods import combine
from agps_agent.run.place import place_of
from agps_agent.run.signals import BrokenOff, terminated_like_ctrl_c
from rl.errors import AgpsError, ConfigError
from rl.files import quoted
from rl.rewards.base import load_reward
from rl.traits import ALGORITHMS

PROG = "agps train"
COMMON = (
    "task",
    "method",
    "demos",
    "agent_demos",
    "demos_dir",
    "vlm",
    "vlm_model",
    "memory",
    "max_env_steps",
    "max_minutes",
    "stop_when_solved",
    "eval_episodes",
    "seed",
    "threads",
    "device",
    "run_dir",
    "resume",
    "json",
    "robots",
    "robot",
    "station",
    "robot_ip",
    "dry_run",
    "reward",
    "env",
)
"""What `agps train --help` shows."""
_NOTHING = RunConfig.model_construct(task="")
"""What a run that is not resumed was told before."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Train a policy on TASK with the agent in place of the human."""

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    resume: bool = False
    """Go on from the last checkpoint in --run-dir. The settings saved there hold; an option given here replaces one."""
    dry_run: bool = False
    """Robot: command nothing for ten seconds. What would be commanded is drawn on the camera image."""
    json: bool = False
    """Print the summary as one JSON object on stdout. The progress goes to stderr."""
    task_options: TaskOptions = field(default_factory=dict)
    """What to change about the task."""
    detector_options: TaskOptions = field(default_factory=dict)
    """What to change about detectors other than float and stall, which have options of their own."""
    reward_options: TaskOptions = field(default_factory=dict)
    """What to change about the reward."""


@dataclass(frozen=True)
class _First:
    """What decides the defaults of everything else."""

    run_dir: Path | None = None
    method: str | None = None
    algorithm: str | None = None
    helper: str | None = None
    offline: tyro.conf.Suppress[bool | None] = None
    preset: str = "tuned"
    resume: bool = False
    robot: str = "sim"
    station: Path | None = None
    agent_demos: int | None = None
    mode: str = "auto"
    demos_dir: Path | None = None
    env: str | None = None
    robots: int | None = None
    fleet: Path | None = None
    detectors: tuple[str, ...] | None = None
    reward: str | None = None


def run(argv: Sequence[str]) -> int:
    """Run `agps train`."""
    options = read_options(argv)
    config = options.config
    if config.env is None:
        check_task(config.task)
        check_fits(config)
    if config.is_fleet:
        from agps_agent.fleet.cluster import require_ray
        from agps_agent.fleet.fleet_file import robots_of

        require_ray()
        robots_of(config)  # refuses a fleet file that is wrong
    path = config.run_dir or config.default_run_dir()
    if options.dry_run:
        return _dry_run(options, path)
    with terminated_like_ctrl_c(), alone_in(path):
        directory = _resumed(argv, config, path) if options.resume else RunDirectory.create(path)
        with json_only_on_stdout(options.json) as show:
            summary = _train(config, directory, resume=options.resume)
            show(summary)
    if not options.json:
        print(_closing_words(summary, directory))
    return 0


def read_options(argv: Sequence[str]) -> TrainOptions:
    """Return the options, on top of what task, method and preset start from, or of the run to resume."""
    first = _peek(argv)
    if first.resume and first.run_dir is None:
        raise UsageError("--resume goes on from a run directory; name it with --run-dir DIR.")
    saved = load_config(RunDirectory.open(first.run_dir)) if first.resume and first.run_dir is not None else None
    if saved is not None:
        offline = saved.offline if first.offline is None and first.method is None else first.offline
        plan = combine(first.method, first.algorithm, first.helper, offline, default=saved.method)
        for name in ("algorithm", "helper", "offline"):
            _refuse_change(name, getattr(plan, name), getattr(saved, name))
        if not saved.is_fleet:  # robots may come and go, but a run of one keeps other things than a fleet
            _refuse_change("robots", first.robots or first.fleet, None)

    def start(task: str | None) -> TrainOptions:
        return TrainOptions(config=saved or _start(first, task))

    if first.env is not None or (saved is not None and saved.env is not None):  # what looks like a task is none
        started = start(None)
        told = one_spelling(argv, started.config.algorithm)
        parsed = parse_options(TrainOptions, told, prog=PROG, default=started, common=COMMON)
        if saved is None:
            refuse_without_effect(argv, parsed.config)
        return parsed
    default = None if saved is None else saved.task
    options = parse_for_task(
        TrainOptions,
        argv,
        prog=PROG,
        default=default,
        start=start,
        task_of=lambda parsed: parsed.config.task,
        spelled=lambda argv, started: one_spelling(argv, started.config.algorithm),
        groups=_groups(first, saved),
        common=COMMON,
    )
    before: Any = saved or _NOTHING
    changes: dict[str, Any] = {
        "task_options": {**before.task_options, **options.task_options},
        "reward_options": {**before.reward_options, **options.reward_options},
        "detector_options": {
            name: {**before.detector_options.get(name, {}), **options.detector_options.get(name, {})}
            for name in {**before.detector_options, **options.detector_options}
        },
    }
    if saved is None and first.agent_demos is None:  # what the recipe wants was the default until --demos was read
        changes["agent_demos"] = still_missing(options.config.agent_demos, options.config.demos)
    config = options.config.model_copy(update=changes)
    if saved is None:  # of a run that goes on, `_resumed` names first what may not change
        refuse_without_effect(argv, config)
    return replace(options, config=config)


def _peek(argv: Sequence[str]) -> _First:
    said = [argument == "--offline" for argument in argv if argument in ("--offline", "--no-offline")]
    return replace(peek_options(_First, argv, prog=PROG), offline=said[-1] if said else None)


def _groups(first: _First, saved: RunConfig | None) -> dict[str, Any]:
    """Return the models of the options that the run's detectors and its reward have."""
    detectors = first.detectors or (RunConfig.model_fields["detectors"].default if saved is None else saved.detectors)
    reward = first.reward or (None if saved is None else saved.reward)
    models: dict[str, Any] = {}
    for name in detectors:
        kind: Any = load_detector(name)
        if kind.name not in OWN_SETTINGS and getattr(kind, "config_class", None) is not None:
            models[kind.name] = options_model(kind.config_class)
    groups: dict[str, Any] = {"detector_options": options_group("DetectorOptions", models)} if models else {}
    config: Any = None if reward is None else getattr(load_reward(reward), "config_class", None)
    return groups if config is None else {**groups, "reward_options": options_model(config)}


def _start(first: _First, task: str | None) -> RunConfig:
    values = start_values(
        task,
        first.method,
        first.preset,
        algorithm=first.algorithm,
        helper=first.helper,
        offline=first.offline,
        robot=first.robot,
        station=first.station,
        demos_dir=first.demos_dir,
        env=first.env,
        is_fleet=first.robots is not None or first.fleet is not None,
        mode=first.mode,
    )
    # Not validated: the task is still missing where there is no environment, and tyro asks for it.
    return RunConfig.model_construct(**{"task": tyro.MISSING, **values})


def one_spelling(argv: Sequence[str], algorithm: str) -> list[str]:
    """Return the arguments with `--NAME.FIELD` of the run's algorithm called `--algorithm-options.FIELD`.

    Raises:
        UsageError: If a setting of another algorithm is given: it would do nothing.
    """
    spelled = []
    for argument in argv:
        name, dot, field = argument.removeprefix("--").partition(".")
        if argument.startswith("--") and dot and name in ALGORITHMS and name not in RunConfig.model_fields:
            if name != algorithm:
                raise UsageError(f"{argument.split('=')[0]} is a setting of {name}; this run learns with {algorithm}.")
            argument = f"--algorithm-options.{field}"
        spelled.append(argument)
    return spelled


def _dry_run(options: TrainOptions, path: Path) -> int:
    """Look at a robot without moving it."""
    config = options.config
    place_of(config.robot).require_arm(
        "--dry-run is for a robot, with --robot station; a simulated arm cannot break anything."
    )
    folder = path.with_name(f"{path.name}-dry-run")
    from agps_agent.run.dry_run import dry_run

    with json_only_on_stdout(options.json) as show, terminated_like_ctrl_c():
        summary = dry_run(config, folder)
        show(summary)
    if not options.json:
        acted = ", ".join(f"{name} {count}" for name, count in summary["violations"].items()) or "none"
        print(
            f"Nothing was commanded. {summary['steps']} control steps, p99 of their period "
            f"{summary['tick_p99_ms']:.0f} ms; limits that acted: {acted}. Agent: {summary['agent']}.\n"
            f"Pictures: {summary['folder']}"
        )
    return 0


def _train(config: RunConfig, directory: RunDirectory, *, resume: bool) -> dict[str, Any]:
    def say_what_it_will_take() -> None:
        from rl.devices import choose_device, in_words

        print(f"Device: {in_words(choose_device(config.device))}.")
        if config.helper == "agent" and is_url(config.vlm):
            given = config.vlm_price_in, config.vlm_price_out
            asked = estimate(
                config.task_name,
                vlm=config.vlm,
                model=config.vlm_model,
                given=given,
                task_options=config.task_options,
                recalls=config.agent.recalls,
            )
            print(asked.in_words())

    try:
        from agps_agent.report import write_report

        if config.is_fleet:
            from agps_agent.fleet.training import train_fleet as train
        else:
            from agps_agent.run.training import train  # loads torch and the graph

        with ProgressDisplay(max_minutes=config.max_minutes, stream=sys.stdout) as progress:
            began = say_what_it_will_take  # whatever is refused is refused before
            return dict(train(config, directory, progress, resume=resume, report=write_report, began=began))
    except BaseException as error:
        if not resume:  # whatever it was: a run that had not begun must not stand in the way of the next
            directory.discard()
        if isinstance(error, KeyboardInterrupt):
            raise AgpsError(_words_of_the_end(error, config, directory)) from None
        raise


def _words_of_the_end(interruption: KeyboardInterrupt, config: RunConfig, directory: RunDirectory) -> str:
    """Return what is left of a run that somebody ended, and how to go on."""
    path = directory.path
    if not directory.has_checkpoint:
        left = f"what was recorded is in {path}" if path.exists() else "nothing is left behind"
        return f"Interrupted before a checkpoint was saved; {left}."
    go_on = f"go on with: {resume_command(config, path)}"
    if isinstance(interruption, BrokenOff):
        return f"Broken off while the run was being saved. The last whole checkpoint is in {path}; {go_on}"
    if directory.read_summary().get("ended_by") not in (None, "interrupted", "fault"):
        return f"The run had ended, and what it came to is in {path}; `agps report {quoted(path)}` writes its page."
    return f"Interrupted. The checkpoint and the report so far are in {path}; {go_on}"


def _resumed(argv: Sequence[str], config: RunConfig, path: Path) -> RunDirectory:
    """Return the run to go on with.

    Raises:
        ConfigError: If it is another run now, an option does nothing in it, or there is nothing to go on from.
    """
    directory = RunDirectory.open(path)
    _refuse_another_run(config, load_config(directory))
    refuse_without_effect(argv, config)
    if not directory.has_checkpoint:
        raise ConfigError(directory.nothing_to_resume)
    from rl.checkpoint import check_about, check_checkpoint, latest_checkpoint

    newest = latest_checkpoint(directory.checkpoints)
    check_checkpoint(newest)
    check_about(newest, {"task": config.task_name})
    return directory


def _refuse_another_run(config: RunConfig, saved: RunConfig) -> None:
    """What makes a run what it is cannot change on the way."""
    for name, before, now in sorted(fixed_changes(saved, config)):
        _refuse_change(name, now, before)


def _refuse_change(name: str, now: object, before: object) -> None:
    if now != before:
        raise UsageError(
            f"--resume: the run was started with {name} = {before}, not {now}; resume with the run's own "
            "configuration, or name another --run-dir."
        )


def _closing_words(summary: Mapping[str, Any], directory: RunDirectory) -> str:
    rate, episodes = summary.get("success_rate"), summary.get("eval_episodes")
    alone = "" if rate is None else f"The policy alone succeeds in {round(rate * episodes)} of {episodes} episodes. "
    help_got = f"{summary.get('agent_calls', 0)} agent calls, {summary.get('memory_hits', 0)} memory hits"
    if summary.get("agent_tokens"):
        help_got += (
            f", {summary['agent_tokens']:,} tokens, {summary.get('agent_seconds') or 0.0:.0f} s until the replies"
        )
    if summary.get("agent_usd") is not None:
        help_got += f", {in_dollars(summary['agent_usd'])}"
    if summary.get("human_interventions"):
        help_got = f"{summary['human_interventions']} human interventions of {summary['human_s']:.0f} s in all"
    diagnosis = f"\n{summary['diagnosis']}" if summary.get("diagnosis") else ""
    return (
        f"{summary['ending']}\n"
        f"{alone}{summary.get('env_steps', 0)} environment steps, {summary.get('learner_steps', 0)} updates, "
        f"{summary.get('wall_clock_s', 0.0):.0f} s wall-clock, {summary.get('robot_time_s', 0.0):.0f} s robot time, "
        f"{help_got}.{diagnosis}\nReport: {directory.report}"
    )
