"""`agps keypoints mark|list|show`: show once where the keypoints of a task lie, for the model `--vlm reference`."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from annotated_types import Interval

from agps_agent.cli.arm_options import STATION, refuse_idle_arm
from agps_agent.cli.folders import marks_of
from agps_agent.cli.options import UsageError, json_only_on_stdout, parse_options, run_subcommand
from agps_agent.cli.tasks import check_task
from agps_agent.cli.terminal import say
from rl.bounds import Port, Seed
from rl.errors import ConfigError

if TYPE_CHECKING:  # `agps keypoints --help` does without
    from agps_agent.keypoints.store import MarkedImage
    from prompts.loader import TaskPrompt
    from rl.envs.manipulation import ManipulationEnv
    from rl.types import RGBDFrame

PORT = 8770
"""Of the page, where nobody names one."""
Marks = list[dict[str, tuple[float, float]]]


@dataclass(frozen=True)
class MarkOptions:
    """Mark the keypoints of a task in a few images, on a page in the browser or with --at.

    Four to ten images do, with the light, the places and the turns that will occur. What a folder holds already stays.
    """

    task: tyro.conf.Positional[str]
    """Task."""
    scene: Path | None = None
    """Folder of a saved scene, as agps ask writes; None: the simulator, or what a robot's cameras see now."""
    seed: Seed | None = None
    """Simulation: seed of the first episode whose start is shown. None: 0."""
    images: Annotated[int, Interval(ge=1, le=100)] | None = None
    """Simulation: episodes whose start is shown, to all cameras of the agent. None: 3; with --at 1."""
    robot: str = "sim"
    """Whose cameras to look through: sim, or station for the arm of --station, which is not moved."""
    station: Path = STATION
    """Robot: file that describes arm and cameras."""
    robot_ip: str | None = None
    """Robot: address of the arm in place of the station's."""
    at: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Mark without a page, NAME=CAMERA,U,V: pixels, u to the right, v down. May be given several times."""
    from_truth: bool = False
    """Mark where the simulator has the keypoints: for tests and demonstrations, a real table has nobody who knows."""
    out: Path | None = None
    """Folder to write. None: keypoints/TASK."""
    port: Port | None = None
    """Port of the page; 0: any free one. None: 8770."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class FolderOptions:
    """Read a folder of marked keypoints."""

    folder: tyro.conf.Positional[Path]
    """Task whose marks are in keypoints/TASK, or any folder of them."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps keypoints`."""
    commands = {
        "mark": (_mark, "show where the keypoints of a task lie, in a browser or with --at"),
        "list": (_list, "list what is marked in a folder"),
        "show": (_show, "draw the marks on their images"),
    }
    return run_subcommand("agps keypoints", "Keypoints that the reference model finds again.", commands, argv)


def _mark(argv: Sequence[str]) -> int:
    options = parse_options(MarkOptions, argv, prog="agps keypoints mark")
    task = check_task(options.task)
    _check(options)
    from agps_agent.keypoints.store import MarkedKeypoints, added, default_folder, save_keypoints
    from prompts.loader import load_task_prompt

    words, folder = load_task_prompt(task), options.out or default_folder(task.name)
    added(folder, MarkedKeypoints(task=task.name, images=()))  # refuses now what saving would
    with json_only_on_stdout(options.json):
        marked = _marked(options, words)
    everything = added(folder, MarkedKeypoints(task=task.name, images=marked))
    save_keypoints(everything, folder)
    return _print_summary(folder, words=words, as_json=options.json)


def _check(options: MarkOptions) -> None:
    """Refuse options that contradict each other.

    Raises:
        UsageError: Saying what would be.
    """
    from agps_agent.run.place import check_robot, place_of

    check_robot(options.robot)
    refuse_idle_arm(options.robot, station=options.station, robot_ip=options.robot_ip)
    if options.port is not None and (options.at or options.from_truth):
        raise UsageError(
            f"--port {options.port} is for the page, which --at and --from-truth do without; leave it out."
        )
    if options.from_truth and (options.at or options.scene is not None):
        raise UsageError("--from-truth asks the simulator; leave out --at and --scene.")
    if options.at and (options.images or 1) > 1:
        raise UsageError(f"--at marks one scene, not --images {options.images}; call it once per --seed.")
    _check_source(options)
    if options.from_truth:
        place_of(options.robot).require_simulation("--from-truth needs the simulator; on a robot a person marks.")


def _check_source(options: MarkOptions) -> None:
    """Refuse what says where images come from, where a saved scene has them.

    Raises:
        UsageError: With the first one.
    """
    others = (
        ("--seed", options.seed is not None),
        ("--images", options.images is not None),
        ("--robot", options.robot != "sim"),
    )
    for flag, is_given in others:
        if options.scene is not None and is_given:
            raise UsageError(f"--scene {options.scene} has its images already; leave {flag} out.")


def _marked(options: MarkOptions, words: "TaskPrompt") -> "tuple[MarkedImage, ...]":
    """Return images with what was marked in them."""
    from agps_agent.keypoints.marking import marks_of, serve_marking

    frames, truth = _look(options, words)
    if options.from_truth:
        return marks_of(frames, words, truth)
    if options.at:
        return marks_of(frames, words, _given(options.at, frames))
    with serve_marking(frames, words, port=PORT if options.port is None else options.port) as server:
        say(f"Mark the keypoints of {words.task} at {server.url} and press Done there (Ctrl-C: leave without saving).")
        try:
            return server.wait()
        finally:
            server.shutdown()


def _look(options: MarkOptions, words: "TaskPrompt") -> "tuple[list[RGBDFrame], Marks]":
    """Return the images to mark, and where the simulator has the keypoints in them if it is asked."""
    from agps_agent.run.build import build_env, capture_scene
    from agps_agent.run.config import RunConfig
    from agps_agent.run.place import check_robot, place_of
    from tools.scene import load_scene

    if options.scene is not None:
        scene = load_scene(options.scene)
        if scene.task != words.task:
            raise ConfigError(f"The scene in {options.scene} is of task {scene.task}, not {words.task}.")
        return list(scene.frames.values()), []
    config = RunConfig(
        task=options.task,
        robot=check_robot(options.robot),
        station=options.station,
        robot_ip=options.robot_ip,
    )
    episodes = options.images or (1 if options.at else 3)
    frames: list[RGBDFrame] = []
    truth: Marks = []
    with closing(build_env(config, dry=True)) as env:
        for number in range(place_of(options.robot).choose(episodes, 1)):
            env.reset(seed=(options.seed or 0) + number)
            shown = list(capture_scene(env).frames.values())
            frames += shown
            truth += [_true_marks(env, frame, words) for frame in shown] if options.from_truth else []
    return frames, truth


def _true_marks(env: "ManipulationEnv", frame: "RGBDFrame", words: "TaskPrompt") -> dict[str, tuple[float, float]]:
    """Return the pixels of the keypoints that a camera shows."""
    from rl.tasks.base import simulated
    from tools.perception import is_shown, project

    truth, thickness_m = env.truth(), simulated(env.task).subject.thickness_m
    known = [label for label in words.keypoints if label in truth]
    if not known:
        raise ConfigError(
            f"The scene of {words.task} knows none of the keypoints {', '.join(words.keypoints)}; give it sites called "
            "truth/<keypoint>, or mark them by hand."
        )
    pixels = {label: project(frame, truth[label])[0] for label in known if is_shown(frame, truth[label], thickness_m)}
    return {label: (float(u), float(v)) for label, (u, v) in pixels.items()}


def _given(at: Sequence[str], frames: "Sequence[RGBDFrame]") -> Marks:
    """Return the marks of a command line, per image.

    Raises:
        UsageError: If one is not NAME=CAMERA,U,V, there is no such camera, or a keypoint is marked twice in it.
    """
    marks: Marks = [{} for _ in frames]
    cameras = {frame.name: number for number, frame in enumerate(frames)}
    for text in at:
        label, _, rest = text.partition("=")
        camera, *pixel = rest.split(",")
        try:
            u, v = map(float, pixel)
        except ValueError:
            raise UsageError(f"--at {text}: write NAME=CAMERA,U,V, as in port_left=side,305.4,357.1.") from None
        if camera not in cameras:
            raise UsageError(f"--at {text}: there is no camera {camera!r}; the scene has {', '.join(cameras)}.")
        if label in marks[cameras[camera]]:
            raise UsageError(f"--at marks {label} in {camera} twice; leave one out.")
        marks[cameras[camera]][label] = (u, v)
    return marks


def _list(argv: Sequence[str]) -> int:
    options = parse_options(FolderOptions, argv, prog="agps keypoints list")
    return _print_summary(marks_of(options.folder), as_json=options.json)


def _show(argv: Sequence[str]) -> int:
    options = parse_options(FolderOptions, argv, prog="agps keypoints show")
    from PIL import Image

    from agps_agent.keypoints.store import load_keypoints
    from tools.perception import annotate

    folder = marks_of(options.folder)
    pictures = []
    for number, image in enumerate(load_keypoints(folder).images):
        path = folder / f"{number:04d}_{image.frame.name}_marked.png"
        Image.fromarray(annotate(image.frame.rgb, dict(image.marks))).save(path)
        pictures.append(str(path))
    with json_only_on_stdout(options.json) as show:
        show({"pictures": pictures})
    if not options.json:
        print("\n".join(pictures))
    return 0


def _print_summary(folder: Path, *, words: "TaskPrompt | None" = None, as_json: bool) -> int:
    """Print what is marked in a folder; `words` tell what is still missing."""
    from agps_agent.keypoints.store import load_keypoints

    marked = load_keypoints(folder)
    labels = dict.fromkeys(label for image in marked.images for label in image.marks)
    missing = [] if words is None else marked.missing(list(words.keypoints))
    summary: Mapping[str, Any] = {
        "folder": str(folder),
        "task": marked.task,
        "images": [{"camera": image.frame.name, "marks": dict(image.marks)} for image in marked.images],
        "keypoints": {label: marked.count(label) for label in labels},
        "missing": missing,
    }
    with json_only_on_stdout(as_json) as show:
        show(summary)
    if not as_json:
        print(f"{len(marked.images)} images of {marked.task} in {folder}")
        for label in labels:
            print(f"  {label}  marked in {marked.count(label)}")
        for label in missing:
            print(f"  {label}  not marked yet")
    return 0
