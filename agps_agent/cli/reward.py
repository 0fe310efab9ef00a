"""`agps reward collect|fit|eval TASK`: a reward from images in place of the simulator's truth."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from agps_agent.cli.options import check_at_least, json_only_on_stdout, parse_options, run_subcommand
from agps_agent.cli.tasks import check_task
from agps_agent.runs import RunDirectory
from agps_agent.task_options import TaskOptions
from rl.errors import ConfigError
from rl.reward_classifier import FitConfig
from rl.tasks import get_task

if TYPE_CHECKING:
    from rich.progress import Progress

    from rl.envs import ManipulationEnv
    from rl.reward_classifier import RewardClassifier
    from rl.reward_classifier.collecting import Policy
    from rl.reward_classifier.judging import FrameScore, VerdictScore

COLLECT_SEED, JUDGE_SEED = 5_000_000, 6_000_000
"""Starts of collected and of judged rollouts: never demonstrated, trained on or evaluated on."""


@dataclass(frozen=True)
class CollectOptions:
    """Record labelled frames: successes, what only looks like one, and everything else; labels are the truth."""

    task: tyro.conf.Positional[str]
    """Task."""
    positive: int | None = None
    """Frames of successes. None: as the task's recipe says, 200 (HIL-SERL) where they do."""
    negative: int | None = None
    """Frames of failures, most from around success. None: as the task's recipe says, 1000 (HIL-SERL) where they do."""
    run: Path | None = None
    """Run directory: its newest policy gives half of the failures. None: scripted behaviour only."""
    seed: int = COLLECT_SEED
    """Seed of the first start; each episode has its own."""
    image_size: Literal[64, 128, 256] = 64
    """Edge of the images, [px]; must be that of the policy that will be trained with the classifier."""
    out: Path | None = None
    """Folder to write. None: runs/reward/TASK/frames."""
    json: bool = False
    """Print one JSON object on stdout."""
    task_options: TaskOptions = TaskOptions()
    """What to change about the task."""


@dataclass(frozen=True)
class FitOptions:
    """Fit a classifier; its threshold is chosen for precision on episodes that were left out of the fit."""

    task: tyro.conf.Positional[str]
    """Task."""
    data: tuple[Path, ...] = ()
    """Folders that `agps reward collect` wrote. None: runs/reward/TASK/frames."""
    out: Path | None = None
    """File to write. None: runs/reward/TASK/classifier.pt."""
    threads: int = 1
    """Torch threads; 0: one per physical core."""
    json: bool = False
    """Print one JSON object on stdout."""
    fit: Annotated[FitConfig, tyro.conf.arg(name="")] = field(default_factory=FitConfig)
    """How it is fitted."""


@dataclass(frozen=True)
class EvalOptions:
    """Score a classifier on held-out episodes, and its verdicts on new rollouts; draws its mistakes."""

    task: tyro.conf.Positional[str]
    """Task."""
    file: Path | None = None
    """Classifier that `agps reward fit` wrote. None: runs/reward/TASK/classifier.pt."""
    data: tuple[Path, ...] = ()
    """Folders that `agps reward collect` wrote; of them only the held-out episodes count. None: as for fit."""
    rollouts: int = 120
    """New rollouts to watch from start to end; 0: none."""
    run: Path | None = None
    """Run directory: its newest policy acts in a fifth of the rollouts. None: scripted behaviour only."""
    n: int = 2
    """Positive frames in a row that make a success; the page compares 1 to 5."""
    seed: int = JUDGE_SEED
    """Seed of the first rollout."""
    out: Path | None = None
    """Folder to write. None: runs/reward/TASK/eval."""
    json: bool = False
    """Print one JSON object on stdout."""
    task_options: TaskOptions = TaskOptions()
    """What to change about the task."""


def run(argv: Sequence[str]) -> int:
    """Run `agps reward`."""
    commands = {
        "collect": (_collect, "record labelled frames in simulation"),
        "fit": (_fit, "fit a classifier"),
        "eval": (_eval, "score a classifier on episodes that it never saw"),
    }
    return run_subcommand("agps reward", "A reward from images.", commands, argv)


def _collect(argv: Sequence[str]) -> int:
    options = parse_options(CollectOptions, argv, prog="agps reward collect")
    check_task(options.task)
    default = get_task(options.task).recipe.reward_frames
    positive = default[0] if options.positive is None else options.positive
    negative = default[1] if options.negative is None else options.negative
    check_at_least(1, positive=positive, negative=negative)
    check_at_least(0, seed=options.seed)
    folder = options.out or default_frames(options.task)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} already exists and is not empty; name another --out.")
    from rl.reward_classifier.collecting import collect_episodes
    from rl.reward_classifier.frames import save_frames

    with json_only_on_stdout(options.json) as show:
        env = _env(options.task, options.image_size, options.task_options)
        try:
            with _progress() as progress:
                bar = progress.add_task("collecting", total=positive + negative)
                episodes = collect_episodes(
                    env,
                    positive=positive,
                    negative=negative,
                    seed=options.seed,
                    policy=_policy(options.run, options.task),
                    report=lambda found, missing: progress.update(bar, completed=found + missing),
                )
            save_frames(folder, episodes, env=env, seed=options.seed)
        finally:
            env.close()
        numbers = {
            "folder": str(folder),
            "task": options.task,
            "episodes": len(episodes),
            "positive": int(sum(episode.success.sum() for episode in episodes)),
            "negative": int(sum((~episode.success).sum() for episode in episodes)),
        }
        show(numbers)
    if not options.json:
        print(
            f"{numbers['positive']} frames of success and {numbers['negative']} of failure from "
            f"{numbers['episodes']} episodes in {folder}"
        )
    return 0


def _fit(argv: Sequence[str]) -> int:
    options = parse_options(FitOptions, argv, prog="agps reward fit")
    check_task(options.task)
    check_at_least(0, threads=options.threads)
    from rl.learner import prepare_process
    from rl.reward_classifier import fit_classifier, load_frames

    file = options.out or default_classifier(options.task)
    frames = load_frames(options.data or (default_frames(options.task),), task=options.task)
    prepare_process(options.threads)
    with json_only_on_stdout(options.json) as show:
        with _progress() as progress:
            bar = progress.add_task("fitting", total=options.fit.updates)

            def report(update: int, loss: float, validation_loss: float) -> None:
                text = f"fitting, loss {loss:.3f}, validation {validation_loss:.3f}"
                progress.update(bar, completed=update, description=text)

            classifier = fit_classifier(frames, options.fit, report)
        classifier.save(file)
        validation = classifier.notes["validation"]
        show({"file": str(file), "digest": classifier.digest, "threshold": classifier.threshold, **classifier.notes})
    if not options.json:
        print(
            f"Fitted in {classifier.notes['updates']} updates: threshold {classifier.threshold:.3f}, on "
            f"{validation['episodes']} validation episodes precision {validation['precision']:.3f}, "
            f"recall {validation['recall']:.3f}. Saved in {file}"
        )
    return 0


def _eval(argv: Sequence[str]) -> int:
    options = parse_options(EvalOptions, argv, prog="agps reward eval")
    check_task(options.task)
    check_at_least(0, rollouts=options.rollouts, seed=options.seed)
    check_at_least(1, n=options.n)
    from agps_agent.report.classifier_page import write_classifier_page
    from rl.learner import prepare_process
    from rl.reward_classifier import RewardClassifier, load_frames
    from rl.reward_classifier.judging import score_frames

    folder = options.out or Path("runs") / "reward" / options.task / "eval"
    classifier = RewardClassifier.load(options.file or default_classifier(options.task))
    frames = load_frames(options.data or (default_frames(options.task),), task=options.task)
    prepare_process(1)
    score = score_frames(classifier, frames)
    with json_only_on_stdout(options.json) as show:
        verdicts = _judge(classifier, options) if options.rollouts else []
        files = write_classifier_page(
            folder, score, verdicts, title=f"Reward classifier of {options.task}", n=options.n
        )
        show(
            {
                "task": options.task,
                "digest": classifier.digest,
                **_numbers(score),
                "verdicts": [_verdict_numbers(v) for v in verdicts],
                **files,
            }
        )
    if not options.json:
        print("\n".join([*_words(score, verdicts, options.n), f"Page: {files['page']}"]))
    return 0


def _judge(classifier: "RewardClassifier", options: EvalOptions) -> "list[VerdictScore]":
    from rl.reward_classifier.judging import RUNS, judge_rollouts, score_verdicts

    env = _env(options.task, classifier.image_size, options.task_options)
    try:
        with _progress() as progress:
            bar = progress.add_task("watching rollouts", total=options.rollouts)
            rollouts = judge_rollouts(
                env,
                classifier,
                rollouts=options.rollouts,
                seed=options.seed,
                policy=_policy(options.run, options.task),
                report=lambda count: progress.update(bar, completed=count),
            )
    finally:
        env.close()
    counts = sorted({*RUNS, options.n})
    return [score_verdicts(rollouts, threshold=classifier.threshold, n=n) for n in counts]


def _numbers(score: "FrameScore") -> dict[str, Any]:
    counts = score.counts
    return {
        "frames": len(score.frames),
        "episodes": len(set(score.frames.episode)),
        "threshold": score.threshold,
        **asdict(counts),
        "precision": counts.precision,
        "precision_95": counts.precision_95,
        "recall": counts.recall,
        "recall_95": counts.recall_95,
        "average_precision": score.average_precision,
        "by_source": {source: asdict(part) for source, part in score.by_source.items()},
    }


def _verdict_numbers(verdict: "VerdictScore") -> dict[str, Any]:
    counts = verdict.counts
    return {
        **asdict(verdict),
        "precision": counts.precision,
        "precision_95": counts.precision_95,
        "recall": counts.recall,
        "recall_95": counts.recall_95,
    }


def _words(score: "FrameScore", verdicts: "Sequence[VerdictScore]", n: int) -> Iterator[str]:
    counts = score.counts
    yield (
        f"Frames: precision {counts.precision:.3f} ({counts.precision_95[0]:.3f} to {counts.precision_95[1]:.3f}), "
        f"recall {counts.recall:.3f} ({counts.recall_95[0]:.3f} to {counts.recall_95[1]:.3f}), "
        f"average precision {score.average_precision:.3f}; {len(score.frames)} held-out frames, "
        f"threshold {score.threshold:.3f}."
    )
    for verdict in verdicts:
        if verdict.n == n:
            yield (
                f"Rollouts, {n} frames in a row: {verdict.right} right verdicts, {verdict.false} false, "
                f"{verdict.missed} missed, of {verdict.rollouts}; {verdict.mean_delay:.1f} steps late on average."
            )


def default_frames(task: str) -> Path:
    """Return where the frames of a task are kept."""
    return Path("runs") / "reward" / task / "frames"


def default_classifier(task: str) -> Path:
    """Return where the classifier of a task is kept."""
    return Path("runs") / "reward" / task / "classifier.pt"


def _env(task: str, image_size: int, task_options: TaskOptions) -> "ManipulationEnv":
    from agps_agent.build import build_env
    from agps_agent.config import RunConfig

    return build_env(RunConfig.model_validate({"task": task, "image_size": image_size, "task_options": task_options}))


def _policy(run_dir: Path | None, task: str) -> "Policy | None":
    """Return how the newest policy of a run acts, with the randomness that it explores with."""
    if run_dir is None:
        return None
    from agps_agent.build import load_policy
    from agps_agent.config import load_config

    directory = RunDirectory.open(run_dir)
    config = load_config(directory)
    if config.task != task:
        raise ConfigError(f"{run_dir} is a run of {config.task}, not of {task}; name another --run.")
    policy = load_policy(directory)
    return lambda observation: policy.predict(dict(observation), deterministic=False)[0]


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Show bars on stderr while something goes on, and nothing where stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
