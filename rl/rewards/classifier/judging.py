"""Score a classifier: frame by frame on held-out episodes, and verdict by verdict on whole rollouts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.rewards.classifier.classifier import RewardClassifier
from rl.rewards.classifier.collecting import Policy, rollouts_of
from rl.rewards.classifier.frames import BoolArray, FrameEpisode, LabelledFrames
from rl.rewards.classifier.metrics import Confusion, ReliabilityBin, average_precision, confusion, reliability

if TYPE_CHECKING:  # environments may use a classifier
    from rl.envs.manipulation import ManipulationEnv

RUNS = (1, 2, 3, 4, 5)
"""Numbers of positive frames in a row that are compared."""
KINDS = ("expert", "expert", "miss", "random")
"""Kinds of rollouts, in turn; each `expert` is two, and a policy adds one of its own."""


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """How good a classifier is on single frames that it never saw."""

    frames: LabelledFrames
    probability: npt.NDArray[np.float64]
    """Per frame. Shape (N,)."""
    threshold: float
    counts: Confusion
    average_precision: float
    reliability: tuple[ReliabilityBin, ...]
    by_source: dict[str, Confusion]
    """Counts of the frames of each source."""

    @property
    def mistakes(self) -> npt.NDArray[np.int64]:
        """Frames with a wrong verdict, false successes first, the surest first."""
        wrong = np.flatnonzero((self.probability >= self.threshold) != self.frames.success)
        surest = -np.abs(self.probability[wrong] - self.threshold)
        return wrong[np.lexsort((surest, self.frames.success[wrong]))]


def score_frames(classifier: RewardClassifier, frames: LabelledFrames) -> FrameScore:
    """Score a classifier on the held-out episodes whose starts its fit did not see.

    Raises:
        ConfigError: If the frames do not fit the classifier, or none is left.
    """
    for what, wanted, found in (
        ("task", classifier.task, frames.task),
        ("cameras", classifier.cameras, frames.cameras),
        ("image size", classifier.image_size, frames.image_size),
    ):
        if wanted != found:
            raise ConfigError(f"The classifier reads {what} {wanted}, the frames have {found}; name others.")
    held_out = frames.of("held_out")
    held_out = held_out.take(~np.isin(held_out.seed, list(classifier.notes.get("seeds", ()))))
    if not held_out.success.any() or held_out.success.all():
        raise ConfigError(
            f"{int(held_out.success.sum())} successes and {int((~held_out.success).sum())} failures are held out and "
            "unseen; both are needed, collect more with another --seed."
        )
    probability = classifier.probabilities(held_out.images, held_out.state)
    verdict = probability >= classifier.threshold
    sources = [str(source) for source in sorted(set(held_out.source))]
    return FrameScore(
        frames=held_out,
        probability=probability,
        threshold=classifier.threshold,
        counts=confusion(verdict, held_out.success),
        average_precision=average_precision(probability, held_out.success),
        reliability=reliability(probability, held_out.success),
        by_source={
            source: confusion(verdict[held_out.source == source], held_out.success[held_out.source == source])
            for source in sources
        },
    )


@dataclass(frozen=True, kw_only=True)
class JudgedRollout:
    """What a classifier and the truth say about each step of one rollout."""

    source: str
    """What the arm did at its end."""
    seed: int
    probability: npt.NDArray[np.float64]
    """Shape (T,)."""
    success: BoolArray
    """Shape (T,)."""


@dataclass(frozen=True, kw_only=True)
class VerdictScore:
    """Verdicts of whole rollouts when `n` positive frames in a row are asked for."""

    n: int
    rollouts: int
    right: int
    """Verdicts at a step at which the truth says success."""
    false: int
    """Verdicts at a step at which it does not: each would have been a wrong reward."""
    missed: int
    """Rollouts without a verdict that had n successes in a row."""
    mean_delay: float
    """Steps from the first true success to a right verdict."""

    @property
    def counts(self) -> Confusion:
        """The same as counts of rollouts."""
        rest = self.rollouts - self.right - self.false - self.missed
        return Confusion(
            true_positives=self.right, false_positives=self.false, false_negatives=self.missed, true_negatives=rest
        )


def judge_rollouts(
    env: "ManipulationEnv",
    classifier: RewardClassifier,
    *,
    rollouts: int,
    seed: int,
    policy: Policy | None = None,
    report: Callable[[int], None] | None = None,
) -> list[JudgedRollout]:
    """Watch rollouts of the kinds that `collect_episodes` knows; the k-th start is that of `seed + k`.

    Nothing ends at a verdict, so that one rollout serves for every number of frames in a row.

    Args:
        env: Environment that knows the truth.
        classifier: Judge.
        rollouts: Number of rollouts.
        seed: Seed of the first start.
        policy: Policy of an earlier run that acts in a part of them.
        report: Called after each start with the number of rollouts so far.
    """
    expert = env.expert()
    kinds = KINDS if policy is None else (*KINDS, "policy")
    judged: list[JudgedRollout] = []
    start = 0
    while len(judged) < rollouts:
        rng = np.random.default_rng([seed, start])
        watched = rollouts_of(kinds[start % len(kinds)], env, expert, policy, seed=seed + start, rng=rng)
        judged += [_judge(classifier, episode) for episode in watched if len(episode.success)]  # no step: a fault
        start += 1
        if report is not None:
            report(len(judged))
    return judged[:rollouts]


def score_verdicts(rollouts: Sequence[JudgedRollout], *, threshold: float, n: int) -> VerdictScore:
    """Count verdicts of `n` positive frames in a row."""
    right = false = missed = 0
    delays = []
    for rollout in rollouts:
        at = first_run(rollout.probability >= threshold, n)
        if at is None:
            missed += first_run(rollout.success, n) is not None
        elif rollout.success[at]:
            right += 1
            delays.append(at - int(np.argmax(rollout.success)))
        else:
            false += 1
    return VerdictScore(
        n=n,
        rollouts=len(rollouts),
        right=right,
        false=false,
        missed=missed,
        mean_delay=float(np.mean(delays)) if delays else float("nan"),
    )


def first_run(positive: npt.NDArray[Any], n: int) -> int | None:
    """Return the index at which the first run of `n` true values is complete; None where there is none."""
    run = 0
    for index, value in enumerate(positive):
        run = run + 1 if value else 0
        if run >= n:
            return index
    return None


def _judge(classifier: RewardClassifier, episode: FrameEpisode) -> JudgedRollout:
    return JudgedRollout(
        source=str(episode.source[-1]),
        seed=episode.seed,
        probability=classifier.probabilities(episode.images, episode.state),
        success=episode.success,
    )
