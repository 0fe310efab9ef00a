"""A value landscape: what a policy expects of itself at places around the goal, and where the agent's boxes lie in it.

The arm is placed at each point of a grid in the Y-Z plane through the goal, in the same scene, and what it sees there
is rendered anew (AGPS, arXiv:2602.11978, Figures 5 and 6).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.utils.seeding import np_random

from agps_agent.run.build import Asker, capture_scene
from rl.envs.manipulation import EnvSnapshot, ManipulationEnv
from rl.errors import ConfigError
from rl.transforms import pose
from rl.types import FloatArray, Prune

Value = Callable[[Mapping[str, npt.NDArray[Any]]], npt.NDArray[Any]]
"""From batched observations to what is expected there, (B,): `PixelPolicy.value`, or a critic of one's own."""
BATCH = 256
"""Observations that are valued at once: more than fit a cache gain nothing."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A grid in the Y-Z plane through the goal: base axes, beside and above where the TCP is at the goal."""

    y_m: FloatArray
    """Rising, (columns,), [m]."""
    z_m: FloatArray
    """Rising, (rows,), [m]."""


def value_map(env: ManipulationEnv, value: Value, plane: Plane, *, goal: str, seed: int) -> FloatArray:
    """Return what is expected at each point of a plane, in the scene of a seed. Shape (rows, columns).

    The observation is that of an episode which began at the task's `home`, with the arm at rest at the point, its TCP
    turned as there.

    Args:
        env: Simulator of the task.
        value: What is drawn.
        plane: Where.
        goal: Named point that the working point of what is held is at when it is there.
        seed: Of the scene.

    Raises:
        ConfigError: If the simulator knows no such point, or part of the plane is outside of the workspace.
    """
    T_base_goal = goal_pose(env, goal=goal, seed=seed)
    points = [T_base_goal[:3, 3] + np.array([0.0, y, z]) for z in plane.z_m for y in plane.y_m]
    for point in (points[0], points[-1]):
        if not env.workspace.contains(point):
            outside = ", ".join(f"{v:.3f}" for v in point)
            raise ConfigError(f"The corner ({outside}) m of the plane is outside the workspace of {env.task.name}.")
    found: list[FloatArray] = []
    seen: list[Mapping[str, npt.NDArray[Any]]] = []
    for number, observation in enumerate(_observations(env, points, T_base_goal[:3, :3], seed=seed), start=1):
        seen.append(observation)
        if len(seen) == BATCH or number == len(points):
            found.append(np.asarray(value({key: np.stack([one[key] for one in seen]) for key in seen[0]}), float))
            seen = []
    return np.concatenate(found).reshape(len(plane.z_m), len(plane.y_m))


def goal_pose(env: ManipulationEnv, *, goal: str, seed: int) -> FloatArray:
    """Return where the TCP is when the working point is at the goal, turned as at `home`. Shape (4, 4), [m].

    Raises:
        ConfigError: If the simulator knows no such point.
    """
    env.reset(seed=seed)
    truth = env.truth()
    if goal not in truth:
        raise ConfigError(f"{env.task.name} has no point {goal!r}; it has {', '.join(sorted(truth))}.")
    rotation = env.task.home[:3, :3]
    return pose(truth[goal] - rotation @ env.p_tcp_tool, rotation)


def box_centres(asker: Asker, env: ManipulationEnv, *, goal: str, seed: int, scenes: int) -> list[FloatArray | None]:
    """Return the middle of the agent's box in each of some scenes, relative to the TCP at the goal; None: it gave none.

    The agent is asked for a box at the start of the episode: without memory, and whatever the policy would do.

    Args:
        asker: Who is asked.
        env: Simulator of the task.
        goal: Named point, as in `value_map`.
        seed: Of the first scene.
        scenes: How many.

    Returns:
        Each (3,), [m], base axes.
    """
    centres: list[FloatArray | None] = []
    for number in range(scenes):
        T_base_goal = goal_pose(env, goal=goal, seed=seed + number)
        advice = asker.ask(capture_scene(env), mode="prune").intervention
        middle = (advice.box.lower + advice.box.upper) / 2.0 if isinstance(advice, Prune) else None
        centres.append(None if middle is None else middle - T_base_goal[:3, 3])
    return centres


def _observations(
    env: ManipulationEnv, points: list[FloatArray], rotation: FloatArray, *, seed: int
) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """Yield what the policy sees with the arm at each point, as if the episode had begun at the task's home."""
    for point in points:
        T_base_tcp = pose(point, rotation)
        generator, _ = np_random(seed)
        env.task.start(generator)  # the scene is drawn after the start, as in `reset`
        robot = env.backend.reset(T_base_tcp, generator)
        placed = EnvSnapshot(
            backend=env.backend.snapshot(),
            robot=robot,
            T_base_start=env.task.home,
            T_base_ref=T_base_tcp,
            opening=env.task.gripper_opening,
            step=0,
            rng=generator.bit_generator.state,
        )
        yield env.restore(placed)[0]
