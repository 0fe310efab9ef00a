"""What is wrong with a run, in one sentence: a pure function of a few figures that are measured anyway.

Rules stand in the order in which they exclude each other: a critic that has diverged explains why nothing is learned,
not the other way round. Each threshold stands beside its rule, with its reason.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Expected = Sequence[tuple[int, float]]
"""Control steps, rising, and the success of the policy alone after them."""

ENOUGH_ROLLOUTS = 20
"""Rollouts that say something: of 20 a policy that succeeds in one of five would fail in all with 1 %."""
REWARD_AFTER = 0.2
"""Share of the budget after which some rollout should have brought a reward."""
ENOUGH_HELP = 8
"""Helped rollouts, none of which succeeded: a helper that succeeds in half of them has none of 8 with 0.4 %."""
ENOUGH_IMAGES = 5
"""Rollouts whose images are compared: the view of a wrist camera may be covered in one."""
DARKEST = 2.0
"""Standard deviation of an image below which it shows nothing, in grey levels of 255: noise of a covered camera."""
VALUE_MARGIN = 2.0
"""How far Q may leave the range of returns, in widths of that range: the first batches overshoot by 0.7, later ones by
a tenth."""
GOAL_ERROR_KEPT = 0.8
"""Share of its first localisation error that an encoder may still have after `GOAL_ERROR_STEPS`."""
GOAL_ERROR_STEPS = 1_500
"""Control steps after the first localisation error that it is given to fall."""
GOAL_ERROR_MM = 5.0
"""Localisation error that is small enough in any case, [mm]."""
HELP_SHARE = 0.2
"""Share of guided control steps that is much, late in a run. Help begins with 0.3: it is given in 60 % of the rollouts,
for about half of their steps, and fades with success."""
HELP_STEPS = 2_000
"""Control steps before which no run is late; nor is it in the first half of its budget, nor while the recipe's policy
was still failing (`HELP_EXPECTED`)."""
HELP_EXPECTED = 0.5
"""Expected success from which help should be fading."""
TRIGGER_SHARE = 0.9
"""Share of rollouts with a trigger that says nothing any more about a policy which succeeds."""
GOOD = 0.8
"""Success of a policy that has learned its task."""
LAG = 2.0
"""Factor by which a run may be slower than expected: seeds of one recipe differ by 1.7 (3,000 to 5,000 steps)."""
LAG_SUCCESS = 0.2
"""Success that it may lack then: two standard deviations of an evaluation of 20."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a run shows at one moment; None for what was not measured. Newest: of the last 20 rollouts."""

    env_steps: int
    """Control steps so far."""
    max_env_steps: int
    """Budget of control steps."""
    policy_success: float | None = None
    """Success of the policy alone at the newest evaluation."""
    policy_steps: int = 0
    """Control steps at that evaluation."""
    unaided_success: float | None = None
    """Success of the newest rollouts without help, with exploration noise."""
    expected: float | None = None
    """Success of the policy alone that the task's recipe had after as many steps as that evaluation."""
    expected_earlier: float | None = None
    """The same after half as many (`LAG`)."""
    rollouts: int = 0
    """All of the run."""
    rewarded: int = 0
    """All rollouts in which any reward was seen: which succeeded, or in which it changed."""
    reward_rate: float | None = None
    """Share of the newest rollouts in which any reward was seen."""
    helped: int = 0
    """All rollouts in which somebody helped."""
    helped_successes: int = 0
    """Those of them that succeeded."""
    help_share: float | None = None
    """Share of guided steps among those of the newest rollouts."""
    trigger_share: float | None = None
    """Share of the newest rollouts in which a detector fired."""
    q_mean: float | None = None
    """Mean value of the newest batch, in units of `reward_scale`."""
    q_min: float | None = None
    """Smallest value of that batch."""
    q_max: float | None = None
    """Largest one."""
    target_mean: float | None = None
    """Mean of what critics learned from it."""
    return_min: float | None = None
    """Smallest possible return, in the same unit."""
    return_max: float | None = None
    """Largest one."""
    goal_error_mm: float | None = None
    """Error of where the encoder takes the goal to be, [mm]."""
    first_goal_error_mm: float | None = None
    """The first one that was measured."""
    first_goal_error_steps: int = 0
    """Control steps at which that was."""
    darkest_camera: str | None = None
    """Camera that shows least; None before `ENOUGH_IMAGES` rollouts."""
    darkest: float | None = None
    """The largest standard deviation of its images in the newest rollouts, in grey levels of 255."""
    stillest_camera: str | None = None
    """Camera that changes least within rollouts."""
    stillest: float | None = None
    """The largest mean change of its pixels within one of the newest rollouts, in grey levels of 255."""


def expected_at(curve: Expected, env_steps: float) -> float | None:
    """Return the expected success after so many control steps: linear in between, from 0 at the start; None of none."""
    if not curve:
        return None
    before = (0, 0.0)
    for after in curve:
        if env_steps <= after[0]:
            share = (env_steps - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 1.0
            return before[1] + share * (after[1] - before[1])
        before = after
    return before[1]


def diagnose(figures: Figures) -> str | None:
    """Return what is wrong and what to look at first, in one sentence; None where nothing is known to be.

    What comes before its colon names the fault, without figures.
    """
    rules = (_critic, _camera, _encoder, _help_in_vain, _no_reward, _help_stays, _triggers, _slow)
    return next((sentence for rule in rules if (sentence := rule(figures)) is not None), None)


def _critic(figures: Figures) -> str | None:
    values = [
        value for value in (figures.q_mean, figures.q_min, figures.q_max, figures.target_mean) if value is not None
    ]
    if not all(math.isfinite(value) for value in values):
        return "The critic has diverged: Q is no finite number; look first at learning_rate, and at the last losses."
    low, high = figures.return_min, figures.return_max
    if not values or low is None or high is None:
        return None
    margin = VALUE_MARGIN * (high - low)
    if low - margin <= min(values) and max(values) <= high + margin:
        return None
    return (
        f"The critic has diverged: Q goes from {min(values):.3g} to {max(values):.3g}, and returns can only lie within "
        f"{low:.3g} to {high:.3g}; look first at reward_scale, clip_target and learning_rate."
    )


def _camera(figures: Figures) -> str | None:
    if figures.darkest is not None and figures.darkest < DARKEST:
        return (
            f"Camera {figures.darkest_camera} sees nothing: its pixels differ by {figures.darkest:.1f} of 255 levels; "
            "look first at its images (agps view), light and exposure."
        )
    if figures.stillest is not None and figures.stillest == 0.0:
        return (
            f"Camera {figures.stillest_camera} stands still: its image is the same at the end of each rollout as at "
            "its start; look first at its stream (agps view)."
        )
    return None


def _encoder(figures: Figures) -> str | None:
    error, first = figures.goal_error_mm, figures.first_goal_error_mm
    is_early = figures.env_steps - figures.first_goal_error_steps < GOAL_ERROR_STEPS
    if error is None or first is None or is_early or _is_good(figures.policy_success):
        return None
    if error <= max(GOAL_ERROR_MM, GOAL_ERROR_KEPT * first):
        return None
    return (
        f"The encoder does not find the goal: its localisation error is {error:.1f} mm, and was {first:.1f} mm first; "
        "look first at what the policy's cameras show of goal and tool (agps view)."
    )


def _help_in_vain(figures: Figures) -> str | None:
    if figures.helped < ENOUGH_HELP or figures.helped_successes > 0:
        return None
    return (
        f"Help never succeeds: none of the {figures.helped} helped rollouts did; look first at what the helper saw and "
        "did, under Interventions in the report."
    )


def _no_reward(figures: Figures) -> str | None:
    is_early = figures.rollouts < ENOUGH_ROLLOUTS or figures.env_steps < REWARD_AFTER * figures.max_env_steps
    if is_early or figures.rewarded > 0:
        return None
    return (
        f"No reward was ever seen: none of {figures.rollouts} rollouts brought any; look first at what counts as a "
        "success, then give demonstrations (--demos) or help (--helper agent)."
    )


def _help_stays(figures: Figures) -> str | None:
    is_late = figures.env_steps >= max(HELP_STEPS, figures.max_env_steps / 2)
    is_late &= figures.expected is None or figures.expected >= HELP_EXPECTED
    is_late &= not _is_good(figures.policy_success)  # it has learned its task, whoever goes on helping
    if figures.help_share is None or figures.help_share <= HELP_SHARE or not is_late:
        return None
    alone = figures.unaided_success if figures.policy_success is None else figures.policy_success
    return (
        f"Help does not fade: {figures.help_share:.0%} of the newest steps are guided after {figures.env_steps:,}, "
        f"and the policy alone succeeds in {alone or 0.0:.0%}; look first at whether guided episodes succeed and are "
        "learned from (--store-guided)."
    )


def _triggers(figures: Figures) -> str | None:
    share = figures.trigger_share
    if (
        share is None
        or share < TRIGGER_SHARE
        or not _is_good(figures.unaided_success)
        # Where every rollout that drifts is helped, those without help are the lucky ones.
        or not (figures.policy_success is None or _is_good(figures.policy_success))
        or figures.rollouts < ENOUGH_ROLLOUTS
    ):
        return None
    return (
        f"Triggers do not fade: {share:.0%} of the rollouts have one although {figures.unaided_success:.0%} succeed "
        "without help; "
        "look first at its index against its threshold in the report (--float.alpha, --stall)."
    )


def _slow(figures: Figures) -> str | None:
    success, earlier = figures.policy_success, figures.expected_earlier
    if success is None or earlier is None or figures.expected is None or success >= earlier - LAG_SUCCESS:
        return None
    return (
        f"Slower than expected, with nothing else wrong that is measured: the policy alone succeeds in {success:.0%} "
        f"after {figures.policy_steps:,} steps, and {figures.expected:.0%} were expected; look first at what "
        "this run changes of the recipe (Configuration in the report)."
    )


def _is_good(success: float | None) -> bool:
    return success is not None and success >= GOOD
