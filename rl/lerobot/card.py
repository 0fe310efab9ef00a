"""The README.md of an exported dataset: what is in it, in words and tables."""

import json
from collections.abc import Mapping, Sequence

from rl.envs.datasheet import Component
from rl.episodes import Layout
from rl.lerobot.layout import ACTION_KEY, ACTOR_KEY, ACTORS, BESIDE, INTERVENTION, STATE_KEY, camera_key
from rl.lerobot.recorded import About, Exported

HEADER = """---
task_categories:
- robotics
tags:
- LeRobot
- AGPS
configs:
- config_name: default
  data_files: data/*/*.parquet
---
"""
"""What the Hugging Face Hub reads."""


def card(about: About, layout: Layout, exported: Exported) -> str:
    """Return the page."""
    head = (
        f"{about.instruction} Exported by AGPS from {about.source}: LeRobotDataset v3.0, {exported.episodes} episodes "
        f"({exported.successes} successes), {exported.frames} frames, {about.fps} per second, robot `{about.robot}`."
    )
    rows = (
        "Each row is one control step: what was seen before it, the action that was executed, and under `next.` what "
        "came of it. The rows hold the recorded numbers exactly, images nearly (below)."
    )
    lines = [HEADER, f"# {about.task}", "", head, "", rows, ""]
    lines += [*_vector(STATE_KEY, about.state), *_vector(ACTION_KEY, about.action), *_others()]
    return "\n".join([*lines, *_images(layout, exported), *_beside(about)]) + "\n"


def _vector(key: str, components: Sequence[Component]) -> list[str]:
    rows = [f"| {n} | {each.name} | {each.unit or '?'} | {each.frame} |" for n, each in enumerate(components)]
    return [f"## `{key}`", "", "| | name | 1.0 is | frame |", "|---|---|---|---|", *rows, ""]


def _others() -> list[str]:
    actors = ", ".join(f"{number} {name}" for number, name in enumerate(ACTORS))
    rows: Mapping[str, str] = {
        "next.reward": "reward of the action",
        "next.done": "the episode ends after it, for whatever reason",
        "next.truncated": "it ends by a time limit or from outside: no terminal state",
        "next.success": "it ends in success",
        INTERVENTION: "1: somebody guided, the agent's waypoint or a human's hand",
        ACTOR_KEY: f"who gave the action: {actors}",
    }
    return ["## Other columns", "", "| key | |", "|---|---|", *(f"| `{k}` | {v} |" for k, v in rows.items()), ""]


def _images(layout: Layout, exported: Exported) -> list[str]:
    rows = [
        f"| `{camera_key(name)}` | {height} x {width} | {exported.colour_error[name].mean:.2f} | "
        f"{exported.colour_error[name].max} |"
        for name, (height, width, _) in layout.images.items()
    ]
    said = (
        f"Video ({exported.codec}, yuv420p) changes colours. Measured by decoding every frame, as the absolute "
        "difference from the recorded image in grey values of 255:"
    )
    head = ["| key | height x width | mean | largest |", "|---|---|---|---|"]
    return ["## Images", "", said, "", *head, *rows, ""]


def _beside(about: About) -> list[str]:
    said = (
        f"`{BESIDE}` (NumPy): the observation after the last action of each episode, without loss, and the seed of its "
        "start, -1 for none. `agps demos import` reads it; other readers need not."
    )
    known = "What was known of the recording (`agps` in `meta/info.json`):"
    return ["## Beside the format", "", said, "", known, "", "```json", json.dumps(about.manifest, indent=2), "```"]
