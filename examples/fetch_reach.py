"""Learn a task that nobody here wrote from pixels: FetchReach of gymnasium-robotics, with its own reward of -1 and 0.

python -O examples/fetch_reach.py --seed 0 --out fetch_reach_0.jsonl

The policy sees two cameras of 64 px and what the arm measures; not where the mark is. It begins with 20 demonstrations
of a one-line controller that does know. `-O` because gymnasium-robotics 1.4 asserts what no longer holds in MuJoCo 4.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import gymnasium
import gymnasium_robotics
import numpy as np
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

from rl.drq import DrQ, DrQConfig
from rl.envs import AdaptedEnv, AdapterOptions, adapt
from rl.episodes import Episode
from rl.evaluation import evaluate
from rl.process import prepare_process

VIEWS = {"front": {"azimuth": 180.0, "elevation": -15.0}, "side": {"azimuth": 90.0, "elevation": -25.0}}
LOOK = {"distance": 0.8, "lookat": np.array([1.34, 0.75, 0.53])}


class TwoCameras(gymnasium.ObservationWrapper):  # type: ignore[type-arg]
    """FetchReach with two images; shadows and smooth edges cost a processor ten times as much."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        model, data = env.unwrapped.model, env.unwrapped.data
        model.vis.quality.offsamples = model.vis.quality.shadowsize = 0
        self._views = {
            name: MujocoRenderer(model, data, {**LOOK, **view}, width=64, height=64, max_geom=300)
            for name, view in VIEWS.items()
        }
        images = dict.fromkeys(VIEWS, gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8))
        self.observation_space = gymnasium.spaces.Dict({**env.observation_space.spaces, **images})

    def observation(self, observation: Any) -> Any:
        """Return what the arm measures, the mark, and the images."""
        self.goal, self.gripper = observation["desired_goal"], observation["achieved_goal"]
        self.env.unwrapped._render_callback()
        return {**observation, **{name: view.render("rgb_array") for name, view in self._views.items()}}


def make() -> tuple[AdaptedEnv, TwoCameras]:
    """Return the environment as DrQ wants it, and the one below that knows where the mark is."""
    gymnasium.register_envs(gymnasium_robotics)
    inner = TwoCameras(gymnasium.make("FetchReach-v4"))
    return adapt(inner, AdapterOptions(state_keys=("observation",))), inner


def demonstrate(env: AdaptedEnv, inner: TwoCameras, seed: int) -> Episode:
    """Return an episode of a controller that goes straight to the mark."""
    seen, _ = env.reset(seed=seed)
    frames, steps, over = [seen], [], False
    while not over:
        action = np.append(np.clip((inner.goal - inner.gripper) * 10.0, -1.0, 1.0), 0.0).astype(np.float32)
        seen, reward, terminated, truncated, _ = env.step(action)
        frames.append(seen)
        steps.append((action, reward, terminated, truncated))
        over = terminated or truncated
    names = ("action", "reward", "terminated", "truncated")
    kinds = (np.float32, np.float32, np.bool_, np.bool_)
    columns = zip(names, zip(*steps, strict=True), kinds, strict=True)
    images = {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}
    return {**images, **{name: np.array(column, kind) for name, column, kind in columns}}


def main() -> None:
    """Learn, and write the success of the policy alone after every 250 steps."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--steps", type=int, default=3_000)
    options.add_argument("--demos", type=int, default=20)
    options.add_argument("--out", type=Path, default=Path("fetch_reach.jsonl"))
    told = options.parse_args()
    prepare_process(1)
    (env, inner), (test, _) = make(), make()
    config = DrQConfig(clip_target=None, reward_scale=10.0, buffer_capacity=20_000)
    model = DrQ("MultiInputPolicy", env, config=config, seed=told.seed)
    model.add_demonstrations([demonstrate(env, inner, 1_000_000 + n) for n in range(told.demos)])
    for _ in range(told.steps // 250):
        model.learn(250, reset_num_timesteps=False)
        result = evaluate(model, test, episodes=20, seed=10_000)
        row = {"steps": model.num_timesteps, "success": result.success_rate, "return": result.mean_return}
        print(row, flush=True)
        with told.out.open("a") as file:
            file.write(json.dumps({"seed": told.seed, **row}) + "\n")


if __name__ == "__main__":
    main()
