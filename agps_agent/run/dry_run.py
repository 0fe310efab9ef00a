"""The complete loop on a real station without a single command: what `agps train --dry-run` does."""

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from agps_agent.ask import Answer, save_answer
from agps_agent.overlay import draw_answer
from agps_agent.run.build import build_algorithm, build_asker, capture_scene, load_policy
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.hardware import open_dry
from rl.algorithm import GuidedAlgorithm
from rl.envs.robot import RobotEnv
from rl.process import prepare_process
from rl.rollout import run_steps
from rl.supervisor import NullSupervisor
from tools.scene import Scene

STEPS = 100
"""Control steps: ten seconds."""


def dry_run(config: RunConfig, folder: Path, *, steps: int = STEPS) -> dict[str, Any]:
    """Let policy and agent see a station, draw what they would do, and return what was found.

    The policy is the run's newest one where there is one, else an untrained one.

    Args:
        config: What would be run.
        folder: Where pictures are written: `step_NNNN.png`, and `agent/answer.png`.
        steps: Control steps.

    Raises:
        ConfigError: If station and task do not fit together, or something does not answer.
        HardwareFault: If arm or camera fails.
    """
    prepare_process(config.threads)
    violations: Counter[str] = Counter()
    with closing(open_dry(config, folder)) as env:
        moments = run_steps(env, lambda now: policy.predict(now.obs)[0], steps=steps, seed=config.seed)
        next(moments)  # the reset: agent and policy are made where an episode begins
        agent = _ask(config, env, folder / "agent") if config.plan.helper == "agent" else "not part of the method"
        policy = _policy(config, env, folder)
        for moment in moments:
            violations.update(moment.info["violations"])
        metrics = env.metrics()
    return {
        "task": config.task_name,
        "folder": str(folder),
        "steps": steps,
        "agent": agent,
        "violations": dict(violations),
        "tick_p99_ms": metrics["tick_p99_ms"],
        "robot": metrics,
    }


def _policy(config: RunConfig, env: RobotEnv, folder: Path) -> GuidedAlgorithm:
    run = RunDirectory(config.run_dir or config.default_run_dir())
    if run.has_checkpoint:
        return load_policy(run)
    untrained = build_algorithm(config, RunDirectory(folder), env, NullSupervisor())
    untrained.predict(untrained.observation_space.sample())  # the first call is slow
    return untrained


def _ask(config: RunConfig, env: RobotEnv, folder: Path) -> str:
    """Ask the agent once, save what it answers, and return that in a few words."""
    with build_asker(config) as asker:
        scene: Scene = capture_scene(env)
        answer: Answer = asker.ask(scene, mode=config.mode)
    save_answer(folder, answer, scene)
    guidance = answer.state.get("guidance", {})
    picture = draw_answer(folder, guidance, config.agent.camera)
    if picture is not None:
        picture.save(folder / "answer.png")
    return str(guidance.get("kind", "none"))
