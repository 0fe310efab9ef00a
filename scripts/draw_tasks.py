"""Draw the picture of the three tasks: each half-way through an episode of its scripted expert.

Above what the agent's camera shows, below what a policy's cameras show.

python scripts/draw_tasks.py --out docs/tasks.png
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from rl.envs import make_env
from rl.rollout import Moment, last_of, run_episode
from rl.types import ByteArray

TASKS = {"usb_insertion": 0.3, "knot_hanging": 0.45, "towel_folding": 0.6}
"""The tasks, and when their episode looks best, as a share of its steps."""
AGENT_PX = (480, 360)
POLICY_PX = 160
GAP_PX = 12


def main() -> None:
    """Write the picture."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=0, help="of each start")
    options.add_argument("--out", type=Path, required=True)
    told = options.parse_args()
    columns = [column(*scene(task, share, seed=told.seed)) for task, share in TASKS.items()]
    page = Image.new("RGB", (sum(c.width for c in columns) + GAP_PX * (len(columns) - 1), columns[0].height), "white")
    for number, picture in enumerate(columns):
        page.paste(picture, (number * (AGENT_PX[0] + GAP_PX), 0))
    page.save(told.out, optimize=True)


def scene(task: str, share: float, *, seed: int) -> tuple[ByteArray, Sequence[ByteArray]]:
    """Return what the agent's first camera and the policy's cameras show at a share of the expert's episode."""
    with closing(make_env(task, image_size=128)) as env:
        expert = env.expert()

        def act(now: Moment) -> npt.NDArray[np.float32]:
            return expert(now.observation, env.truth())

        steps = sum(1 for _ in run_episode(env, act, seed=seed)) - 1
        moment = last_of(run_episode(env, act, seed=seed, max_steps=round(share * steps)))
        return env.capture()[0].rgb, list(moment.observation.images.values())


def column(agent: ByteArray, policy: Sequence[ByteArray]) -> Image.Image:
    """Return the agent's image above the policy's."""
    page = Image.new("RGB", (AGENT_PX[0], AGENT_PX[1] + GAP_PX // 2 + POLICY_PX), "white")
    page.paste(Image.fromarray(agent).resize(AGENT_PX, Image.Resampling.LANCZOS))
    for number, image in enumerate(policy):
        small = Image.fromarray(image).resize((POLICY_PX, POLICY_PX), Image.Resampling.NEAREST)
        page.paste(small, (number * POLICY_PX, AGENT_PX[1] + GAP_PX // 2))
    return page


if __name__ == "__main__":
    main()
