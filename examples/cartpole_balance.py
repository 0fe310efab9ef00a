"""Learn a task of dm_control from pixels: cartpole-balance, rewarded by its own reward of every step.

python examples/cartpole_balance.py --seed 0 --out seed_0.json   # what it needs: docs/extend/environment.md
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import shimmy  # noqa: F401  # registers the tasks of dm_control with Gymnasium

from rl.drq import DrQ, DrQConfig
from rl.envs import AdapterOptions, adapt
from rl.envs.adapter import AdaptedEnv
from rl.evaluation import evaluate
from rl.process import prepare_process

TASK = "dm_control/cartpole-balance-v0"
PIXELS = 64
SEEN = AdapterOptions(render=True, state_keys=("velocity",), action_repeat=8, horizon=125)
"""One camera, and how fast cart and pole move, which one image does not show; never where they are."""
SETTINGS: dict[str, Any] = {"clip_target": None, "reward_scale": 8.0, "gamma": 0.97, "n_step": 3}
SETTINGS |= {"train_freq": 1, "random_steps": 250, "target_entropy_per_action": -1.0}


def balance() -> gymnasium.Env[Any, Any]:
    """Return cartpole-balance, drawn without shadows: they cost a processor most of its time."""
    camera = {"height": PIXELS, "width": PIXELS, "camera_id": 0}
    env = gymnasium.make(TASK, render_mode="rgb_array", render_kwargs=camera)
    quality = env.unwrapped._env.physics.model.vis.quality  # type: ignore[attr-defined]  # shimmy's
    quality.shadowsize = quality.offsamples = 0
    return env


def seen(env: gymnasium.Env[Any, Any]) -> AdaptedEnv:
    """Return an environment as the policy sees it: an action lasts 8 steps, an episode the task's 1,000."""
    return adapt(env, SEEN, image_size=PIXELS)


def main() -> None:
    """Learn; write the mean return of the policy alone, of 1,000 at most, after every thousand control steps."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seed", 0), ("steps", 3_000), ("every", 1_000), ("episodes", 10)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--out", type=Path, default=Path("cartpole_balance.json"))
    told = options.parse_args()
    prepare_process(threads=1)
    model = DrQ("MultiInputPolicy", seen(balance()), config=DrQConfig(**SETTINGS), seed=told.seed)
    test, curve = seen(balance()), []
    while model.num_timesteps < told.steps:
        model.learn(told.every, reset_num_timesteps=False)
        returns = evaluate(model, test, told.episodes, seed=10_000).returns
        row = {
            "steps": model.num_timesteps,
            "episodes": told.episodes,
            "mean_return": round(sum(returns) / len(returns), 1),
        }
        curve.append(row | {"lowest_return": round(min(returns), 1), "seconds": round(time.process_time())})
        print(curve[-1], flush=True)
    told.out.write_text(json.dumps({"seed": told.seed, "mujoco": mujoco.__version__, "curve": curve}, indent=1) + "\n")


if __name__ == "__main__":
    main()
