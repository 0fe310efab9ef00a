"""Learn from pixels what nobody here wrote: FetchReach of gymnasium-robotics, rewarded by minus the distance.

python examples/fetch_reach.py --seed 0 --out fetch_reach_0.json
python examples/fetch_reach.py --sparse --steps 12000   # rewarded by 0 at the ball, and -1 elsewhere; from 84 px
agps train --env examples/fetch_reach.py:fetch_reach    # with a report; its settings: docs/extend/environment.md
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import gymnasium_robotics
import mujoco
import numpy as np

from rl.drq import DrQ, DrQConfig
from rl.envs import AdapterOptions, adapt
from rl.evaluation import evaluate
from rl.process import prepare_process

PIXELS, SPARSE_PIXELS = 64, 84
VIEWS = {"left": (130.0, -25.0), "right": (230.0, -25.0)}
"""Azimuth and elevation of the cameras, [deg]; both stand still, 75 cm from where the hand starts."""
RANGE_M = 0.15
"""The red ball is at most so far from there, per axis."""
SETTINGS: dict[str, Any] = {"clip_target": None, "reward_scale": 0.1, "gamma": 0.7, "n_step": 1}
SETTINGS |= {"train_freq": 1, "random_steps": 500, "target_entropy_per_action": -1.0}
SPARSE: dict[str, Any] = {"clip_target": (-10.0, 0.0), "gamma": 0.9, "n_step": 1}
SPARSE |= {"train_freq": 1, "random_steps": 1_000, "target_entropy_per_action": 0.2}
"""Only exploring tells where a reward is: the policy stays almost as random as it can be, at 0.69 nat per action."""
SPARSE |= {"demo_reward": -0.5, "demo_fraction": 0.25, "bc_weight": 0.0}
"""One random step in sixty is rewarded: a quarter of each batch is of episodes with such a step. None is imitated."""


class TwoCameras(gymnasium.ObservationWrapper):  # type: ignore[type-arg]
    """FetchReach as a robot sees it: two images and where its hand is, never where the ball is."""

    def __init__(self, env: gymnasium.Env[Any, Any], pixels: int) -> None:
        super().__init__(env)
        model, self._start = env.unwrapped.model, env.unwrapped.initial_gripper_xpos.copy()
        model.vis.quality.shadowsize = model.vis.quality.offsamples = 0  # they cost a processor most of its time
        model.geom_rgba[model.body("table0").geomadr, 3] = 0.3  # some balls lie in the table
        self._cameras = {name: mujoco.MjvCamera() for name in VIEWS}
        for name, camera in self._cameras.items():
            camera.azimuth, camera.elevation = VIEWS[name]
            camera.distance, camera.lookat = 0.75, self._start
        self._renderer = mujoco.Renderer(model, pixels, pixels)
        images = dict.fromkeys(VIEWS, gymnasium.spaces.Box(0, 255, (pixels, pixels, 3), np.uint8))
        hand = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.observation_space = gymnasium.spaces.Dict({"hand": hand, **images})

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """Return the images, and where the hand is, as numbers of about 1."""
        self.env.unwrapped._render_callback()  # puts the ball where the goal is
        seen = {"hand": (observation["observation"][:3] - self._start) / RANGE_M}
        for name, camera in self._cameras.items():
            self._renderer.update_scene(self.env.unwrapped.data, camera)
            seen[name] = self._renderer.render()
        return seen

    def close(self) -> None:
        self._renderer.close()
        super().close()


def fetch_reach() -> TwoCameras:
    """Return the environment: what `agps train --env` and `main` learn in."""
    gymnasium.register_envs(gymnasium_robotics)
    return TwoCameras(gymnasium.make("FetchReachDense-v4"), PIXELS)


def sparse_reach(horizon: int = 50) -> TwoCameras:
    """Return it with its sparse reward, which DrQ takes as it is: nothing is adapted, not even the names."""
    gymnasium.register_envs(gymnasium_robotics)
    return TwoCameras(gymnasium.make("FetchReach-v4", max_episode_steps=horizon), SPARSE_PIXELS)


def main() -> None:
    """Learn in episodes of 20 steps; write how good the policy alone is in those of 50, as FetchReach is defined."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seed", 0), ("steps", 4_000), ("every", 1_000), ("episodes", 20), ("final-episodes", 50)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--sparse", action="store_true")
    options.add_argument("--out", type=Path, default=Path("fetch_reach.json"))
    told = options.parse_args()
    prepare_process(threads=1)
    env: gymnasium.Env[Any, Any] = adapt(fetch_reach(), AdapterOptions(horizon=20))
    test: gymnasium.Env[Any, Any] = adapt(fetch_reach())
    if told.sparse:
        env, test = sparse_reach(horizon=20), sparse_reach()
    model = DrQ("MultiInputPolicy", env, config=DrQConfig(**(SPARSE if told.sparse else SETTINGS)), seed=told.seed)
    curve: list[dict[str, float]] = []
    while model.num_timesteps < told.steps:
        model.learn(told.every, reset_num_timesteps=False)
        over = model.num_timesteps >= told.steps
        episodes, first = (told.final_episodes, 20_000) if over else (told.episodes, 10_000)
        result = evaluate(model, test, episodes, seed=first)
        curve.append({"steps": model.num_timesteps, "episodes": episodes, "successes": result.success_count})
        curve[-1] |= {"mean_return": round(result.mean_return, 2), "seconds": round(time.process_time())}
        print(curve[-1], flush=True)
    told.out.write_text(json.dumps({"seed": told.seed, "mujoco": mujoco.__version__, "curve": curve}, indent=1) + "\n")


if __name__ == "__main__":
    main()
