"""Rollouts without a simulator: what is judged of them is known."""

import numpy as np

from agps_agent.measure.detectors.rollouts import Kind, Rollout, Split
from rl.types import Observation, RobotState


def observation(step: int, *, x_m: float = 0.0) -> Observation:
    T_base_tcp = np.eye(4)
    T_base_tcp[0, 3] = x_m
    robot = RobotState(T_base_tcp=T_base_tcp, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=1.0)
    return Observation(images={}, state=np.zeros(4, np.float32), robot=robot, T_base_ref=T_base_tcp, step=step)


def rollout(kind: Kind, *, steps: int = 10, onset: int | None = None, split: Split = "held_out") -> Rollout:
    """One whose arm moves 20 mm per step, until the onset."""
    reached = [20e-3 * min(step, steps if onset is None else onset) for step in range(steps + 1)]
    seen = tuple(observation(step, x_m=x_m) for step, x_m in enumerate(reached))
    return Rollout(kind=kind, split=split, by="nobody", seed=0, onset=onset, observations=seen)


def embedding(of: Rollout, *, seed: int) -> np.ndarray:
    """Along a line, and aside it from the onset on. Shape (T, 6)."""
    rng, frames = np.random.default_rng(seed), np.arange(len(of.observations))
    aside = np.maximum(0, frames - (len(frames) if of.onset is None else of.onset))
    line = np.stack([np.ones(len(frames)), 0.1 * frames, 0.5 * aside, *np.zeros((3, len(frames)))], axis=1)
    return np.asarray(line + 0.02 * rng.standard_normal(line.shape))
