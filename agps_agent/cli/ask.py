"""`agps ask TASK`: one pass of the graph, saved so that it can be looked at and replayed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agps_agent.cli.arm_options import STATION, refuse_idle_arm
from agps_agent.cli.options import check_vlm, json_only_on_stdout, parse_options
from agps_agent.cli.tasks import check_task
from agps_agent.settings import AgentSettings
from rl.bounds import NotNegative, Seed
from rl.errors import AgpsError, ConfigError

COMMON = ("task", "scene", "robot", "station", "robot_ip", "seed", "mode", "vlm", "vlm_model", "out", "json")
"""What `agps ask --help` shows."""


@dataclass(frozen=True)
class AskOptions:
    """Ask the agent once what it would do, and save what it was shown and what it answered."""

    task: tyro.conf.Positional[str]
    """Task."""
    scene: Path | None = None
    """Folder of a saved scene; None: the start of the episode of --seed, or what a robot's cameras see now."""
    robot: str = "sim"
    """Whose cameras to look through: sim, or station for the arm of --station, which is not moved."""
    station: Path = STATION
    """Robot: file that describes arm and cameras."""
    robot_ip: str | None = None
    """Robot: address of the arm in place of the station's."""
    seed: Seed | None = None
    """Seed of the simulated episode. None: 0."""
    mode: Literal["auto", "prune", "guide"] = "auto"
    """Intervention to ask for: what the agent decides, a box, or waypoints."""
    vlm: str = "embedded"
    """Chat model: `embedded` works offline, `embedded,point-error-px=3` errs as a VLM does; else the base URL of an
    OpenAI-compatible server."""
    vlm_model: str | None = None
    """Model name at that server. None: the first that it lists."""
    vlm_price_in: NotNegative | None = None
    """What a million tokens of prompts cost there, [USD]; None: as its price list says, if one is known."""
    vlm_price_out: NotNegative | None = None
    """The same of replies."""
    estimate: bool = False
    """Ask nothing: say what a question, and a run of the task, will take of a served model in tokens and money."""
    out: Path | None = None
    """Folder to write. None: runs/ask/TASK-seedN-MODE, -SCENE-MODE or -ROBOT-MODE."""
    json: bool = False
    """Print one JSON object on stdout."""
    agent: Annotated[AgentSettings, tyro.conf.arg(name="agent")] = field(default_factory=AgentSettings)
    """Limits of the question."""


def run(argv: Sequence[str]) -> int:
    """Run `agps ask`."""
    options = parse_options(AskOptions, argv, prog="agps ask", common=COMMON)
    task = check_task(options.task)
    check_vlm(options.vlm, model=options.vlm_model)
    if options.estimate:
        return _estimate(options, task.name)
    from agps_agent.run.place import check_robot

    robot = check_robot(options.robot)
    _check_source(options)
    seed = _seed(options)
    from agps_agent.ask import describe_answer, save_answer
    from agps_agent.overlay import draw_answer
    from agps_agent.run.build import build_asker
    from agps_agent.run.config import RunConfig
    from tools.scene import load_scene

    config = RunConfig(
        task=options.task,
        vlm=options.vlm,
        vlm_model=options.vlm_model,
        agent=options.agent,
        robot=robot,
        station=options.station,
        robot_ip=options.robot_ip,
    )
    folder = options.out or _default_folder(options, task.name, seed)
    with json_only_on_stdout(options.json) as show:
        with build_asker(config) as asker:
            scene = asker.scene_at(seed) if options.scene is None else load_scene(options.scene)
            if scene.task != task.name:
                raise ConfigError(f"The scene in {options.scene} is of task {scene.task}, not {task.name}.")
            answer = asker.ask(scene, mode=options.mode)
        try:
            save_answer(folder, answer, scene)
            picture = draw_answer(folder, answer.state.get("guidance", {}), options.agent.camera)
            if picture is not None:
                picture.save(folder / "answer.png")
        except OSError as error:
            reason = error.strerror or str(error)
            raise AgpsError(f"Cannot save {folder}: {reason}; make room, or name another --out.") from error
        described: dict[str, Any] = {
            "task": task.name,
            "vlm": options.vlm,
            "folder": str(folder),
            "annotated": str(folder / "annotated.png") if answer.annotated is not None else None,
            "picture": str(folder / "answer.png") if picture is not None else None,
            **describe_answer(answer),
        }
        show(described)
    if not options.json:
        print(_in_words(described))
    return 0


def _estimate(options: AskOptions, task: str) -> int:
    """Say what a model behind a URL will cost.

    Raises:
        ConfigError: If the model needs no server: its tokens cost nothing.
    """
    from agps_agent.models.library import is_url
    from agps_agent.run.estimate import estimate

    if not is_url(options.vlm):
        raise ConfigError(f"--estimate is about a served model, and {options.vlm} costs nothing; give --vlm URL.")
    given = options.vlm_price_in, options.vlm_price_out
    asked = options.agent
    estimated = estimate(task, vlm=options.vlm, model=options.vlm_model, given=given, recalls=asked.recalls)
    with json_only_on_stdout(options.json) as show:
        show(estimated.described())
    if not options.json:
        print(estimated.in_words())
    return 0


def _check_source(options: AskOptions) -> None:
    """Refuse options that nothing listens to: of an arm in simulation, of another scene than --scene, of an estimate.

    Raises:
        ConfigError: With the first one.
    """
    refuse_idle_arm(options.robot, station=options.station, robot_ip=options.robot_ip)
    for flag, is_given in (("--seed", options.seed is not None), ("--robot", options.robot != "sim")):
        if options.scene is not None and is_given:
            raise ConfigError(f"--scene {options.scene} is what the agent sees; leave {flag} out.")
    for flag, price in (("--vlm-price-in", options.vlm_price_in), ("--vlm-price-out", options.vlm_price_out)):
        if price is not None:
            raise ConfigError(f"{flag} {price:g} is for --estimate; add that, or leave it out.")


def _seed(options: AskOptions) -> int:
    """Return the seed of the simulated episode.

    Raises:
        ConfigError: If nothing is simulated.
    """
    if options.seed is None:
        return 0
    from agps_agent.run.place import place_of

    place_of(options.robot).require_simulation(
        f"--seed {options.seed} is of a simulated episode; a robot's table is as it is, leave it out."
    )
    return options.seed


def _default_folder(options: AskOptions, task: str, seed: int) -> Path:
    from agps_agent.run.place import place_of

    live = place_of(options.robot).choose(f"seed{seed}", options.robot.rpartition(":")[2])
    what = live if options.scene is None else options.scene.resolve().name
    return Path("runs") / "ask" / f"{task}-{what}-{options.mode}"


def _in_words(described: dict[str, Any]) -> str:
    from agps_agent.report.interventions import cost_in_words, guidance_in_words

    lines = [described["kind"] if described["kind"] != "none" else f"no intervention ({described['reason_key']})"]
    lines += [
        described["failure_mode"],
        *described["tool_answers"],
        described["reason"],
        guidance_in_words(described["guidance"] or {}),
    ]
    for keypoint in described["keypoints"]:
        u, v = keypoint["uv"]
        x, y, z = (1000 * value for value in keypoint["xyz"])
        lines.append(f"  {keypoint['label']} at pixel ({u:.0f}, {v:.0f}), base frame ({x:.1f}, {y:.1f}, {z:.1f}) mm")
    lines += [cost_in_words(described["cost"]), f"Saved: {described['picture'] or described['folder']}"]
    return "\n".join(dict.fromkeys(line for line in lines if line))
