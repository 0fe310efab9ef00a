"""`agps float fit|eval TASK`: calibrate the failure detector on demonstrations, score it on held-out rollouts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from agps_agent.cli.folders import check_file
from agps_agent.cli.options import json_only_on_stdout, parse_options, run_subcommand
from agps_agent.cli.tasks import check_task
from agps_agent.detectors import FloatConfig
from rl.bounds import Count, Seed
from rl.errors import ConfigError
from rl.files import quoted

if TYPE_CHECKING:
    from agps_agent.detectors import FloatDetector

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
    n: Count = 20
    """Demonstrations to record."""
    seed: Seed = 0
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
    good: Count = 20
    """Good rollouts."""
    bad: Count = 20
    """Bad rollouts."""
    seed: Seed = HELD_OUT_SEED
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
    task = check_task(options.task)
    from agps_agent.detectors.float.evaluation import fit_detector
    from agps_agent.run.build import build_encoder, build_env
    from agps_agent.run.config import RunConfig
    from rl.demonstrations import load_demos, record_demos

    file = options.out or _default_file(task.name)
    check_file(file)
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
    task = check_task(options.task)
    from agps_agent.detectors import FloatDetector

    file = options.file or _default_file(task.name)
    if not file.is_file():
        raise ConfigError(
            f"There is no detector {file}; `agps float fit {options.task} --out {quoted(file)}` makes one."
        )
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
    from agps_agent.detectors.float.evaluation import evaluate_detector
    from agps_agent.run.build import build_encoder, build_env
    from agps_agent.run.config import RunConfig
    from rl.demonstrations import record_demos, record_miss
    from rl.tasks.base import simulated

    env = build_env(RunConfig(task=options.task))
    try:
        good = [_images(episode) for episode in record_demos(env, n=options.good, seed=options.seed)]
        landmarks = simulated(env.task).landmarks
        bad = [_images(record_miss(env, landmarks, seed=options.seed + 10_000 + n)) for n in range(options.bad)]
    finally:
        env.close()
    report = asdict(evaluate_detector(detector, build_encoder(env.task), good, bad))
    del report["rollouts"]
    return {"task": env.task.name, "good": len(good), "bad": len(bad), **report}


def _images(episode: Mapping[str, Any]) -> Images:
    return {name: frames for name, frames in episode.items() if np.ndim(frames) == 4}


def _default_file(task: str) -> Path:
    return Path("runs") / "float" / f"{task}.npz"
