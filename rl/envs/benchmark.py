"""How fast the simulated environment is: what `agps bench env` prints."""

import time
from typing import Any

import numpy as np

from rl.envs.factory import make_env
from rl.robots.mujoco import MujocoBackend
from rl.rollout import run_steps


def bench_env(task: str, *, image_size: int = 128, steps: int = 300, seed: int = 0) -> dict[str, Any]:
    """Return control steps per second with RGB and depth of every policy camera, and what each part takes.

    Rates are per second of CPU time of the whole process, software rendering threads included: one core's work.

    Args:
        task: As in `make_env`.
        image_size: Side of the policy images, [px].
        steps: Control steps to time, random actions.
        seed: Seed of starts and actions.
    """
    env = make_env(task, image_size=image_size)
    backend = env.backend
    assert isinstance(backend, MujocoBackend)
    try:
        env.action_space.seed(seed)
        moments = run_steps(env, lambda _: env.action_space.sample(), steps=steps + 1, seed=seed)
        next(moments), next(moments)  # the first reset and the first step are slow
        env.capture()
        env_s = render_s = 0.0
        started, t0 = time.perf_counter(), time.process_time()
        for moment in moments:
            if moment.step == 0:  # a reset is part of the step that ended the episode before
                continue
            t1 = time.process_time()
            backend.policy_rgbd(image_size, depth=True)
            t2 = time.process_time()
            env_s, render_s, t0 = env_s + t1 - t0, render_s + t2 - t1, t2
        wall_s = time.perf_counter() - started
        rgb_s = _cpu_seconds(lambda: backend.policy_rgbd(image_size, depth=False), repeats=max(steps // 5, 5))
        capture_s = _cpu_seconds(env.capture, repeats=5)
    finally:
        env.close()
    return {
        "task": task,
        "image_size": image_size,
        "cameras": len(env.task.policy_cameras),
        "steps": steps,
        # The environment renders colour only; with depth the same pass is read out once more.
        "steps_per_s_rgbd": steps / (env_s - steps * rgb_s + render_s),
        "steps_per_s_rgb": steps / env_s,
        "wall_steps_per_s": steps / wall_s,
        "physics_ms": float(np.round(1e3 * (env_s / steps - rgb_s), 3)),
        "rgbd_ms": float(np.round(1e3 * render_s / steps, 3)),
        "capture_ms": float(np.round(1e3 * capture_s, 1)),
    }


def _cpu_seconds(call: Any, *, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats
