"""How long an update takes, by part."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from rl.drq.config import DrQConfig
from rl.drq.drq import DrQ
from rl.episodes import STATE
from rl.process import keep_freed_memory


def bench_update(
    *,
    image_size: int = 64,
    cameras: int = 2,
    state_size: int = 19,
    action_size: int = 6,
    config: DrQConfig | None = None,
    threads: int = 1,
    repeats: int = 50,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Return the median time of each part of an update and of acting, [ms], on random frames.

    Args:
        image_size: Side of the images, [px].
        cameras: Number of cameras.
        state_size: Components of the state.
        action_size: Components of the action.
        config: Hyperparameters; None for the preset `tuned`.
        threads: Torch threads to use, set back afterwards; 0 for as many as now.
        repeats: Measurements of each part.
        device: Where the networks live.
    """
    threads_before = torch.get_num_threads()
    if threads > 0:
        torch.set_num_threads(threads)
    keep_freed_memory()
    try:
        model = _filled(image_size, cameras, state_size, action_size, config or DrQConfig(), device)
        return _time_parts(model, repeats)
    finally:
        torch.set_num_threads(threads_before)


def _time_parts(model: DrQ, repeats: int) -> dict[str, float]:
    policy, batch_size = model.policy, model.config.batch_size
    batch = model.sample(batch_size)
    features = policy.encode(batch.patches, model.precision).detach()
    next_features = policy.encode(batch.next_patches, model.precision).detach()
    metrics: dict[str, torch.Tensor] = {}
    observation = {key: np.zeros(space.shape or (), space.dtype) for key, space in policy.reading.seen.items()}
    parts: dict[str, Callable[[], Any]] = {
        "sample": lambda: model.sample(batch_size),
        "encode": lambda: policy.encode(batch.patches, model.precision),
        "target": lambda: model.target(batch, next_features),
        "critic": lambda: model.update_critic(batch, metrics),
        "actor": lambda: model.update_actor(features, batch, metrics),
        "pointer": lambda: model.update_pointer(batch, metrics),
        "polyak": model.update_target,
        "update": lambda: model.train(1, batch_size),
        "act": lambda: model.act(observation),
    }
    return {name: _median_ms(part, repeats, model.device) for name, part in parts.items()}


def _median_ms(part: Callable[[], Any], repeats: int, device: torch.device) -> float:
    times = []
    for i in range(repeats + 5):
        start = time.perf_counter()
        part()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if i >= 5:  # the first calls choose kernels
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def _filled(
    image_size: int, cameras: int, state_size: int, action_size: int, config: DrQConfig, device: torch.device | str
) -> DrQ:
    image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
    space = spaces.Dict({f"camera_{i}": image for i in range(cameras)})
    space[STATE] = spaces.Box(-np.inf, np.inf, (state_size,), np.float32)
    model = DrQ(
        env=_Spaces(space, spaces.Box(-1.0, 1.0, (action_size,), np.float32)), config=config, device=device, seed=0
    )
    model.learn(0)  # sets up the logger
    rng = np.random.default_rng(0)
    steps = 250
    for buffer in (model.demo, model.online):
        episode = {
            **{f"camera_{i}": rng.integers(0, 256, (steps + 1, *image.shape), np.uint8) for i in range(cameras)},
            STATE: rng.standard_normal((steps + 1, state_size), np.float32),
            "action": rng.uniform(-1.0, 1.0, (steps, action_size)),
            "reward": np.eye(steps)[-1],  # a success: the pointer learns from it
            "terminated": np.eye(steps)[-1] > 0,
            "truncated": np.zeros(steps, bool),
        }
        buffer.add(model.store.add_episode(episode))
    return model


class _Spaces(gym.Env[Any, Any]):
    """An environment of which only the spaces and units are used."""

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Box) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.metadata = {"position_scale_m": 0.1, "rotation_scale_rad": 0.5}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return zeros."""
        space = self.observation_space
        assert isinstance(space, spaces.Dict)
        return {key: np.zeros(box.shape or (), box.dtype) for key, box in space.items()}, {}
