"""`agps emulate TASK`: an FR3, its gripper and its cameras over a task's scene, behind the real protocols."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from agps_agent.cli.options import UsageError
from agps_agent.cli.tasks import TaskOptions, check_task, parse_for_task
from agps_agent.run.signals import terminated_like_ctrl_c
from rl.bounds import Count, Port, Seed
from rl.files import quoted


@dataclass(frozen=True)
class EmulateOptions:
    """Run an emulated robot station until Ctrl-C: the unmodified client libraries connect to it.

    Writes a complete station file and prints how to train on it. Everything listens on this machine only.
    """

    task: tyro.conf.Positional[str]
    """Task whose scene is on the table."""
    station: Path = Path("station.toml")
    """Station file to write; calibrations go to `calibration/` beside it."""
    port: Port = 0
    """TCP port of cameras, truth and faults; 0: any free one."""
    image_size: str = "424x240"
    """Width and height of the cameras, e.g. 640x480; the policy sees the square in the middle."""
    fps: Count = 10
    """Frames per second of each camera that somebody watches."""
    seed: Seed = 0
    """Seed of the scene."""
    slowdown: float | None = None
    """Seconds that a second of the station takes, 1 to 20; as many as this computer needs, which is measured, if not
    given."""
    task_options: TaskOptions = field(default_factory=dict)
    """What to change about the task."""


def run(argv: Sequence[str]) -> int:
    """Run `agps emulate`."""
    options = parse_for_task(EmulateOptions, argv, prog="agps emulate")
    kind = check_task(options.task)
    size = _size(options.image_size)
    from agps_agent.run.field_options import field_values
    from rl.robots.emulator.server import Emulator
    from rl.tasks.base import simulated
    from rl.tasks.registry import make_task

    emulator = Emulator(
        simulated(make_task(kind, **field_values(kind, options.task_options))),
        station=options.station,
        image_size=size,
        fps=options.fps,
        port=options.port,
        seed=options.seed,
        slowdown=options.slowdown,
    )
    with terminated_like_ctrl_c(), emulator:
        cameras = ", ".join(f"{c.name} ({c.model}, {c.width}x{c.height})" for c in emulator.cameras)
        print(f"FR3 and gripper at {emulator.ip} (FCI), cameras and truth at {emulator.url}")
        print(f"cameras: {cameras}")
        print(f"clock: {emulator.pace}")
        print(f"wrote {options.station}; in another terminal:")
        station = quoted(options.station)
        print(f"  agps train {options.task} --robot franka --station {station} --reward truth --no-confirm")
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
