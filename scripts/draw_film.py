"""Draw the film that the README opens with: the embedded agent alone does USB insertion, without training.

Left the agent's camera with the keypoints that it named and the way that it planned; right what a policy would see.

python scripts/draw_film.py --out docs/film.webp
"""

import argparse
import io
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from agps_agent.ask import Answer, describe_answer
from agps_agent.overlay import draw_guidance
from agps_agent.run.build import Asker, build_asker, build_env, capture_scene
from agps_agent.run.config import RunConfig
from rl.envs.manipulation import ManipulationEnv
from rl.errors import AgpsError
from rl.files import write_atomically
from rl.guidance import WaypointFollower
from rl.rollout import run_episode
from rl.types import CONTROL_PERIOD_S, ByteArray, Guide, Observation, RGBDFrame
from tools.scene import Scene

SIZE = (640, 480)
"""Of the agent's image, as wide and high as it is shown, [px]."""
SIDE_PX = 232
"""Side of a policy's image."""
GAP_PX = 8
INK, PAPER = (235, 238, 242), (24, 27, 33)
THINKING_MS, LAST_MS = 2_000, 1_500
"""How long the answer is shown before the arm moves, and the end before the next episode."""
MOST_BYTES = 1_500_000
"""A page that opens with more than that is slow to open."""


def main() -> None:
    """Write the film."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--task", default="usb_insertion")
    options.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9], help="an episode each, by its start")
    options.add_argument("--quality", type=int, default=80, help="of WebP, 0 to 100")
    options.add_argument("--out", type=Path, required=True)
    told = options.parse_args()
    config = RunConfig(task=told.task, image_size=128)  # larger than the policy needs them: people look
    with build_asker(config) as asker, closing(build_env(config)) as env:
        episodes = [film(asker, env, seed=seed) for seed in told.seeds]
    content = encode(episodes, quality=told.quality)
    if len(content) > MOST_BYTES:
        raise AgpsError(f"The film has {len(content):,} bytes, more than {MOST_BYTES:,}; give a lower --quality.")
    write_atomically(told.out, content)


def film(asker: Asker, env: ManipulationEnv, *, seed: int) -> list[Image.Image]:
    """Return one picture per control step of an episode in which the agent's waypoints alone act.

    Raises:
        AgpsError: If the agent gives no waypoints, or they do not do the task.
    """
    env.reset(seed=seed)
    scene = capture_scene(env)
    answer = asker.ask(scene, mode="guide")
    guide = answer.intervention
    if not isinstance(guide, Guide) or answer.annotated is None:
        raise AgpsError(f"The agent gave no waypoints ({answer.reason_key}): {answer.reason}")
    camera = answer.state["keypoints"][0]["camera"]
    limits = asker.config.guidance
    follower = WaypointFollower(guide, action_scale=env.action_scale, actions=env.task.actions, config=limits)
    pictures: list[Image.Image] = []
    is_success = False
    for moment in run_episode(env, lambda now: _action(follower, now.observation), seed=seed):
        (frame,) = env.capture([camera])
        is_success = bool(moment.info["is_success"])
        if moment.step == 0:
            agent, words = answer.annotated, "The agent looks once, and plans a way"
        else:
            agent, words = frame.rgb, "Done" if is_success else "The arm follows it"
        drawn = draw_way(agent, frame, scene, answer)
        pictures.append(compose(drawn, moment.observation.images, words))
    if not is_success:
        raise AgpsError(f"The waypoints from seed {seed} do not do the task; give another --seed.")
    return pictures


def _action(follower: WaypointFollower, observation: Observation) -> npt.NDArray[np.float32] | None:
    action = follower.next_action(observation)
    return None if action is None else action.astype(np.float32)


def draw_way(rgb: ByteArray, frame: RGBDFrame, scene: Scene, answer: Answer) -> Image.Image:
    """Return an image of the agent's camera, shape (H, W, 3), with the planned way of the tool's tip on it."""
    image = Image.fromarray(rgb)
    guidance = describe_answer(answer)["guidance"]
    draw_guidance(ImageDraw.Draw(image), guidance, scene.T_base_tcp, scene.p_tcp_tool, frame.K, frame.T_base_cam)
    return image


def compose(agent: Image.Image, images: Mapping[str, ByteArray], words: str) -> Image.Image:
    """Return the agent's image at the left, with words on it, and the policy's below each other at the right."""
    page = Image.new("RGB", (SIZE[0] + GAP_PX + SIDE_PX, SIZE[1]), PAPER)
    page.paste(agent.resize(SIZE, Image.Resampling.LANCZOS))
    side = (SIDE_PX, SIDE_PX)
    for row, (name, image) in enumerate(images.items()):
        place = (SIZE[0] + GAP_PX, row * (SIZE[1] - SIDE_PX))
        page.paste(Image.fromarray(image).resize(side, Image.Resampling.NEAREST), place)
        _write(page, (place[0] + 8, place[1] + 6), f"policy: {name}", 15)
    _write(page, (12, 10), words, 22)
    return page


def _write(page: Image.Image, place: tuple[int, int], words: str, size: int) -> None:
    draw = ImageDraw.Draw(page)
    draw.text(place, words, font=ImageFont.load_default(size), fill=INK, stroke_width=2, stroke_fill=PAPER)


def encode(episodes: Sequence[Sequence[Image.Image]], *, quality: int) -> bytes:
    """Return an animated WebP of one episode after the other; a control step takes as long as on the arm."""
    step_ms = round(1_000 * CONTROL_PERIOD_S)
    pictures = [picture for episode in episodes for picture in episode]
    durations = [ms for episode in episodes for ms in (THINKING_MS, *[step_ms] * (len(episode) - 2), LAST_MS)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=quality, method=6
    )
    return buffer.getvalue()


if __name__ == "__main__":
    main()
