"""A run directory as a training of a few hundred rollouts leaves it, made of nothing but a seed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agps_agent.run.directory import RunDirectory
from rl.types import Box, RGBDFrame
from tools.scene import Scene, save_scene

THRESHOLD = 0.21


def make_run(
    path: Path,
    *,
    method: str = "agps",
    demos: int = 1,
    seed: int = 0,
    episodes: int = 120,
    learned_reward: bool = False,
) -> RunDirectory:
    """Write a run whose success climbs from 0 to 1 while agent or human help less and less.

    A learned reward is wrong in each seventh rollout: right after the first, then the other way round.
    """
    run = RunDirectory.create(path)
    _begin(run, method=method, demos=demos, seed=seed)
    rng = np.random.default_rng(seed)
    env_steps, calls, hits, pause_s, next_eval = 0, 0, 0, 0.0, 1000
    human = {"human_interventions": 0, "human_s": 0.0}
    for episode in range(episodes):
        skill = 1.0 / (1.0 + np.exp(-12.0 * (episode / episodes - 0.55 - 0.05 * (method == "serl"))))
        success = bool(rng.random() < skill)
        steps = int(rng.integers(14, 40)) if success else 60
        trace = _trace(rng, steps, good=success)
        triggered = method == "agps" and bool(max(trace) > THRESHOLD)
        helped = triggered and rng.random() < 1.0 - skill
        env_steps += steps
        ids = [f"{calls + 1:04d}"] if helped else []
        held = method.startswith("hil") and rng.random() < 1.0 - skill
        more: dict[str, Any] = {"human_stretches": [[20, 12], [40, 5]] if held else []}
        if held:
            human = {"human_interventions": human["human_interventions"] + 2, "human_s": human["human_s"] + 1.7}
            ids = ["human-0001"]
        if learned_reward:
            wrong = episode % 7 == 6
            more |= {"true_success": success and not wrong, "was_true": success or wrong}
        if helped:
            calls, pause_s, hits = calls + 1, pause_s + 0.4, hits + (calls % 3 == 2)
            _intervention(run, ids[0], rng, episode, from_memory=calls % 3 == 2)
        clocks = {"env_steps": env_steps, "learner_steps": env_steps // 2, "wall_clock_s": env_steps / 60}
        clocks |= {"robot_time_s": env_steps * 0.1 + pause_s}
        run.append_metrics(
            {
                "kind": "episode", "episode": episode, **clocks, "success": success, "terminated": success,
                "truncated": not success, "steps": steps, "guided_steps": 30 * helped + 17 * held, "pruned_steps": 0,
                "triggered": triggered, "intervention_ids": ids, "agent_calls": calls, "memory_hits": hits,
                "agent_pause_s": pause_s, "float_trace": trace, "float_threshold": THRESHOLD,
                "float_thresholds": [THRESHOLD] * steps,
                "float_scores": [(v - 0.14) / (THRESHOLD - 0.14) for v in trace], **human, **more,
            }
        )  # fmt: skip
        if env_steps >= next_eval:
            next_eval += 1000
            run.append_metrics(
                {"kind": "eval", **clocks, "success_rate": round(20 * skill) / 20, "episodes": 20, "mean_steps": 20.0}
            )
    run.append_metrics({"kind": "final_eval", **clocks, "success_rate": 0.98, "episodes": 50, "mean_steps": 20.0})
    asked = {"agent_calls": calls, "agent_pause_s": pause_s, "memory_hits": hits}
    _end(run, {"method": method, "seed": seed, "demos": demos, **asked, **clocks, **human})
    return run


def _begin(run: RunDirectory, *, method: str, demos: int, seed: int) -> None:
    config = {"task": "usb_insertion", "method": method, "demos": demos, "seed": seed, "vlm": "embedded"}
    config |= {"drq": {"gamma": 0.92, "batch_size": 128}, "float": {"index": "prefix"}}
    run.config.write_text(json.dumps({"config": config, "versions": {"python": "3.11", "torch": "2.13.0"}}))
    for updates in range(100, 600, 100) if method.endswith("conrft") else ():
        losses = {"td_loss": 100.0 / updates, "cloning_loss": 1.0 / updates}
        run.append_metrics({"kind": "pretrain", "env_steps": 0, "updates": updates, "wall_clock_s": 1.0, **losses})


def _end(run: RunDirectory, told: dict[str, Any]) -> None:
    summary = {"task": "usb_insertion", "success_rate": 0.98, "eval_episodes": 50, **told}
    summary |= {"pretrain_steps": 0, "pretrain_success_rate": None}
    if told["method"].endswith("conrft"):
        summary |= {"pretrain_steps": 500, "pretrain_success_rate": 0.32}
    summary |= {"triggers_per_10_rollouts": 4.2, "steps_to_80": 3000, "steps_to_100": None}
    run.write_summary(summary)


def _trace(rng: np.random.Generator, steps: int, *, good: bool) -> list[float]:
    rise = np.linspace(0.0, 0.02 if good else rng.uniform(0.05, 0.16), steps)
    return [round(float(v), 4) for v in 0.14 + rise + 0.015 * rng.standard_normal(steps)]


def _intervention(run: RunDirectory, name: str, rng: np.random.Generator, episode: int, *, from_memory: bool) -> None:
    folder = run.intervention(name)
    folder.mkdir()
    T = np.eye(4)
    T[:3, 3] = (0.45, 0.05, 0.03)
    guide: dict[str, Any] = {
        "kind": "guide",
        "waypoints": [{"T_base_tcp": T.tolist(), "motion": "free"}],
        "max_steps": 36,
    }
    prune: dict[str, Any] = {"kind": "prune", "lower": [0.43, 0.03, 0.0], "upper": [0.47, 0.07, 0.06]}
    record = {
        "trigger": {"kind": "float", "index": 0.24, "threshold": THRESHOLD, "step": 22},
        "reason": "The plug hangs left of the socket & does not come closer.",
        "failure_mode": "lateral offset",
        "guidance": prune if episode % 4 == 0 else guide,
        "cost": {"model_calls": 0 if from_memory else 3, "latency_s": 0.35, "prompt_tokens": 0, "completion_tokens": 0},
        "recalled": from_memory,
    }
    (folder / "intervention.json").write_text(json.dumps(record))
    (folder / "prompt.md").write_text("You supervise a robot arm.\n\nWhere is <socket>?")
    (folder / "reply.json").write_text('{"keypoints": [{"name": "socket", "u": 312, "v": 244}]}')
    scene = make_scene(rng)
    save_scene(scene, folder / "scene")
    if not from_memory:
        Image.fromarray(scene.frames["side"].rgb).save(folder / "annotated.png")


def make_scene(rng: np.random.Generator) -> Scene:
    """Return a grey table with a dark port, seen from straight above: at 0.5 m, 0.2 m are 160 pixels."""
    rgb = rng.integers(90, 110, (240, 320, 3), dtype=np.uint8)
    rgb[110:130, 140:175] = 60
    T_base_cam = np.array([[0.0, -1.0, 0.0, 0.45], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
    K = np.array([[400.0, 0.0, 160.0], [0.0, 400.0, 120.0], [0.0, 0.0, 1.0]])
    depth_m = np.full((240, 320), 0.5, dtype=np.float32)
    T_base_tcp = np.diag([1.0, -1.0, -1.0, 1.0])
    T_base_tcp[:3, 3] = (0.40, -0.05, 0.1)
    return Scene(
        task="usb_insertion",
        frames={"side": RGBDFrame(name="side", rgb=rgb, depth_m=depth_m, K=K, T_base_cam=T_base_cam)},
        T_base_tcp=T_base_tcp,
        gripper_opening=0.0,
        workspace=Box(lower=np.array([0.3, -0.2, 0.0]), upper=np.array([0.6, 0.2, 0.3])),
        p_tcp_tool=np.array([0.0, 0.0, 0.03]),
    )
