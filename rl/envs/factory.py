"""Build an environment by task name, for `gymnasium.make`, tests and scripts."""

from dataclasses import replace
from typing import Any, Literal

from rl.envs.manipulation import ManipulationEnv, Reference
from rl.robots.base import Backend
from rl.robots.fake import FakeBackend
from rl.robots.mujoco import MujocoBackend
from rl.tasks.base import Task, simulated
from rl.tasks.registry import get_task


def make_env(
    task: str | Task,
    *,
    image_size: int = 64,
    robot: Literal["mujoco", "fake"] = "mujoco",
    reference: Reference = "commanded",
    timestep_s: float | None = None,
    render_mode: str | None = None,
    **task_overrides: Any,
) -> ManipulationEnv:
    """Return a task on a simulated arm.

    Args:
        task: Registered name, `package.module:Name`, `./file.py:Name`, or a task.
        image_size: Side of the policy images, [px].
        robot: Physics, or an arm that obeys at once.
        reference: Pose that actions are added to.
        timestep_s: Physics step of `mujoco`, [s]; the task's if None.
        render_mode: `rgb_array` or None.
        **task_overrides: Fields of the task to change.

    Raises:
        ConfigError: If there is no such task or field, or it has no scene for `mujoco`.
    """
    config = get_task(task, **task_overrides) if isinstance(task, str) else replace(task, **task_overrides)
    backend: Backend = (
        FakeBackend(config) if robot == "fake" else MujocoBackend(simulated(config), timestep_s=timestep_s)
    )
    return ManipulationEnv(config, backend, image_size=image_size, reference=reference, render_mode=render_mode)
