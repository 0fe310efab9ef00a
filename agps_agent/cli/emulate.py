"""`agps emulate TASK`: an FR3, its gripper and its cameras over a task's scene, behind the real protocols."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from agps_agent.cli.options import UsageError, check_at_least, check_in, parse_options
from agps_agent.cli.tasks import check_task
from agps_agent.signals import terminated_like_ctrl_c
from agps_agent.task_options import TaskOptions
from rl.ranges import PORT, SEED


@dataclass(frozen=True)
class EmulateOptions:
    """Run an emulated robot station until Ctrl-C: the unmodified client libraries connect to it.

    Writes a complete station file and prints how to train on it. Everything listens on this machine only.
    """

    task: tyro.conf.Positional[str]
    """Task whose scene is on the table."""
    station: Path = Path("station.toml")
    """Station file to write; calibrations go to `calibration/` beside it."""
    port: int = 0
    """TCP port of cameras, truth and faults; 0: any free one."""
    image_size: str = "424x240"
    """Width and height of the cameras, e.g. 640x480; the policy sees the square in the middle."""
    fps: int = 10
    """Frames per second of each camera that somebody watches."""
    seed: int = 0
    """Seed of the scene."""
    task_options: TaskOptions = TaskOptions()
    """What to change about the task."""


def run(argv: Sequence[str]) -> int:
    """Run `agps emulate`."""
    from rl.robots.emulator.server import Emulator
    from rl.tasks import get_task

    options = parse_options(EmulateOptions, argv, prog="agps emulate")
    check_task(options.task)
    check_in(PORT, port=options.port)
    check_in(SEED, seed=options.seed)
    check_at_least(1, fps=options.fps)
    size = _size(options.image_size)
    emulator = Emulator(
        get_task(options.task, **options.task_options.overrides(options.task)),
        station=options.station,
        image_size=size,
        fps=options.fps,
        port=options.port,
        seed=options.seed,
    )
    with terminated_like_ctrl_c(), emulator:
        cameras = ", ".join(f"{c.name} ({c.model}, {c.width}x{c.height})" for c in emulator.cameras)
        print(f"FR3 and gripper at {emulator.ip} (FCI), cameras and truth at {emulator.url}")
        print(f"cameras: {cameras}")
        print(f"wrote {options.station}; in another terminal:")
        print(f"  agps train {options.task} --robot franka --station {options.station} --reward truth --no-confirm")
        print("Ctrl-C ends it.", flush=True)
        try:
            return emulator.wait()
        except KeyboardInterrupt:
            return 0


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if match is None:
        raise UsageError(f"--image-size is {text!r}; write it as WIDTHxHEIGHT, e.g. 640x480.")
    return int(match[1]), int(match[2])
