"""`agps demos record|list|show|export|import`: demonstrations of the expert, the agent or a person, on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from agps_agent.cli.arm_options import STATION, Speed, refuse_idle_arm
from agps_agent.cli.datasets import export, import_
from agps_agent.cli.folders import default_folder, demonstrations_of
from agps_agent.cli.options import (
    UsageError,
    check_served,
    complaints_as_usage_errors,
    json_only_on_stdout,
    parse_options,
    run_subcommand,
)
from agps_agent.cli.tasks import check_task
from agps_agent.cli.terminal import say
from rl.bounds import Count, Seed
from rl.counting import counted
from rl.errors import ConfigError
from rl.files import quoted, read_json_object

if TYPE_CHECKING:  # the agent takes a second to load
    from agps_agent.run.showing import Asked

RECORD = "agps demos record"


@dataclass(frozen=True)
class RecordOptions:
    """Record successful episodes of the scripted expert, of the agent, or of a person with a device in the hand.

    Each is on disk before the next begins: whatever ends the recording early, --resume goes on with it.
    """

    task: tyro.conf.Positional[str]
    """Task to demonstrate."""
    n: Count = 20
    """Demonstrations; with --resume in all, those that are there already included."""
    seed: Seed = 0
    """Seed of the first start; each demonstration has its own. With --resume: that of the recording."""
    image_size: Literal[64, 128, 256] = 64
    """Edge of the policy's images, [px]."""
    out: Path | None = None
    """Folder to write. None: demos/TASK, or demos/ROBOT-TASK."""
    robot: str = "sim"
    """Where: in simulation (sim), or on the arm of --station (station, or that arm's own name, e.g. franka)."""
    station: Path = STATION
    """Robot: file that describes arm, workspace and cameras."""
    robot_ip: str | None = None
    """Robot: address of the arm in place of the station's."""
    speed: Speed = 1.0
    """Robot: longest control step over the task's."""
    by: Literal["expert", "agent", "spacemouse", "gamepad"] | None = None
    """Who demonstrates: the scripted expert where a simulator or an emulator knows the truth; the agent, whose
    waypoints alone move the arm; on a robot a person. None: the expert where it can, else a SpaceMouse."""
    vlm: str | None = None
    """Agent: chat model, as `agps train --vlm` takes it. None: embedded."""
    vlm_model: str | None = None
    """Agent: model name at a server. None: the first that it lists."""
    memory: str | None = None
    """Agent: folder or URL of a Chroma server with what it remembers. None: only what it learns in this recording."""
    demo_noise: float | None = None
    """Agent: noise of each translation, over its length: the demonstrations then show how to come back to the way, and
    what was meant is recorded (DART). None: that of the task's recipe, as in `agps train`."""
    horizon: Count | None = None
    """Control steps for one demonstration. None: the task's own; on a robot twice as many for the agent, and four times
    as many by hand."""
    resume: bool = False
    """Go on with the recording in the folder."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class FolderOptions:
    """Read a folder of demonstrations."""

    folder: tyro.conf.Positional[Path]
    """Task whose demonstrations `agps demos record` wrote to demos/TASK, or any folder of them."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps demos`."""
    commands = {
        "record": (_record, "record the scripted expert, the agent, or a person on a robot"),
        "list": (_list, "list the demonstrations in a folder"),
        "show": (_show, "draw the demonstrations in a folder, one strip of images each"),
        "export": (export, "write demonstrations, or a run's rollouts, as a LeRobotDataset"),
        "import": (import_, "make demonstrations of a LeRobotDataset"),
    }
    return run_subcommand("agps demos", "Demonstrations.", commands, argv)


def _record(argv: Sequence[str]) -> int:
    options = parse_options(RecordOptions, argv, prog=RECORD)
    task = check_task(options.task)
    _check_agent_options(options)
    from agps_agent.run.place import check_robot

    robot = check_robot(options.robot)
    refuse_idle_arm(robot, station=options.station, robot_ip=options.robot_ip, speed=options.speed)
    folder = options.out or default_folder(task.name, robot)
    from rl.growing_folder import is_in_use

    if is_in_use(folder) and not options.resume:
        hint = "add --resume to go on with it, or " if (folder / "demos.json").is_file() else ""
        raise ConfigError(f"{folder} already exists and is not empty; {hint}name another --out.")
    before = _count(folder)
    if before and (held := _read_manifest(folder).get("task")) != task.name:
        raise ConfigError(f"{folder} holds demonstrations of {held}, not of {task.name}; name another --out.")
    try:
        with json_only_on_stdout(options.json):  # nothing that a library prints gets before the object
            _record_missing(replace(options, robot=robot), folder, before)
    except BaseException:
        if (kept := _count(folder)) > before:
            say(
                f"{kept} of {options.n} demonstrations are kept in {folder}. "
                "Record the rest with the same command and --resume."
            )
        raise
    return _print_summary(folder, as_json=options.json)


def _check_agent_options(options: RecordOptions) -> None:
    """Refuse options of the agent where somebody else demonstrates, and a model that can be none."""
    given = {
        "--vlm": options.vlm,
        "--vlm-model": options.vlm_model,
        "--memory": options.memory,
        "--demo-noise": options.demo_noise,
    }
    for name, value in given.items():
        if value is not None and options.by != "agent":
            raise UsageError(f"{name} is for the agent's demonstrations; add --by agent, or leave it out.")
    if options.by == "agent":
        check_served(options.vlm_model, [_asked(options).vlm])
        from agps_agent.run.config import RunConfig

        with complaints_as_usage_errors(RECORD):
            RunConfig.model_validate({"task": options.task, **_asked(options).settings()})


def _asked(options: RecordOptions) -> "Asked":
    """Return whom the agent asks."""
    from agps_agent.run.showing import Asked

    return Asked(
        vlm=options.vlm or "embedded",
        vlm_model=options.vlm_model,
        memory=options.memory,
        demo_noise=options.demo_noise,
    )


def _record_missing(options: RecordOptions, folder: Path, count: int) -> None:
    if count >= options.n:
        return
    from agps_agent.run.demonstrations import record

    record(
        options.task,
        folder,
        n=options.n,
        seed=options.seed,
        image_size=options.image_size,
        robot=options.robot,
        station=options.station,
        robot_ip=options.robot_ip,
        speed=options.speed,
        by=options.by,
        asked=_asked(options),
        horizon=options.horizon,
        resume=options.resume,
    )


def _count(folder: Path) -> int:
    """Return the demonstrations in a folder that may not be there yet.

    Raises:
        ConfigError: If what is there cannot be read.
    """
    from rl.demonstrations import demos_in
    from rl.growing_folder import is_in_use

    return len(demos_in(folder, may_be_empty=True)) if is_in_use(folder) else 0


def _list(argv: Sequence[str]) -> int:
    options = parse_options(FolderOptions, argv, prog="agps demos list")
    return _print_summary(demonstrations_of(options.folder), as_json=options.json)


def _show(argv: Sequence[str]) -> int:
    options = parse_options(FolderOptions, argv, prog="agps demos show")
    from agps_agent.report.strips import write_strips

    folder = demonstrations_of(options.folder)
    summarise(folder)  # refuses what is not sound
    pictures = [str(path) for path in write_strips(folder)]
    with json_only_on_stdout(options.json) as show:
        show({"pictures": pictures})
    if not options.json:
        print("\n".join(pictures))
    return 0


def _print_summary(folder: Path, *, as_json: bool) -> int:
    summary = summarise(folder)
    with json_only_on_stdout(as_json) as show:
        show(summary)
    if not as_json:
        calls = (
            f"; the agent's took {counted(summary['model_calls'], 'model call')}" if "model_calls" in summary else ""
        )
        print(f"{counted(summary['count'], 'demonstration')} of {summary['task']} in {folder}{calls}")
        for episode in summary["episodes"]:
            outcome = "success" if episode["success"] else "failure"
            print(f"  {episode['file']}  {episode['steps']:>4} steps  {outcome}")
    return 0


def summarise(folder: Path) -> dict[str, Any]:
    """Return what is in a folder of demonstrations.

    Raises:
        ConfigError: If there are none, or one is damaged or has values that nothing can be learned from.
    """
    from rl.demonstrations import demos_in, sound_episodes

    manifest = _read_manifest(folder)
    episodes = [
        {"file": path.name, "steps": len(episode["reward"]), "success": bool(episode["reward"][-1] > 0)}
        for path, episode in sound_episodes(demos_in(folder, may_be_empty=True))
    ]
    about = {"folder": str(folder), "task": manifest.get("task"), "count": len(episodes)}
    if "model_calls" in manifest:
        about["model_calls"] = manifest["model_calls"]
    return {**about, "episodes": episodes}


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / "demos.json").is_file():
        raise ConfigError(
            f"There are no demonstrations in {folder}; `agps demos record TASK --out {quoted(folder)}` makes some."
        )
    return read_json_object(folder / "demos.json")
