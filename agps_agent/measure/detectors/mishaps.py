"""How rollouts go wrong: small typed perturbations that begin at a known step and do not end."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from rl.demonstrations import mistaken
from rl.envs.manipulation import ManipulationEnv
from rl.rollout import Act, Moment
from rl.tasks.base import simulated
from rl.types import FloatArray

Mishap = Literal["drift", "stall", "wrong_region", "missed_grasp", "dropped"]
"""drift: pulled off to one side. stall: stands still. wrong_region: goes where nothing is to be done. missed_grasp: the
fingers close on nothing, and the policy goes on. dropped: they open on the way, and the policy goes on."""

DRIFT = (0.3, 0.7)
"""Speed to one side, in full steps."""
TREMOR = 0.05
"""Standard deviation of what a stalled arm still does, in full steps."""
ASIDE_M = (0.03, 0.06)
"""How far beside the task's points the wrong region is, [m]."""
LIFTED_M = 0.04
"""What was grasped is in the air when the TCP is this far above where the fingers closed, [m]."""
OPEN_STEPS = 3
"""Control steps for which the fingers open when they drop something."""

Spoiled = tuple[int, Act]
"""The onset, and who acts from the start."""


def from_step(onset: int, before: Act, after: Act) -> Act:
    """Return one who acts until a step, and then another."""
    return lambda now: (after if now.step >= onset else before)(now)


def mishap_of(kind: str, env: ManipulationEnv, act: Act, rng: np.random.Generator) -> Act:
    """Return who acts when something has gone wrong that needs no gripper.

    Args:
        kind: Which of them.
        env: Where.
        act: The policy to which it happens.
        rng: Draws how.
    """
    angle_rad = rng.uniform(0.0, 2.0 * np.pi)
    if kind == "wrong_region":
        points, distance_m = simulated(env.task).landmarks, rng.uniform(*ASIDE_M)
        lost = mistaken(env.expert(), points, angle_rad=angle_rad, distance_m=distance_m)
        return lambda now: lost(now.observation, env.truth())
    if kind == "stall":
        return lambda now: _resting(env.task.actions, rng)
    pull = rng.uniform(*DRIFT) * np.array([np.cos(angle_rad), np.sin(angle_rad)])
    return lambda now: _with(_asked(act, now), slice(0, 2), pull)


def missed_grasp(twin: Sequence[Moment], rng: np.random.Generator) -> Spoiled | None:
    """Return who repeats a good rollout, but closes the fingers above what they should hold.

    None if the rollout grasps nothing.
    """
    actions, grasp, lifted, _ = _holding(twin)
    if grasp is None:
        return None
    actions[grasp:lifted, 6] = 1.0
    return grasp, _repeat(actions, rng)


def dropped(twin: Sequence[Moment], rng: np.random.Generator) -> Spoiled | None:
    """Return who repeats a good rollout, but opens the fingers on the way; None if nothing is carried."""
    actions, grasp, lifted, release = _holding(twin)
    if grasp is None or lifted >= release:
        return None
    onset = int(rng.integers(lifted, release))
    actions[onset : onset + OPEN_STEPS, 6] = 1.0
    return onset, _repeat(actions, rng)


def _holding(twin: Sequence[Moment]) -> tuple[npt.NDArray[np.float32], int | None, int, int]:
    """Return a rollout's actions (n, 7), and the steps at which it grasps, has lifted and lets go."""
    actions = np.stack([moment.info["executed_action"] for moment in twin[1:]]).astype(np.float32)
    heights = np.array([moment.observation.robot.T_base_tcp[2, 3] for moment in twin[:-1]])
    grasp = _first(actions[:, 6] < -0.5, 0)
    if grasp == len(actions):
        return actions, None, grasp, grasp
    lifted = _first(heights > heights[grasp] + LIFTED_M, grasp)
    return actions, grasp, lifted, _first(actions[:, 6] > 0.5, lifted)


def _first(where: npt.NDArray[np.bool_], start: int) -> int:
    """Return the first place from `start` on at which it is so, or the length."""
    found = np.flatnonzero(where[start:])
    return start + int(found[0]) if len(found) else len(where)


def _repeat(actions: npt.NDArray[np.float32], rng: np.random.Generator) -> Act:
    """Return who takes these actions, one per step, and then rests: it believes that it is done."""
    return lambda now: actions[now.step] if now.step < len(actions) else _resting(actions.shape[1], rng)


def _resting(actions: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return an action that leaves the arm where it is, but for a tremor, and the fingers as they are."""
    return _with(np.zeros(actions, np.float32), slice(0, 6), TREMOR * rng.standard_normal(6))


def _asked(act: Act, now: Moment) -> npt.NDArray[np.float32]:
    action = act(now)
    assert action is not None  # policies and experts do not end an episode
    return np.asarray(action, dtype=np.float32)


def _with(action: npt.NDArray[np.float32], part: slice, values: FloatArray) -> npt.NDArray[np.float32]:
    changed = action.copy()
    changed[part] = values
    return changed
