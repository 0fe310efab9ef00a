"""How a run ends: when it counts as solved, why it is over, and how to go on with it.

A run counts as solved after two steps. An evaluation of the curve is perfect: all `curve_episodes` succeed, from the
same start states each time. Then a confirmation on fresh start states passes: of `solved_episodes` at most one in 60
fails. The second step is what bounds the error; the first one makes it rare.
"""

import math
import shlex
from pathlib import Path
from typing import Literal

from agps_agent.run.config import RunConfig

EndedBy = Literal["solved", "steps", "updates", "time", "interrupted", "fault"]
"""Solved, or all control steps done, or all updates of stage 1 in a run that is nothing else; the time limit; Ctrl-C or
a signal; on a robot whatever else ended it."""

EPISODES_PER_FAILURE = 60
"""Confirming episodes that forgive one failure."""


def allowed_failures(episodes: int) -> int:
    """Return how many of a confirmation's episodes may fail: 0 of fewer than 60, 1 of 60, 2 of 120."""
    return episodes // EPISODES_PER_FAILURE


def solved_probability(success: float, *, curve_episodes: int, solved_episodes: int) -> float:
    """Return how likely one evaluation ends a run whose policy succeeds with a given probability.

    p^m * sum_{k <= f} C(n, k) (1 - p)^k p^(n - k): m episodes of the curve, n that confirm, f failures allowed; start
    states are taken as independent.

    Args:
        success: Probability of success from one start state, in [0, 1].
        curve_episodes: Episodes of the evaluation, all of which must succeed.
        solved_episodes: Episodes of the confirmation.
    """
    failure, n = 1.0 - success, solved_episodes
    passes = sum(math.comb(n, k) * failure**k * success ** (n - k) for k in range(allowed_failures(n) + 1))
    return float(success**curve_episodes * passes)


def resume_command(config: RunConfig, path: Path, *options: str) -> str:
    """Return the command that goes on with a run, ready for a shell."""
    task = [] if config.env is not None else [config.task]
    return shlex.join(["agps", "train", *task, "--run-dir", str(path), "--resume", *options])


def ending(
    ended_by: EndedBy,
    config: RunConfig,
    path: Path,
    *,
    env_steps: int,
    updates: int,
    confirmed: str = "",
    why: str = "",
) -> str:
    """Return the sentence that says why a run is over, with the command that goes on with it.

    Args:
        ended_by: Why.
        config: The run's settings.
        path: Its directory.
        env_steps: Control steps done.
        updates: Updates of stage 1 done.
        confirmed: What the confirmation of a solved run came to, such as `59 of 60`.
        why: What the fault was.
    """
    is_stage_1 = config.offline or (env_steps == 0 and 0 < updates < config.pretrain_steps)
    done = f"{env_steps:,} of {config.max_env_steps:,} steps"
    if is_stage_1:
        done = f"{updates:,} of {config.pretrain_steps:,} updates of stage 1"
    said = {
        "solved": f"Solved after {done}: a perfect evaluation, then {confirmed} from fresh start states",
        "steps": f"Ended after all {max(env_steps, config.max_env_steps):,} steps",
        "updates": f"Ended after all {config.pretrain_steps:,} updates of stage 1",
        "time": f"Ended by the time limit of {config.max_minutes:g} minutes after {done}",
        "interrupted": f"Interrupted after {done}",
        "fault": f"Ended by a fault after {done} ({why.rstrip('.')})",
    }
    return f"{said[ended_by]}; go on with: {resume_command(config, path, *_larger(ended_by, config, env_steps))}"


def _larger(ended_by: EndedBy, config: RunConfig, env_steps: int) -> list[str]:
    """Return the options that leave a resumed run something to do: what was spent, twice."""
    more_steps = ["--max-env-steps", str(2 * max(env_steps, config.max_env_steps))]
    options: dict[EndedBy, list[str]] = {
        "solved": ["--no-stop-when-solved", *(more_steps if env_steps >= config.max_env_steps else [])],
        "steps": more_steps,
        "updates": ["--pretrain-steps", str(2 * config.pretrain_steps)],
        "time": ["--max-minutes", f"{2.0 * config.max_minutes:g}"],
    }
    return options.get(ended_by, [])
