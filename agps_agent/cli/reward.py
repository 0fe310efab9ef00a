"""`agps reward collect|fit|eval TASK`: a reward from images in place of the truth, which a real table does not tell."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from agps_agent.cli.arm_options import STATION, Speed, refuse_idle_arm
from agps_agent.cli.folders import check_file, check_folder
from agps_agent.cli.options import json_only_on_stdout, parse_options, run_subcommand
from agps_agent.cli.tasks import TaskOptions, check_task, parse_for_task
from agps_agent.cli.terminal import progress_bars, say
from agps_agent.run.directory import RunDirectory, default_classifier, reward_folder
from agps_agent.run.place import check_robot, named_at, place_of
from agps_agent.run.simulation import SIMULATION
from rl.bounds import Count, Seed, Threads, Whole
from rl.counting import counted
from rl.errors import ConfigError
from rl.rewards.classifier import FitConfig

if TYPE_CHECKING:
    from rl.envs import ManipulationEnv
    from rl.rewards.classifier import RewardClassifier
    from rl.rewards.classifier.collecting import Policy
    from rl.rewards.classifier.frames import FrameEpisode
    from rl.rewards.classifier.judging import FrameScore, VerdictScore

COLLECT_SEED, JUDGE_SEED = 5_000_000, 6_000_000
"""Starts of collected and of judged rollouts: never demonstrated, trained on or evaluated on."""


@dataclass(frozen=True)
class RobotOptions:
    """The arm."""

    station: Path = STATION
    """Robot: file that describes arm, workspace and cameras."""
    robot_ip: str | None = None
    """Robot: address of the arm in place of the station's."""
    speed: Speed = 1.0
    """Robot: longest control step over the task's."""


@dataclass(frozen=True)
class CollectOptions:
    """Record labelled frames: successes, what only looks like one, and everything else.

    In simulation and on an emulator scripted behaviour shows them and the truth labels them. On hardware somebody moves
    the arm and the operator's keys label what is seen: s from when it is done, f from when it is not any more; every
    episode begins as not done. The second before either key and the last one of an episode are left out. Space or Esc
    stop the arm. Whatever ends a recording, the episodes that were finished are kept.
    """

    task: tyro.conf.Positional[str]
    """Task."""
    positive: Count | None = None
    """Frames of successes. None: as the task's recipe says, 200 (HIL-SERL) where they do."""
    negative: Count | None = None
    """Frames of failures, most from around success. None: as the task's recipe says, 1000 (HIL-SERL) where they do."""
    run: Path | None = None
    """Run directory: its newest policy gives half of the failures, or with --by policy moves the arm. None: scripted
    behaviour only."""
    by: Literal["spacemouse", "gamepad", "policy", "expert"] | None = None
    """Robot: who moves the arm. None: a SpaceMouse, or the scripted expert on an emulator, which knows the truth."""
    seed: Seed = COLLECT_SEED
    """Seed of the first start; each episode has its own."""
    image_size: Literal[64, 128, 256] = 64
    """Edge of the images, [px]; must be that of the policy that will be trained with the classifier."""
    out: Path | None = None
    """Folder to write. None: runs/reward/TASK/frames, or runs/reward/ROBOT-TASK/frames."""
    robot: str = "sim"
    """Where: in simulation (sim), or on the arm of --station (station, or that arm's own name, e.g. franka)."""
    where: Annotated[RobotOptions, tyro.conf.arg(name="")] = field(default_factory=RobotOptions)
    """The arm."""
    json: bool = False
    """Print one JSON object on stdout."""
    task_options: TaskOptions = field(default_factory=dict)
    """What to change about the task."""


@dataclass(frozen=True)
class FitOptions:
    """Fit a classifier; its threshold is chosen for precision on episodes that were left out of the fit."""

    task: tyro.conf.Positional[str]
    """Task."""
    data: tuple[Path, ...] = ()
    """Folders that `agps reward collect` wrote. None: runs/reward/TASK/frames, or runs/reward/ROBOT-TASK/frames."""
    robot: str = "sim"
    """Whose frames to fit to where --data does not say it, and whose classifier to write where --out does not."""
    out: Path | None = None
    """File to write. None: runs/reward/TASK/classifier.pt, or runs/reward/ROBOT-TASK/classifier.pt."""
    threads: Threads = 1
    """Torch threads; 0: one per physical core."""
    json: bool = False
    """Print one JSON object on stdout."""
    fit: Annotated[FitConfig, tyro.conf.arg(name="")] = field(default_factory=FitConfig)
    """How it is fitted."""


@dataclass(frozen=True)
class EvalOptions:
    """Score a classifier on held-out episodes, and its verdicts on new rollouts; draws its mistakes.

    New rollouts need somebody who knows the truth: the simulation, or with --robot station an emulated one.
    """

    task: tyro.conf.Positional[str]
    """Task."""
    file: Path | None = None
    """Classifier that `agps reward fit` wrote. None: runs/reward/TASK/classifier.pt, or that of ROBOT-TASK."""
    data: tuple[Path, ...] = ()
    """Folders that `agps reward collect` wrote; of them only the held-out episodes count. None: as for fit."""
    rollouts: Whole | None = None
    """New rollouts to watch from start to end; 0: none. None: 120, or none for frames of a robot."""
    run: Path | None = None
    """Run directory: its newest policy acts in a fifth of the rollouts. None: scripted behaviour only."""
    n: Count = 2
    """Positive frames in a row that make a success; the page compares 1 to 5."""
    seed: Seed = JUDGE_SEED
    """Seed of the first rollout."""
    out: Path | None = None
    """Folder to write. None: runs/reward/TASK/eval, or runs/reward/ROBOT-TASK/eval."""
    robot: str = "sim"
    """Where new rollouts are watched, and whose frames and classifier are taken where nothing else is named."""
    where: Annotated[RobotOptions, tyro.conf.arg(name="")] = field(default_factory=RobotOptions)
    """The arm."""
    json: bool = False
    """Print one JSON object on stdout."""
    task_options: TaskOptions = field(default_factory=dict)
    """What to change about the task."""


def run(argv: Sequence[str]) -> int:
    """Run `agps reward`."""
    commands = {
        "collect": (_collect, "record labelled frames, in simulation or on a robot"),
        "fit": (_fit, "fit a classifier"),
        "eval": (_eval, "score a classifier on episodes that it never saw"),
    }
    return run_subcommand("agps reward", "A reward from images.", commands, argv)


def _collect(argv: Sequence[str]) -> int:
    options = parse_for_task(CollectOptions, argv, prog="agps reward collect")
    options = replace(options, robot=check_robot(options.robot))
    task = check_task(options.task)
    default = task.recipe.reward_frames
    positive = default[0] if options.positive is None else options.positive
    negative = default[1] if options.negative is None else options.negative
    place = place_of(options.robot)
    refuse_idle_arm(
        options.robot, station=options.where.station, robot_ip=options.where.robot_ip, speed=options.where.speed
    )
    if options.by not in (None, "expert"):
        place.require_arm(f"--by {options.by} needs a robot; in simulation scripted behaviour shows everything.")
    folder = options.out or default_frames(task.name, options.robot)
    from rl.growing_folder import is_in_use

    if is_in_use(folder):
        raise ConfigError(f"{folder} already exists and is not empty; name another --out.")
    check_folder(folder)
    collect = place.choose(_collect_in_simulation, _collect_on_robot)
    with json_only_on_stdout(options.json) as show:
        with _what_is_kept_is_told(folder):
            episodes = collect(options, folder, positive, negative)
        numbers: dict[str, Any] = {
            "folder": str(folder),
            "task": task.name,
            "episodes": len(episodes),
            "positive": int(sum(episode.success.sum() for episode in episodes)),
            "negative": int(sum((~episode.success).sum() for episode in episodes)),
        }
        show(numbers)
    if not options.json:
        print(
            f"{counted(numbers['positive'], 'frame')} of success and {numbers['negative']} of failure from "
            f"{counted(numbers['episodes'], 'episode')} in {folder}"
        )
    return 0


@contextmanager
def _what_is_kept_is_told(folder: Path) -> Iterator[None]:
    """Say what a collection that ended early leaves, and how to go on."""
    try:
        yield
    except BaseException:
        if (folder / "frames.json").is_file():
            say(
                f"What was recorded is kept in {folder}. Record the rest with another --out and --seed; "
                "`agps reward fit` takes both folders as --data."
            )
        raise


def _collect_in_simulation(
    options: CollectOptions, folder: Path, positive: int, negative: int
) -> "Sequence[FrameEpisode]":
    from agps_agent.run.signals import saving
    from rl.rewards.classifier.collecting import collect_episodes
    from rl.rewards.classifier.frames import FrameFolder

    env = _env(options.task, options.image_size, options.task_options)
    kept = FrameFolder(folder, env=env, seed=options.seed)
    try:
        with progress_bars() as progress:
            bar = progress.add_task("collecting", total=positive + negative)
            for episode in collect_episodes(
                env,
                positive=positive,
                negative=negative,
                seed=options.seed,
                policy=_policy(options.run, options.task, options.image_size),
                report=lambda found, missing: progress.update(bar, completed=found + missing),
            ):
                with saving():
                    kept.keep(episode)
    finally:
        env.close()
    return kept.episodes


def _collect_on_robot(options: CollectOptions, folder: Path, positive: int, negative: int) -> "Sequence[FrameEpisode]":
    from agps_agent.run.reward_frames import record_frames

    return record_frames(
        folder,
        task=options.task,
        by=options.by,
        robot=options.robot,
        positive=positive,
        negative=negative,
        seed=options.seed,
        image_size=options.image_size,
        station=options.where.station,
        robot_ip=options.where.robot_ip,
        speed=options.where.speed,
        task_options=options.task_options,
        policy=_policy(options.run, options.task, options.image_size),
        say=say,
    )


def _fit(argv: Sequence[str]) -> int:
    options = parse_options(FitOptions, argv, prog="agps reward fit", named=("--data",))
    options = replace(options, robot=check_robot(options.robot))
    task = check_task(options.task)
    from rl.process import prepare_process
    from rl.rewards.classifier import fit_classifier, load_frames

    file = options.out or default_classifier(named_at(options.robot, task.name))
    check_file(file)
    frames = load_frames(options.data or (default_frames(task.name, options.robot),), task=task.name)
    prepare_process(options.threads)
    with json_only_on_stdout(options.json) as show:
        with progress_bars() as progress:
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
    options = parse_for_task(EvalOptions, argv, prog="agps reward eval")
    options = replace(options, robot=check_robot(options.robot))
    task = check_task(options.task)
    refuse_idle_arm(
        options.robot, station=options.where.station, robot_ip=options.where.robot_ip, speed=options.where.speed
    )
    from agps_agent.report.classifier_page import write_classifier_page
    from rl.process import prepare_process
    from rl.rewards.classifier import RewardClassifier, load_frames
    from rl.rewards.classifier.frames import recorded_on
    from rl.rewards.classifier.judging import score_frames

    folder = options.out or reward_folder(named_at(options.robot, task.name)) / "eval"
    check_folder(folder)
    classifier = RewardClassifier.load(options.file or default_classifier(named_at(options.robot, task.name)))
    data = options.data or (default_frames(task.name, options.robot),)
    frames = load_frames(data, task=task.name)
    rollouts = _rollouts(options, recorded_on(data, task=task.name))
    prepare_process(1)
    score = score_frames(classifier, frames)
    with json_only_on_stdout(options.json) as show:
        verdicts = _judge(classifier, options, rollouts) if rollouts else []
        files = write_classifier_page(folder, score, verdicts, title=f"Reward classifier of {task.name}", n=options.n)
        show(
            {
                "task": task.name,
                "digest": classifier.digest,
                **_numbers(score),
                "verdicts": [_verdict_numbers(v) for v in verdicts],
                **files,
            }
        )
    if not options.json:
        print("\n".join([*_words(score, verdicts, options.n), f"Page: {files['page']}"]))
        if options.rollouts is None and not rollouts:
            print(
                "No whole rollouts were watched: these frames are of a robot, and only the simulation or an emulated "
                "station (--robot station --rollouts N) knows whether a verdict is right."
            )
    return 0


def _rollouts(options: EvalOptions, robots: set[str]) -> int:
    """Return how many rollouts to watch.

    Raises:
        ConfigError: If nobody there knows whether a verdict is right.
    """
    place, were_simulated = place_of(options.robot), robots == {SIMULATION}
    rollouts = options.rollouts if options.rollouts is not None else place.choose(120, 0) if were_simulated else 0
    if rollouts and not were_simulated:
        place.require_arm(
            f"--rollouts {rollouts}: these frames are of a robot, and the simulation looks different; "
            "use --rollouts 0, or --robot station with an emulated one."
        )
    if rollouts and place.choose(False, True):
        from rl.robots.station import load_station

        load_station(options.where.station, ip=options.where.robot_ip).require_truth(
            f"--rollouts {rollouts}",
            "use --rollouts 0, and watch `agps train --robot station --reward classifier`: your keys override it",
        )
    return rollouts


def _judge(classifier: "RewardClassifier", options: EvalOptions, rollouts: int) -> "list[VerdictScore]":
    from rl.rewards.classifier.judging import RUNS, judge_rollouts, score_verdicts

    policy = _policy(options.run, options.task, classifier.image_size)
    with _judging_env(options, classifier.image_size) as env, progress_bars() as progress:
        bar = progress.add_task("watching rollouts", total=rollouts)
        judged = judge_rollouts(
            env,
            classifier,
            rollouts=rollouts,
            seed=options.seed,
            policy=policy,
            report=lambda count: progress.update(bar, completed=count),
        )
    counts = sorted({*RUNS, options.n})
    return [score_verdicts(judged, threshold=classifier.threshold, n=n) for n in counts]


def _judging_env(options: EvalOptions, image_size: int) -> "AbstractContextManager[ManipulationEnv]":
    return place_of(options.robot).choose(_simulated_judging, _judging_on_arm)(options, image_size)


def _simulated_judging(options: EvalOptions, image_size: int) -> "AbstractContextManager[ManipulationEnv]":
    return closing(_env(options.task, image_size, options.task_options))


@contextmanager
def _judging_on_arm(options: EvalOptions, image_size: int) -> "Iterator[ManipulationEnv]":
    from agps_agent.run.demonstrations import open_moved_arm

    with open_moved_arm(
        options.task,
        "expert",
        robot=options.robot,
        seed=options.seed,
        image_size=image_size,
        station=options.where.station,
        robot_ip=options.where.robot_ip,
        speed=options.where.speed,
        task_options=options.task_options,
    ) as arm:
        yield arm.env


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


def default_frames(task: str, robot: str = "sim") -> Path:
    """Return where the frames of a task are kept."""
    return reward_folder(named_at(robot, task)) / "frames"


def _env(task: str, image_size: int, task_options: Mapping[str, Any]) -> "ManipulationEnv":
    from agps_agent.run.build import build_env
    from agps_agent.run.config import RunConfig

    return build_env(RunConfig.model_validate({"task": task, "image_size": image_size, "task_options": task_options}))


def _policy(run_dir: Path | None, task: str, image_size: int) -> "Policy | None":
    """Return how the newest policy of a run acts, with the randomness that it explores with."""
    if run_dir is None:
        return None
    from agps_agent.run.build import load_policy
    from agps_agent.run.config_file import load_config

    directory = RunDirectory.open(run_dir)
    config = load_config(directory)
    name = check_task(task).name
    if config.task_name != name:
        raise ConfigError(f"{run_dir} is a run of {config.task_name}, not of {name}; name another --run.")
    if config.image_size != image_size:
        raise ConfigError(
            f"The policy of {run_dir} sees images of {config.image_size} px, not {image_size}; name another."
        )
    policy = load_policy(directory)
    policy.predict(policy.observation_space.sample(), deterministic=False)  # slow the first time: no arm shall wait
    return lambda observation: policy.predict(dict(observation), deterministic=False)[0]
