"""`agps float fit|eval TASK`: calibrate the failure detector on demonstrations, score it on held-out rollouts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from agps_agent.cli.options import check_at_least, check_in, json_only_on_stdout, parse_options, run_subcommand
from agps_agent.cli.tasks import check_task
from agps_agent.float_trigger import FloatConfig
from rl.errors import ConfigError
from rl.ranges import SEED

if TYPE_CHECKING:
    from agps_agent.float_trigger import FloatDetector
    from rl.envs import ManipulationEnv

Images = dict[str, np.ndarray]
"""Per camera (T, H, W, 3) uint8."""

HELD_OUT_SEED = 500_000
"""Starts of the rollouts that a detector is scored on: never demonstrated, never trained on."""


@dataclass(frozen=True)
class FitOptions:
    """Calibrate FLOAT on demonstrations and save it."""

    task: tyro.conf.Positional[str]
    """Task."""
    demos: Path | None = None
    """Folder of demonstrations. None: record --n of the scripted expert."""
    n: int = 20
    """Demonstrations to record."""
    seed: int = 0
    """Seed of the first demonstration."""
    out: Path | None = None
    """File to write. None: runs/float/TASK.npz."""
    json: bool = False
    """Print one JSON object on stdout."""
    detector: Annotated[FloatConfig, tyro.conf.arg(name="float")] = field(default_factory=FloatConfig)
    """How FLOAT compares and when it fires."""


@dataclass(frozen=True)
class EvalOptions:
    """Score a detector: rollouts of the expert are good, rollouts that aim 1 to 4 cm beside the target are bad."""

    task: tyro.conf.Positional[str]
    """Task."""
    file: Path | None = None
    """Detector that `agps float fit` wrote. None: runs/float/TASK.npz."""
    good: int = 20
    """Good rollouts."""
    bad: int = 20
    """Bad rollouts."""
    seed: int = HELD_OUT_SEED
    """Seed of the first held-out start."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps float`."""
    commands = {
        "fit": (_fit, "calibrate on demonstrations"),
        "eval": (_eval, "score on held-out good and bad rollouts"),
    }
    return run_subcommand("agps float", "The online failure detector.", commands, argv)


def _fit(argv: Sequence[str]) -> int:
    options = parse_options(FitOptions, argv, prog="agps float fit")
    check_task(options.task)
    check_at_least(1, n=options.n)
    check_in(SEED, seed=options.seed)
    from agps_agent.build import build_encoder, build_env
    from agps_agent.config import RunConfig
    from agps_agent.float_trigger.evaluation import fit_detector
    from rl.tasks.demos import load_demos, record_demos

    file = options.out or _default_file(options.task)
    with json_only_on_stdout(options.json) as show:
        env = build_env(RunConfig(task=options.task))
        try:
            if options.demos is None:
                episodes = record_demos(env, n=options.n, seed=options.seed)
            else:
                episodes = load_demos(options.demos, env=env)
        finally:
            env.close()
        detector = fit_detector([_images(episode) for episode in episodes], build_encoder(env.task), options.detector)
        file.parent.mkdir(parents=True, exist_ok=True)
        detector.save(file)
        calibration = detector.calibration
        numbers = {
            "file": str(file),
            "demos": detector.demos,
            "alpha": calibration.alpha,
            "limit": calibration.limit,
            "global_threshold": calibration.global_threshold,
            "config": asdict(options.detector),
        }
        show(numbers)
    if not options.json:
        print(
            f"Calibrated on {detector.demos} demonstrations: at most {calibration.alpha:.1%} of good rollouts flagged, "
            f"limit {calibration.limit:.2f} deviations. Saved in {file}"
        )
    return 0


def _eval(argv: Sequence[str]) -> int:
    options = parse_options(EvalOptions, argv, prog="agps float eval")
    check_task(options.task)
    check_at_least(1, good=options.good, bad=options.bad)
    check_in(SEED, seed=options.seed)
    from agps_agent.float_trigger import FloatDetector

    file = options.file or _default_file(options.task)
    if not file.is_file():
        raise ConfigError(f"There is no detector {file}; `agps float fit {options.task} --out {file}` makes one.")
    with json_only_on_stdout(options.json) as show:
        numbers = _score(FloatDetector.load(file), options)
        show(numbers)
    if not options.json:
        print(
            f"Area under the ROC curve {numbers['auroc']:.3f} ({numbers['auroc_early']:.3f} over the first "
            f"{numbers['early_steps']} steps), {numbers['detection_rate']:.0%} of {options.bad} bad rollouts found "
            f"(median at step {numbers['median_trigger_step']:.0f}), {numbers['false_alarm_rate']:.0%} false alarms in "
            f"{options.good} good ones."
        )
    return 0


def _score(detector: "FloatDetector", options: EvalOptions) -> dict[str, Any]:
    from agps_agent.build import build_encoder, build_env
    from agps_agent.config import RunConfig
    from agps_agent.float_trigger.evaluation import evaluate_detector
    from rl.tasks.demos import record_demos

    env = build_env(RunConfig(task=options.task))
    try:
        good = [_images(episode) for episode in record_demos(env, n=options.good, seed=options.seed)]
        bad = [missing_rollout(env, seed=options.seed + 10_000 + n) for n in range(options.bad)]
    finally:
        env.close()
    report = asdict(evaluate_detector(detector, build_encoder(env.task), good, bad))
    del report["rollouts"]
    return {"task": options.task, "good": len(good), "bad": len(bad), **report}


def missing_rollout(env: "ManipulationEnv", *, seed: int) -> Images:
    """Return the images of a rollout whose expert takes the target to be 1 to 4 cm beside where it is."""
    from rl.tasks.expert import expert_in

    rng = np.random.default_rng(seed)
    angle, distance_m = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.01, 0.04)
    offset = distance_m * np.array([np.cos(angle), np.sin(angle), 0.0])
    expert = expert_in(env)
    _, info = env.reset(seed=seed)
    frames: list[Mapping[str, np.ndarray]] = [info["observation"].images]
    done = False
    while not done:
        believed = {
            name: point + offset if name in env.task.landmarks else point for name, point in env.truth().items()
        }
        _, _, terminated, truncated, info = env.step(expert(info["observation"], believed))
        frames.append(info["observation"].images)
        done = terminated or truncated
    return {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}


def _images(episode: Mapping[str, Any]) -> Images:
    return {name: frames for name, frames in episode.items() if np.ndim(frames) == 4}


def _default_file(task: str) -> Path:
    return Path("runs") / "float" / f"{task}.npz"
