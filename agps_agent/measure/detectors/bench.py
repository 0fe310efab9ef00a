"""The benchmark of failure detectors: every detector sees the same embeddings of the same rollouts."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agps_agent.detectors import FloatConfig, make_detector, make_encoder
from agps_agent.detectors.base import told
from agps_agent.detectors.float.encoder import Embedding, Encoder
from agps_agent.measure.detectors import FitOn
from agps_agent.measure.detectors.rollouts import GOOD_SHARE, PolicyPilot, Rollout, Split, make_rollouts
from agps_agent.measure.detectors.scoring import (
    Numbers,
    Trace,
    at_level,
    conformal_level,
    figures,
    merit,
    together,
)
from agps_agent.run.build import load_policy
from agps_agent.run.config_file import load_config
from agps_agent.run.directory import RunDirectory
from agps_agent.settings import SupervisorConfig
from rl.errors import ConfigError
from rl.tasks.base import SimulatedTask, simulated
from rl.tasks.registry import get_task

STALL = "stall"
SHIPPED = "float + stall"
"""What watches a run where nothing else is asked for, with its own thresholds and the thumbnail encoder."""
SHIPPED_ENCODER = "thumbnail"
OWN, CALIBRATED = "own", "calibrated"
"""Thresholds: the detector's, from its references; or one for which 5 % of the calibration rollouts are flagged."""

KEPT = SupervisorConfig().max_references
"""Good rollouts that a run compares with."""
_SPLITS: dict[FitOn, Split] = {"demonstrations": "reference", "successes": "calibration"}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A detector with settings."""

    name: str
    """In the table."""
    detector: str = "float"
    """By which it is made."""
    config: object | None = None
    """Its settings; None: the defaults."""
    warm_up: int = 3
    """Frames in which it never fires."""
    with_stall: bool = False
    """Whether it is also tried together with the stall rule."""


CANDIDATES = (
    Candidate(name="float", with_stall=True),
    Candidate(name="float, local", config=FloatConfig(local=True), with_stall=True),
    Candidate(name="float, not local", config=FloatConfig(local=False), with_stall=True),
    Candidate(name="float, global95", config=FloatConfig(threshold="global95")),
    Candidate(name="float, prefix", config=FloatConfig(index="prefix", local=False)),
    Candidate(name="float, prefix, local", config=FloatConfig(index="prefix", local=True)),
    Candidate(name="float, the paper's", config=FloatConfig.paper(), warm_up=0),
    Candidate(name="rnd", detector="agps_agent.detectors.novelty.rnd:RND", with_stall=True),
    Candidate(name="logpzo", detector="agps_agent.detectors.novelty.logpzo:LogpZO", with_stall=True),
    Candidate(name=STALL, detector=STALL, warm_up=0),
)
"""`float` is its default: partial transport, a band, the local term where references are many."""


def bench_detectors(
    task: str,
    *,
    episodes: int = 10,
    demos: int = 20,
    seed: int = 0,
    image_size: int = 64,
    encoders: Sequence[str] = ("thumbnail",),
    detectors: Sequence[str] = (),
    policies: Sequence[Path] = (),
    fit_on: FitOn = "demonstrations",
    progress: Callable[[str], None] = lambda words: None,
) -> Numbers:
    """Return what each detector is worth on one task, and which is best.

    Args:
        task: Name of the task.
        episodes: Rollouts of each kind in each split, see `make_rollouts`.
        demos: Demonstrations that detectors are fitted on.
        seed: Of the first start.
        image_size: Side of the policy's images, [px].
        encoders: Names of what turns images into embeddings.
        detectors: Names of further detectors.
        policies: Directories of runs whose policies act too.
        fit_on: Demonstrations, or `KEPT` good rollouts of all who act; there is no calibrated threshold then.
        progress: Is told what is being done.

    Raises:
        ConfigError: If something that was named does not exist, or does not fit the task.
    """
    made = simulated(get_task(task))
    cameras = [camera.name for camera in made.policy_cameras]
    seeing = {name: make_encoder(name, cameras) for name in encoders}
    candidates = (*CANDIDATES, *_further(detectors))
    _check_fit(candidates, made, demos=demos, episodes=episodes, fit_on=fit_on)
    pilots = [_pilot(Path(run), made, image_size) for run in policies]
    rollouts = make_rollouts(
        made, episodes=episodes, demos=demos, seed=seed, image_size=image_size, policies=pilots, progress=progress
    )
    rows: list[Numbers] = []
    costs: Numbers = {}
    for name, encoder in seeing.items():
        progress(f"{made.name}: detectors on {encoder.name}")
        embeddings, ms = embed(encoder, rollouts)
        costs[name] = {"encoder": encoder.name, "dimensions": encoder.dim, "ms_per_step": ms}
        judged = judge(candidates, rollouts, embeddings, horizon=made.horizon, fit_on=fit_on)
        rows += [{"encoder": name, **row} for row in judged]
    return {
        "task": made.name,
        "episodes": episodes,
        "demos": demos,
        "seed": seed,
        "image_size": image_size,
        "policies": [pilot.name for pilot in pilots],
        "fit_on": fit_on,
        "rollouts": _counts(rollouts),
        "encoders": costs,
        "rows": rows,
        **_verdict(rows),
    }


def _further(names: Sequence[str]) -> Iterator[Candidate]:
    """Yield somebody's own detectors.

    Raises:
        ConfigError: If one is measured anyway.
    """
    for number, name in enumerate(names):
        if name in (*(each.detector for each in CANDIDATES), *names[:number]):
            raise ConfigError(f"The detector {name} is measured anyway; name others.")
        yield Candidate(name=name, detector=name, warm_up=0, with_stall=True)


def _check_fit(
    candidates: Sequence[Candidate], task: SimulatedTask, *, demos: int, episodes: int, fit_on: FitOn
) -> None:
    """Refuse what would fail after minutes of rendering."""
    references, called, cure = demos, "demonstrations", "Give more --demos."
    if fit_on == "successes":
        references, called, cure = min(GOOD_SHARE * episodes, KEPT), "good rollouts", "Give more --episodes."
    for candidate in candidates:
        least = make_detector(candidate.detector, horizon=task.horizon, config=candidate.config).min_references
        if references < least:
            raise ConfigError(f"The detector {candidate.name} compares with {least} {called}, not {references}. {cure}")


def _pilot(path: Path, task: SimulatedTask, image_size: int) -> PolicyPilot:
    run = RunDirectory.open(path)
    config = load_config(run)
    if (config.task_name, config.image_size) != (task.name, image_size):
        raise ConfigError(
            f"The policy of {path} is for {config.task_name} with images of {config.image_size} px, not for "
            f"{task.name} with {image_size}; name it where it fits, with --image-size {config.image_size}."
        )
    return PolicyPilot(f"policy of {path.name}", load_policy(run))


def _counts(rollouts: Sequence[Rollout]) -> Numbers:
    counts: Numbers = {}
    for rollout in rollouts:
        kinds = counts.setdefault(rollout.split, {})
        kinds[rollout.kind] = kinds.get(rollout.kind, 0) + 1
    return counts


def embed(encoder: Encoder, rollouts: Sequence[Rollout]) -> tuple[list[Embedding], float]:
    """Return the embeddings of each rollout, (T, k), and the median time that one step takes, [ms]."""
    embeddings, times = [], []
    for rollout in rollouts:
        begin = time.process_time()
        embeddings.append(encoder.encode_batch([seen.images for seen in rollout.observations]))
        times.append((time.process_time() - begin) / len(rollout.observations))
    return embeddings, 1e3 * float(np.median(times))


def judge(
    candidates: Sequence[Candidate],
    rollouts: Sequence[Rollout],
    embeddings: Sequence[Embedding],
    *,
    horizon: int,
    fit_on: FitOn = "demonstrations",
) -> Iterator[Numbers]:
    """Yield a row of the table per detector and threshold.

    Args:
        candidates: The detectors; those that are tried with the stall rule need it among them.
        rollouts: Of all splits.
        embeddings: Of each rollout, (T, k).
        horizon: Control steps of the longest rollout.
        fit_on: What the detectors are fitted on.
    """
    traces = {each.name: trace_all(each, rollouts, embeddings, horizon=horizon, fit_on=fit_on) for each in candidates}
    for each in candidates:
        own = traces[each.name]
        kinds = {OWN: own}
        if each.name != STALL and fit_on == "demonstrations":
            good = [t for r, t in zip(rollouts, own, strict=True) if r.split == "calibration" and t is not None]
            level = conformal_level([trace.highest(each.warm_up) for trace in good])
            kinds[CALIBRATED] = [None if t is None else at_level(t, level, warm_up=each.warm_up) for t in own]
        for threshold, said in kinds.items():
            yield _row(each.name, threshold, rollouts, said, each.warm_up)
            if each.with_stall:
                both = [
                    None if a is None or b is None else together(a, b) for a, b in zip(said, traces[STALL], strict=True)
                ]
                yield _row(f"{each.name} + {STALL}", threshold, rollouts, both, each.warm_up)


def trace_all(
    candidate: Candidate,
    rollouts: Sequence[Rollout],
    embeddings: Sequence[Embedding],
    *,
    horizon: int,
    fit_on: FitOn = "demonstrations",
) -> list[Trace | None]:
    """Return what a fitted detector says of each rollout; None of those of the split that it was fitted on."""
    split = _SPLITS[fit_on]
    detector = make_detector(candidate.detector, horizon=horizon, config=candidate.config)
    pairs = list(zip(rollouts, embeddings, strict=True))
    references = [e for r, e in pairs if r.split == split]
    if fit_on == "successes":
        references = references[-KEPT:]
        told(detector, partial(detector.note_own, len(references)))
    enough = told(detector, partial(detector.fit, references))
    if detector.min_references and not enough:
        raise ConfigError(f"The detector {candidate.name} cannot be fitted on so few {fit_on}; give more.")
    traces: list[Trace | None] = []
    for rollout, embedded in pairs:
        if rollout.split == split:
            traces.append(None)
            continue
        detector.reset()
        scores, fired, times = [], [], []
        for observation, embedding in zip(rollout.observations, embedded, strict=True):
            begin = time.process_time()
            reading = told(detector, partial(detector.update, observation, embedding))
            times.append(time.process_time() - begin)
            scores.append(float(reading.triggered) if reading.relative is None else reading.relative)
            fired.append(reading.triggered)
        traces.append(Trace(scores=np.array(scores), fired=np.array(fired), ms=1e3 * float(np.median(times))))
    return traces


def _row(
    name: str, threshold: str, rollouts: Sequence[Rollout], traces: Sequence[Trace | None], warm_up: int
) -> Numbers:
    row: Numbers = {"detector": name, "threshold": threshold}
    for split in ("choosing", "held_out"):
        kept = [(r, t) for r, t in zip(rollouts, traces, strict=True) if r.split == split and t is not None]
        row[split] = figures([r for r, _ in kept], [t.in_time() for _, t in kept], warm_up=warm_up)
    return row


def _verdict(rows: Sequence[Numbers]) -> Mapping[str, Any]:
    """Return which row is best by the choosing split, and which is what AGPS ships, if it is among them."""
    best = max(rows, key=lambda row: merit(row["choosing"]))
    shipped = [row for row in rows if is_shipped(row)]
    return {"best": best, "shipped": shipped[0] if shipped else None}


def is_shipped(row: Mapping[str, Any]) -> bool:
    """Return whether a row is that of the default."""
    return (row["encoder"], row["detector"], row["threshold"]) == (SHIPPED_ENCODER, SHIPPED, OWN)
