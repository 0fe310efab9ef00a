"""`agps bench env|float|agent|grounding|realtime|memory|update|detectors`: what each part costs and is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Interval

from agps_agent.cli import bench_detectors
from agps_agent.cli.options import (
    check_vlm,
    json_only_on_stdout,
    parse_options,
    run_subcommand,
)
from agps_agent.cli.tasks import TaskOptions, check_task, parse_for_task
from agps_agent.cli.terminal import progress_bars
from rl.bounds import Positive, Seed, Share, Threads

Numbers = dict[str, Any]
MOST_SCENES = 100_000
"""Some hours of looking."""
Scenes = Annotated[int, Interval(ge=1, le=MOST_SCENES)]


@dataclass(frozen=True)
class EnvOptions:
    """Control steps per second of one core's time, with RGB and depth of two wrist cameras."""

    task: tyro.conf.Positional[str] = "usb_insertion"
    """Task."""
    image_size: Annotated[int, Interval(ge=1, le=1_024)] = 128
    """Edge of the images, [px]."""
    steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 300
    """Control steps to time."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class FloatOptions:
    """Time per step of the exact index, against computing Eq. 1 anew each step."""

    demos: Annotated[int, Interval(ge=1, le=1_000)] = 20
    """Demonstrations."""
    frames: Annotated[int, Interval(ge=1, le=10_000)] = 100
    """Frames of each demonstration and of the rollout."""
    dimensions: Annotated[int, Interval(ge=1, le=10_000)] = 768
    """Length of an embedding."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class AgentOptions:
    """Time of one question to the agent, from the trigger to the answer."""

    task: tyro.conf.Positional[str] = "usb_insertion"
    """Task."""
    vlm: str = "embedded"
    """Chat model: `embedded`, or the base URL of an OpenAI-compatible server."""
    vlm_model: str | None = None
    """Model name at that server."""
    questions: Annotated[int, Interval(ge=1, le=10_000)] = 10
    """Questions, each at another start."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class RealtimeOptions:
    """Whether the control loop keeps 10 Hz while the agent thinks."""

    task: tyro.conf.Positional[str] = "usb_insertion"
    """Task."""
    agent_s: Annotated[float, Interval(ge=0, le=3_600)] = 5.0
    """Time of each of the model's replies, [s]."""
    seconds: Annotated[float, Interval(ge=1, le=86_400)] = 20.0
    """How long to run, [s]."""
    on_trigger: Literal["hold", "continue"] = "continue"
    """What the arm does while the agent thinks."""
    robot: Literal["mujoco", "fake"] = "fake"
    """mujoco renders what the agent sees in the control thread, which no robot does; fake has cameras that cost
    nothing."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class MemoryOptions:
    """How often memory recalls what fits: remembered in some random scenes, asked for in others."""

    task: tyro.conf.Positional[str] = "usb_insertion"
    """Task."""
    scenes: Scenes = 100
    """Scenes to remember, and as many held out to ask for."""
    tolerance_mm: Positive = 5.0
    """A recalled record fits when the task's points are at most this far from where they were, [mm]."""
    task_options: TaskOptions = field(default_factory=dict)
    """What varies between the scenes, e.g. --task-options.port-jitter-mm 20."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class GroundingOptions:
    """How well a model finds a task's keypoints, in scenes whose light, colours, cameras and objects vary."""

    task: tyro.conf.Positional[str] = "usb_insertion"
    """Task."""
    scenes: Scenes = 200
    """Scenes with the object."""
    absent: Annotated[int, Interval(ge=0, le=MOST_SCENES)] = 60
    """Further scenes from which it was taken away."""
    progressed: Share = 0.0
    """Share of the scenes in which a clumsy hand has acted before: lifted, folded, crumpled, half in."""
    seed: Seed = 0
    """Seed of the first scene."""
    vlm: str = "embedded"
    """Chat model: `embedded`, or the base URL of an OpenAI-compatible server."""
    vlm_model: str | None = None
    """Model name at that server."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class UpdateOptions:
    """Time of one update of the learner, by part."""

    image_size: Literal[64, 128, 256] = 64
    """Edge of the images, [px]."""
    threads: Threads = 1
    """Torch threads."""
    device: str = "cpu"
    """Where the networks live: auto, cpu, cuda or cuda:N."""
    preset: Literal["tuned", "hil-serl"] = "tuned"
    """Learner settings."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps bench`."""
    commands = {
        "env": (_env, "control steps per second"),
        "float": (_float, "time per step of the failure detector"),
        "agent": (_agent, "time of a question to the agent"),
        "grounding": (_grounding, "error of the keypoints that the agent finds"),
        "realtime": (_realtime, "control rate while the agent thinks"),
        "memory": (_memory, "precision of recall on held-out scenes"),
        "update": (_update, "time of an update of the learner"),
        "detectors": (bench_detectors.run, "which failure detector finds bad rollouts, and how soon"),
    }
    return run_subcommand("agps bench", "What each part costs on this machine.", commands, argv)


def _env(argv: Sequence[str]) -> int:
    options = parse_options(EnvOptions, argv, prog="agps bench env")
    check_task(options.task)
    from rl.envs.benchmark import bench_env

    return _measure(
        lambda: bench_env(options.task, image_size=options.image_size, steps=options.steps), as_json=options.json
    )


def _float(argv: Sequence[str]) -> int:
    options = parse_options(FloatOptions, argv, prog="agps bench float")
    from agps_agent.detectors.float.transport import bench_float

    return _measure(
        lambda: bench_float(demos=options.demos, frames=options.frames, dimensions=options.dimensions),
        as_json=options.json,
    )


def _agent(argv: Sequence[str]) -> int:
    options = parse_options(AgentOptions, argv, prog="agps bench agent")
    check_task(options.task)
    check_vlm(options.vlm, model=options.vlm_model)
    from agps_agent.measure.benchmarks import bench_agent

    return _measure(
        lambda: bench_agent(options.task, vlm=options.vlm, vlm_model=options.vlm_model, questions=options.questions),
        as_json=options.json,
    )


def _realtime(argv: Sequence[str]) -> int:
    options = parse_options(RealtimeOptions, argv, prog="agps bench realtime")
    check_task(options.task)
    from agps_agent.measure.benchmarks import bench_realtime

    return _measure(
        lambda: bench_realtime(
            options.task,
            agent_s=options.agent_s,
            seconds=options.seconds,
            on_trigger=options.on_trigger,
            robot=options.robot,
        ),
        as_json=options.json,
    )


def _memory(argv: Sequence[str]) -> int:
    options = parse_for_task(MemoryOptions, argv, prog="agps bench memory", default=MemoryOptions.task)
    check_task(options.task)
    from agps_agent.measure.benchmarks import bench_memory

    return _measure(
        lambda: bench_memory(
            options.task,
            scenes=options.scenes,
            tolerance_m=options.tolerance_mm / 1000.0,
            task_options=options.task_options,
        ),
        as_json=options.json,
    )


def _grounding(argv: Sequence[str]) -> int:
    options = parse_options(GroundingOptions, argv, prog="agps bench grounding")
    check_task(options.task)
    check_vlm(options.vlm, model=options.vlm_model)
    from agps_agent.measure.grounding import bench_grounding

    def look() -> Numbers:
        with progress_bars() as progress:
            bar = progress.add_task("looking at scenes", total=options.scenes + options.absent)
            return bench_grounding(
                options.task,
                scenes=options.scenes,
                absent=options.absent,
                seed=options.seed,
                progressed=options.progressed,
                vlm=options.vlm,
                vlm_model=options.vlm_model,
                report=lambda count: progress.update(bar, completed=count),
            )

    return _measure(look, as_json=options.json)


def _update(argv: Sequence[str]) -> int:
    options = parse_options(UpdateOptions, argv, prog="agps bench update")
    from rl.devices import choose_device
    from rl.drq.benchmark import bench_update
    from rl.drq.config import DrQConfig

    config, device = DrQConfig.preset(options.preset), choose_device(options.device)
    return _measure(
        lambda: {f"{part}_ms": ms for part, ms in bench_update(
            image_size=options.image_size, threads=options.threads, config=config, device=device
        ).items()},
        as_json=options.json,
    )  # fmt: skip


def _measure(measure: Callable[[], Numbers], *, as_json: bool) -> int:
    with json_only_on_stdout(as_json) as show:
        numbers = measure()
        show(numbers)
    if not as_json:
        numbers = _flat(numbers)
        width = max(len(name) for name in numbers)
        for name, value in numbers.items():
            print(f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}")
    return 0


def _flat(numbers: Numbers) -> Numbers:
    """Return numbers with those in a mapping named `<mapping's key>/<key>`."""
    flat: Numbers = {}
    for name, value in numbers.items():
        if isinstance(value, dict):
            flat |= {f"{name}/{inner}": number for inner, number in _flat(value).items()}
        else:
            flat[name] = value
    return flat
