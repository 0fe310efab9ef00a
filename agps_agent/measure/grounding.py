"""How well a chat model finds a task's keypoints: against the simulator's truth, in scenes that vary."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from agps_agent import perceiving
from agps_agent.measure.swaps import pairs_of, swapped
from agps_agent.run.build import build_chat_model, capture_scene
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext, AgentFault
from prompts.loader import TaskPrompt, load_task_prompt
from rl.envs.factory import make_env
from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError
from rl.robots.mujoco import MujocoBackend
from rl.rollout import Act, Moment, last_of, run_episode
from rl.tasks.base import simulated
from rl.tasks.registry import get_task
from rl.types import FloatArray
from tools.errors import ToolError
from tools.perception import is_shown, project
from tools.scene import Scene

JITTER = MappingProxyType(
    {"light_jitter": 0.4, "colour_jitter": 0.3, "camera_jitter_m": 0.005, "camera_jitter_rad": 0.015}
)
"""What varies in every task."""


@dataclass
class _Tally:
    """What became of one keypoint in all scenes."""

    errors_px: list[float] = field(default_factory=list)
    errors_m: list[float] = field(default_factory=list)
    shown: int = 0
    """Scenes in which it can be seen."""
    missed: int = 0
    """...but the model did not find it."""
    hidden: int = 0
    """Scenes in which it is hidden, outside of the image, or taken away."""
    invented: int = 0
    """...but the model pointed somewhere."""
    swapped: int = 0
    """Scenes in which the model gave it and the other one of its pair each other's place; no errors of those."""


@dataclass
class _Faults:
    """Scenes without a useful answer."""

    reasons: Counter[str] = field(default_factory=Counter)
    absent: int = 0
    """Those of them from which the object was taken away."""
    last: str = ""
    """What was wrong with the newest."""

    def note(self, fault: AgentFault, *, present: bool) -> None:
        """Count a scene."""
        self.reasons[fault.reason] += 1
        self.absent += not present
        self.last = str(fault)

    @property
    def numbers(self) -> dict[str, Any]:
        """How many, and why."""
        return {"unanswered": self.reasons.total(), "faults": dict(self.reasons)}

    def check(self, scenes: int) -> None:
        """Refuse to tell anything of a model that said nothing.

        Raises:
            ConfigError: With its last fault.
        """
        if scenes and self.reasons.total() == scenes:
            raise ConfigError(f"The model gave no useful answer in any of {scenes} scenes; the last time: {self.last}")


def bench_grounding(
    task: str,
    *,
    scenes: int = 200,
    absent: int = 60,
    seed: int = 0,
    progressed: float = 0.0,
    vlm: str = "embedded",
    vlm_model: str | None = None,
    report: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Return error, misses, swaps and inventions of each keypoint, and over all of them.

    A keypoint that something hides, the arm or the object itself, counts as absent. Two that are called alike but for
    `left` and `right` and were given each other's place are swapped: that is counted, and is no error in pixels. Scenes
    without a useful answer (it came too late, it was no JSON) are counted by reason, and count for nothing else.

    Args:
        task: Task.
        scenes: Scenes with the object: light, colours, cameras and poses vary.
        absent: Further scenes from which it was taken away.
        seed: Scene k is that of seed + k.
        progressed: Share of the scenes in which a clumsy expert has acted before: something is lifted, folded, hung.
        vlm: `embedded`, or the base URL of an OpenAI-compatible server.
        vlm_model: Model name at that server.
        report: Called after each scene with their count so far.

    Raises:
        ConfigError: If there is no such task, it has no scene, the agent has no words for it, the simulator does not
            know its keypoints, or the model refuses to look for them or gives no useful answer at all.
    """
    settings, words = AgentSettings(), load_task_prompt(task)
    nominal = simulated(get_task(task))
    absent = absent if nominal.subject.materials else 0
    varied = replace(nominal, **JITTER, **nominal.subject.jitter, horizon=10 * nominal.horizon)
    chat = build_chat_model(vlm, name=vlm_model, settings=settings, tasks=(words,), seed=seed)
    rejected, faults = 0, _Faults()
    with closing(make_env(varied)) as env:
        tallies = {label: _Tally() for label in _known_keypoints(env, words)}
        shown = _scenes(env, seed, scenes, absent, progressed, nominal.horizon)
        for number, scene in enumerate(shown):
            present = number < scenes
            truth = _shown(env, scene, tallies) if present else {}
            context = AgentContext(
                scene=scene, model=chat.model, profile=chat.profile, settings=settings, task_prompt=words
            )
            found = asyncio.run(_look(context, faults, present=present))
            report(number + 1)
            if found is None:
                continue
            rejected += not present and not found
            _count_all(tallies, context, found, truth)
    faults.check(scenes + absent)
    answered = absent - faults.absent
    numbers = _numbers(nominal.name, scenes, absent, tallies) | faults.numbers
    return numbers | {"absent_rejected": rejected / answered if answered else None}


def _known_keypoints(env: ManipulationEnv, words: TaskPrompt) -> list[str]:
    """Return the labels of the keypoints that the simulator knows too.

    Raises:
        ConfigError: If there is none.
    """
    env.reset(seed=0)
    known = [label for label in words.keypoints if label in env.truth()]
    if not known:
        raise ConfigError(
            f"The scene of {words.task} knows none of the keypoints {', '.join(words.keypoints)}; give it sites called "
            "truth/<keypoint>."
        )
    return known


def _scenes(
    env: ManipulationEnv, seed: int, scenes: int, absent: int, progressed: float, horizon: int
) -> Iterator[Scene]:
    """Yield the scenes with the object, then those without; the environment stands where the scene was captured."""
    backend = env.backend
    assert isinstance(backend, MujocoBackend)
    for number in range(scenes + absent):
        rng = np.random.default_rng(seed + number)
        has_progressed = rng.random() < progressed
        steps = int(rng.integers(1, horizon)) if has_progressed else 0
        act: Act = _clumsy(env, rng) if has_progressed else lambda now: None
        last_of(run_episode(env, act, seed=seed + number, max_steps=steps))
        if number >= scenes:
            for material in simulated(env.task).subject.materials:
                backend.model.mat_rgba[backend.model.material(material).id, 3] = 0.0  # until the next reset
        yield capture_scene(env)


def _clumsy(env: ManipulationEnv, rng: np.random.Generator) -> Act:
    """Return the scripted expert with noise and slips of the gripper."""
    expert = env.expert()

    def act(now: Moment) -> npt.NDArray[np.float32]:
        action = expert(now.observation, env.truth()).astype(np.float64)
        action[:6] += rng.normal(0.0, 0.4, 6)
        if env.task.has_gripper and rng.random() < 0.02:
            action[6] = 1.0
        return np.clip(action, -1, 1).astype(np.float32)

    return act


def _shown(env: ManipulationEnv, scene: Scene, labels: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Return where each keypoint is that the agent's default camera shows. Shape (3,), [m]."""
    truth, frame = env.truth(), next(iter(scene.frames.values()))
    thickness_m = simulated(env.task).subject.thickness_m
    return {label: truth[label] for label in labels if is_shown(frame, truth[label], thickness_m)}


async def _look(context: AgentContext, faults: _Faults, *, present: bool) -> dict[str, tuple[float, float]] | None:
    """Return what the model sees; None, and a fault counted, where its answer is of no use.

    Raises:
        ConfigError: If it refuses to look.
    """
    try:
        return await perceiving.look(context, context.frame)
    except AgentFault as fault:
        if fault.reason == "refused":  # it would refuse the next scene too
            raise ConfigError(str(fault)) from fault
        faults.note(fault, present=present)
        return None


def _count_all(
    tallies: Mapping[str, _Tally],
    context: AgentContext,
    found: Mapping[str, tuple[float, float]],
    truth: Mapping[str, FloatArray],
) -> None:
    """Add every keypoint of one scene."""
    wrong_way_round = swapped(context.frame, found, truth, pairs_of(tallies))
    for label, tally in tallies.items():
        if label in wrong_way_round:
            tally.shown += 1
            tally.swapped += 1
        else:
            _count(tally, context, label, found.get(label), truth.get(label))


def _count(
    tally: _Tally, context: AgentContext, label: str, pixel: tuple[float, float] | None, truth: FloatArray | None
) -> None:
    """Add one keypoint of one scene."""
    tally.shown += truth is not None
    tally.hidden += truth is None
    tally.missed += truth is not None and pixel is None
    tally.invented += truth is None and pixel is not None
    if truth is None or pixel is None:
        return
    tally.errors_px.append(float(np.linalg.norm(np.array(pixel) - project(context.frame, truth)[0])))
    try:
        found = perceiving.measure(context, context.frame, label, pixel)
    except ToolError:
        return
    tally.errors_m.append(float(np.linalg.norm(found.xyz - truth)))


def _numbers(task: str, scenes: int, absent: int, tallies: Mapping[str, _Tally]) -> dict[str, Any]:
    everything = _Tally(
        errors_px=[error for tally in tallies.values() for error in tally.errors_px],
        errors_m=[error for tally in tallies.values() for error in tally.errors_m],
        shown=sum(tally.shown for tally in tallies.values()),
        missed=sum(tally.missed for tally in tallies.values()),
        hidden=sum(tally.hidden for tally in tallies.values()),
        invented=sum(tally.invented for tally in tallies.values()),
        swapped=sum(tally.swapped for tally in tallies.values()),
    )
    return {
        "task": task,
        "scenes": scenes,
        "absent_scenes": absent,
        **_statistics(everything),
        "keypoints": {label: _statistics(tally) for label, tally in tallies.items()},
    }


def _statistics(tally: _Tally) -> dict[str, float | int | None]:
    px, mm = np.array(tally.errors_px), 1000 * np.array(tally.errors_m)
    return {
        "median_px": float(np.median(px)) if len(px) else None,
        "p95_px": float(np.percentile(px, 95)) if len(px) else None,
        "median_mm": float(np.median(mm)) if len(mm) else None,
        "p95_mm": float(np.percentile(mm, 95)) if len(mm) else None,
        "shown": tally.shown,
        "missed": tally.missed / tally.shown if tally.shown else None,
        "swapped": tally.swapped / tally.shown if tally.shown else None,
        "hidden": tally.hidden,
        "invented": tally.invented / tally.hidden if tally.hidden else None,
    }
