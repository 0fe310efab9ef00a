"""What the agent costs beside its model, and whether the control loop keeps its rate while the agent thinks."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

from agps_agent.ask import Answer, ask
from agps_agent.detectors import Encoder, StallConfig
from agps_agent.models.faults import FaultPlan
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.recorded import RecordedModel
from agps_agent.models.server import serve_model
from agps_agent.recalling import first_that_fits, to_targets
from agps_agent.run.build import build_asker, build_encoder, build_env, build_supervisor, capture_scene
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.settings import AgentSettings, SupervisorConfig
from agps_agent.state import AgentContext
from rl.envs.factory import make_env
from rl.envs.manipulation import ManipulationEnv
from rl.loop import RolloutLoop
from rl.robots.base import CONTROL_RATE_HZ
from rl.supervisor import Supervisor
from rl.tasks.base import simulated
from rl.types import FloatArray
from tools.memory import EpisodicMemory, MemoryRecord
from tools.perception import Point
from tools.scene import Scene

Numbers = dict[str, Any]

HELD_OUT_SEED = 1_000_000
REPEATS = 10
"""Times that each recorded question is asked again for the overhead."""


def bench_agent(task: str, *, vlm: str, vlm_model: str | None, questions: int) -> Numbers:
    """Return how long questions take, and how much of it is not the model's.

    The replies are recorded, and the same questions asked again of the recording: what then remains beside the model
    calls is the graph's: prompts, images, parsing, depth, tools, checks. Nothing is remembered and nothing saved.
    """
    with build_asker(RunConfig(task=task, vlm=vlm, vlm_model=vlm_model)) as asker, tempfile.TemporaryDirectory() as tmp:
        scenes = [asker.scene_at(seed) for seed in range(questions)]
        live = RecordedModel(path=Path(tmp) / "replies.jsonl", live=asker.chat.model)
        settings = asker.config.agent

        async def ask_all(model: RecordedModel) -> list[Answer]:
            contexts = [
                AgentContext(
                    scene=scene, model=model, profile=asker.chat.profile, settings=settings, task_prompt=asker.words
                )
                for scene in scenes
            ]
            return [await ask(asker.graph, context) for context in contexts]

        async def ask_again() -> list[float]:
            # Only times are kept, as a run keeps no answer: hundreds of them would ask for fresh memory each time.
            return [_overhead_s(a) for _ in range(REPEATS) for a in await ask_all(RecordedModel(path=live.path))]

        first, again = asyncio.run(ask_all(live)), asyncio.run(ask_again())
    overheads_s = sorted(again)
    return {
        "task": task,
        "vlm": vlm,
        "questions": questions,
        "answered": sum(answer.intervention is not None for answer in first),
        "median_s": statistics.median(answer.cost.latency_s for answer in first),
        "slowest_s": max(answer.cost.latency_s for answer in first),
        "graph_median_ms": 1000 * statistics.median(overheads_s),
        "graph_p95_ms": 1000 * overheads_s[int(0.95 * len(overheads_s))],
    }


def _overhead_s(answer: Answer) -> float:
    return answer.cost.latency_s - sum(exchange.latency_s for exchange in answer.transcript)


class Stamped(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Notes when each command is sent."""

    def __init__(self, env: ManipulationEnv) -> None:
        super().__init__(env)
        self.stamps_s: list[float] = []

    def step(self, action: Any) -> Any:
        """Pass a step on."""
        self.stamps_s.append(time.monotonic())
        return self.env.step(action)


def bench_realtime(
    task: str,
    *,
    agent_s: float,
    seconds: float,
    on_trigger: Literal["hold", "continue"],
    robot: Literal["mujoco", "fake"],
) -> Numbers:
    """Return how well the loop keeps its rate while a model behind a socket takes `agent_s` for each of its replies.

    Args:
        task: Task.
        agent_s: Time of one reply, [s].
        seconds: How long to run, [s].
        on_trigger: What the arm does meanwhile.
        robot: `mujoco` renders what the agent sees in the control thread, which no robot does; `fake` has cameras that
            cost nothing.
    """
    with (
        serve_model(EmbeddedVLM(), faults=FaultPlan(("slow",), slow_s=agent_s)) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        config = RunConfig(
            task=task,
            vlm=server.url,
            mode="guide",
            on_trigger=on_trigger,
            agent=AgentSettings(max_views=1),
            supervisor=SupervisorConfig(help_share=1.0),
            stall=StallConfig(window_steps=5, horizon_fraction=2.0),
        )
        env = make_env(task, robot=robot, horizon=1_000_000)
        stamped = Stamped(env)
        supervisor = build_supervisor(config, RunDirectory.create(Path(folder) / "run"), env)
        try:
            _run(stamped, supervisor, round(seconds * CONTROL_RATE_HZ))
            counts = supervisor.metrics()
        finally:
            supervisor.close()
            server.shutdown()
            env.close()
    kept = ("questions", "agent_thinking_s", "agent_pause_s")
    return {
        "task": task,
        "robot": robot,
        "on_trigger": on_trigger,
        **rate_numbers(stamped.stamps_s, CONTROL_RATE_HZ),
        **{name: counts.get(name, 0.0) for name in kept},
    }


def bench_memory(task: str, *, scenes: int, tolerance_m: float, task_options: Mapping[str, Any]) -> Numbers:
    """Return how often what memory recalls fits the scene it is recalled for, by threshold of similarity.

    Every scene of the first half is remembered as if help towards all of the task's points had succeeded there; for
    each of the others memory is asked, and what it recalls is used if the agent's camera shows these points unmoved.

    Args:
        task: Task.
        scenes: Scenes to remember, and as many to ask for.
        tolerance_m: A record fits when the task's points are at most this far from where they were, [m].
        task_options: What varies between scenes.

    Returns:
        Per threshold `recalled@s`, the share of held-out scenes for which a record was used, and `precision@s`, the
        share of these for which it fits; `possible`, the share for which a fitting record was in memory.
    """
    config = RunConfig(task=task, task_options=task_options)
    env, threshold = build_env(config), config.agent.recall_similarity
    encoder = build_encoder(env.task)
    with tempfile.TemporaryDirectory() as folder, EpisodicMemory(folder, encoder.dim, env.task.name) as memory:
        places = _remember(memory, env, encoder, scenes)
        asked = [_look(env, encoder, HELD_OUT_SEED + seed) for seed in range(scenes)]
        env.close()
        fits = {
            id: [bool(np.abs(there - _places(points)).max() <= tolerance_m) for _, _, points in asked]
            for id, there in places.items()
        }
        numbers: Numbers = {
            "task": env.task.name,
            "scenes": scenes,
            "tolerance_mm": 1000 * tolerance_m,
            "threshold": threshold,
            "possible": float(np.mean(np.any(list(fits.values()), axis=0))),
        }
        for least in sorted({threshold, 0.7, 0.8, 0.9, 0.95}):
            found = [
                first_that_fits(memory.recall(e, calibration_hash="bench", min_similarity=least), scene)[0]
                for e, scene, _ in asked
            ]
            right = [fits[record.id][index] for index, record in enumerate(found) if record is not None]
            numbers[f"recalled@{least:.2f}"] = len(right) / scenes
            numbers[f"precision@{least:.2f}"] = float(np.mean(right)) if right else float("nan")
    return numbers


def _remember(memory: EpisodicMemory, env: ManipulationEnv, encoder: Encoder, scenes: int) -> dict[str, FloatArray]:
    """Remember random scenes, those left out in which something hides a point; return where the points are, by record.

    Shape (n, 3), [m].
    """
    places = {}
    for seed in range(scenes):
        embedding, scene, points = _look(env, encoder, seed)
        targets = to_targets(points, scene)
        if targets is None:
            continue
        record = MemoryRecord(
            task=env.task.name, mode="guide", embedding=embedding, calibration_hash="bench", targets=targets
        )
        record_id = memory.remember(record)
        memory.mark(record_id, success=True)
        places[record_id] = _places(points)
    return places


def _look(env: ManipulationEnv, encoder: Encoder, seed: int) -> tuple[FloatArray, Scene, list[Point]]:
    """Return embedding and what the agent's camera shows at the start of an episode, and the task's points."""
    _, info = env.reset(seed=seed)
    truth, scene = env.truth(), capture_scene(env)
    camera = next(iter(scene.frames))
    points = [
        Point(label=name, camera=camera, uv=np.full(2, np.nan), xyz=truth[name], depth_spread_m=0.0)
        for name in sorted(simulated(env.task).landmarks)
    ]
    scene = replace(scene, frames={camera: scene.frames[camera]})  # hundreds of scenes with every camera fill a machine
    return encoder.encode(info["observation"].images), scene, points


def _places(points: Sequence[Point]) -> FloatArray:
    """Return where points are. Shape (n, 3), [m]."""
    return np.stack([point.xyz for point in points])


def _run(env: Stamped, supervisor: Supervisor, steps: int) -> None:
    """Hold still for a number of control steps, at the control rate."""
    still = np.zeros(env.action_space.shape or (), np.float32)
    loop = RolloutLoop(
        DummyVecEnv([lambda: env]), policy=lambda _: still, supervisor=supervisor, rate_hz=CONTROL_RATE_HZ
    )
    loop.reset()
    for _ in range(steps):
        loop.step()


def rate_numbers(stamps_s: Sequence[float], rate_hz: float) -> Numbers:
    """Return how regular commands were.

    Args:
        stamps_s: When each was sent, [s].
        rate_hz: How often one should be.

    Returns:
        `lost_ticks`: periods without a command. `jitter_p99_ms`: deviation of the time between two commands from the
        period, 99th percentile. `longest_gap_ms`.
    """
    gaps_s, period_s = np.diff(stamps_s), 1.0 / rate_hz
    return {
        "ticks": len(stamps_s),
        "lost_ticks": int(np.sum(np.maximum(np.round(gaps_s / period_s) - 1, 0))),
        "jitter_p99_ms": 1000 * float(np.percentile(np.abs(gaps_s - period_s), 99)),
        "longest_gap_ms": 1000 * float(gaps_s.max()),
    }
