"""`agps demos export|import`: demonstrations and runs into LeRobotDataset v3.0, and datasets into demonstrations."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from agps_agent.cli.folders import demonstrations_of
from agps_agent.cli.options import UsageError, json_only_on_stdout, parse_options
from agps_agent.cli.tasks import check_task
from agps_agent.cli.terminal import say
from rl.counting import counted
from rl.files import quoted

if TYPE_CHECKING:
    from rl.lerobot.dataset import Dataset
    from rl.tasks.base import Task


@dataclass(frozen=True)
class ExportOptions:
    """Write demonstrations, or a run's rollouts with their corrections, as a dataset that other software reads.

    Of a run it is the replay memory of the last checkpoint. Each episode is checked first; docs/data.md has the format.
    """

    run_or_demos: tyro.conf.Positional[Path]
    """Run directory, folder of demonstrations, or task whose demonstrations are in demos/TASK."""
    out: Path
    """Folder to write."""
    format: Literal["lerobot"] = "lerobot"
    """lerobot: LeRobotDataset v3.0, parquet and mp4."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class ImportOptions:
    """Make demonstrations, as `--demos-dir` takes them, of the successful episodes of a LeRobotDataset v3.0.

    Images are cut to their middle square and resized; state and actions must be what docs/data.md says.
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of the dataset: the one with meta/info.json."""
    task: str
    """Task that it demonstrates."""
    out: Path
    """Folder to write."""
    image_size: Literal[64, 128, 256] = 64
    """Edge of the policy's images, [px]."""
    camera: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Which images a camera of the task sees, where they are not called observation.images.CAMERA: CAMERA=KEY, e.g.
    wrist_1=observation.images.top. May be repeated."""
    success: Literal["last-frame"] | None = None
    """last-frame: every episode ends in success, whatever the dataset says. None: its rewards or its success flag."""
    json: bool = False
    """Print one JSON object on stdout."""


def export(argv: Sequence[str]) -> int:
    """Run `agps demos export`."""
    options = parse_options(ExportOptions, argv, prog="agps demos export")
    from agps_agent.run.exporting import recorded_in
    from rl.lerobot import export_dataset

    with json_only_on_stdout(options.json) as show:
        recorded, about = recorded_in(demonstrations_of(options.run_or_demos))
        exported = export_dataset(recorded, about, options.out)
        show({"folder": str(options.out), **asdict(exported), "task": about.task})
    if not options.json:
        print(
            f"{counted(exported.episodes, 'episode')} of {about.task} "
            f"({counted(exported.successes, 'success', 'successes')}, {counted(exported.frames, 'frame')}) "
            f"in {options.out}, LeRobotDataset v3.0."
        )
        for camera, error in exported.colour_error.items():
            print(
                f"  {camera}: {exported.codec} video changes colours by {error.mean:.2f} of 255 grey values on "
                f"average, {error.max} at most."
            )
    return 0


def import_(argv: Sequence[str]) -> int:
    """Run `agps demos import`."""
    options = parse_options(ImportOptions, argv, prog="agps demos import")
    kind = check_task(options.task)
    from rl.lerobot import Dataset
    from rl.lerobot.importing import import_dataset, wanted_by
    from rl.tasks.registry import make_task

    task = make_task(kind)
    wanted = wanted_by(
        task,
        image_size=options.image_size,
        renamed=_renamed(options.camera),
        last_frame_succeeds=options.success == "last-frame",
    )
    with json_only_on_stdout(options.json) as show:
        dataset = Dataset(options.dataset)
        imported = import_dataset(dataset, task, wanted, options.out)
        _warn(dataset, task)
        show({"folder": str(options.out), "task": task.name, **asdict(imported)})
    if not options.json:
        many = "episodes did not succeed and were left out"
        told = counted(imported.left_out, "episode did not succeed and was left out", many)
        left_out = f"; {told}" if imported.left_out else ""
        print(f"{counted(imported.count, 'demonstration')} of {task.name} in {options.out}{left_out}.")
        print(f"Learn from them with `agps train {options.task} --demos-dir {quoted(options.out)}`.")
    return 0


def _renamed(cameras: Sequence[str]) -> Mapping[str, str]:
    """Return keys of a dataset by camera.

    Raises:
        UsageError: If something is not CAMERA=KEY, or a camera is named twice.
    """
    renamed: dict[str, Any] = {}
    for text in cameras:
        camera, _, key = text.partition("=")
        if not camera or not key:
            raise UsageError(f"--camera is {text!r}; write CAMERA=KEY, e.g. wrist_1=observation.images.top.")
        if camera in renamed:
            raise UsageError(f"--camera names {camera} twice: {renamed[camera]} and {key}; leave one out.")
        renamed[camera] = key
    return renamed


def _warn(dataset: "Dataset", task: "Task") -> None:
    """Say where a dataset's own names leave it open whether its numbers are what the task takes them for."""
    from rl.lerobot.importing import called_otherwise

    for key, names in called_otherwise(dataset, task):
        called = f"calls {key} {', '.join(names)}" if names else f"does not say what {key} is"
        say(f"{dataset.folder} {called}; it was taken as docs/data.md describes it. See that units and frames agree.")
