"""Measures one finished run as an experiment declares it: a file per measurement, each written when it is whole."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from agps_agent.measure.evaluating import env_under
from agps_agent.measure.experiments.measured import Boxes, Evaluated, Measured, Point, ValueMap, digest, points
from agps_agent.measure.experiments.measurement import BOXES, Condition, Landscape, Measurement
from agps_agent.measure.landscape import Plane, box_centres, value_map
from agps_agent.run.build import build_asker, build_env, load_policy
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import installed_versions, load_config
from agps_agent.run.directory import RunDirectory
from agps_agent.run.origin import origin
from agps_agent.run.place import place_of
from rl.counting import counted
from rl.errors import ConfigError
from rl.evaluation import FINAL_SEED, evaluate
from rl.files import write_atomically
from rl.ownership import owned
from rl.pixels.policy import PixelPolicy

SCENE_SEED = 30_000
"""Of the scene in which every landscape of an experiment is drawn."""
BOXES_SEED = 50_000
"""Of the first scene in which the agent is asked; each run has its own thousand."""
Told = Callable[[str, str], None]
"""Hears the name of each file that is written, and what it says in words."""


def measure(run: RunDirectory, measurement: Measurement, folder: Path, *, device: str = "auto", tell: Told) -> int:
    """Measure what is declared and not there yet; return how many measurements that were.

    Args:
        run: A finished run.
        measurement: What is declared.
        folder: Where the files go.
        device: Where the policy computes.
        tell: Hears of each.

    Raises:
        InUse: If another process measures there.
        ConfigError: If the run's policy or task cannot be measured so.
    """
    with owned(folder, "name another folder"):
        work = _Work(run, measurement, load_config(run), device)
        missing = [point for point in points(measurement, run, folder) if not point.is_there]
        for point in missing:
            measured, words = work.on(point)
            write_atomically(point.path, measured.model_dump_json(indent=1) + "\n")
            tell(point.path.name, words)
        return len(missing)


class _Work:
    """Does one measurement after the other of a run."""

    def __init__(self, run: RunDirectory, measurement: Measurement, config: RunConfig, device: str) -> None:
        place_of(config.robot).require_simulation(
            f"{run.path} is of a robot; {measurement.name} measures in simulation."
        )
        if config.env is not None:
            raise ConfigError(f"{run.path} is of the environment {config.env}; {measurement.name} measures tasks.")
        self._run, self._measurement, self._config, self._device = run, measurement, config, device

    def on(self, point: Point) -> tuple[Measured, str]:
        """Return one measurement, and what it says in words."""
        if isinstance(point.what, Condition):
            return self._evaluated(point.what)
        landscape = self._measurement.landscape
        assert landscape is not None  # who else would ask for a map
        return self._boxes(landscape) if point.what == BOXES else self._map(landscape, point.what)

    def _evaluated(self, condition: Condition) -> tuple[Evaluated, str]:
        started, policy = time.monotonic(), load_policy(self._run, device=self._device)
        with env_under(condition, self._config) as env:
            result = evaluate(
                policy,
                env,
                episodes=self._measurement.eval_episodes,
                seed=FINAL_SEED,
                acting=self._config.eval_acting,
            )
        failed = tuple(FINAL_SEED + n for n, success in enumerate(result.successes) if not success)
        evaluated = Evaluated(
            condition=condition,
            episodes=result.episodes,
            seed=FINAL_SEED,
            failed_seeds=failed,
            mean_steps=round(result.mean_steps, 2),
            policy_steps=policy.num_timesteps,
            **self._about(started),
        )
        return evaluated, f"{result.success_count} of {result.episodes} episodes succeed"

    def _map(self, landscape: Landscape, checkpoint: str | None) -> tuple[ValueMap, str]:
        started, policy = time.monotonic(), load_policy(self._run, checkpoint, device=self._device)
        if not isinstance(policy.policy, PixelPolicy):
            raise ConfigError(f"{self._config.algorithm} has no critics of images, whose values could be drawn.")
        plane = Plane(y_m=landscape.ys_mm / 1e3, z_m=landscape.zs_mm / 1e3)
        with closing(build_env(self._config)) as env:
            values = value_map(env, policy.policy.value, plane, goal=landscape.goal, seed=SCENE_SEED)
        drawn = ValueMap(
            landscape=landscape.plane,
            seed=SCENE_SEED,
            policy_steps=policy.num_timesteps,
            values=tuple(tuple(row) for row in np.round(values, 4).tolist()),
            **self._about(started),
        )
        return drawn, f"values from {values.min():.3f} to {values.max():.3f}"

    def _boxes(self, landscape: Landscape) -> tuple[Boxes, str]:
        started, seed = time.monotonic(), BOXES_SEED + 1_000 * self._config.seed
        with build_asker(self._config) as asker, closing(build_env(self._config)) as env:
            found = box_centres(asker, env, goal=landscape.goal, seed=seed, scenes=landscape.boxes)
        centres = [tuple(np.round(1e3 * centre, 2).tolist()) for centre in found if centre is not None]
        boxes = Boxes(
            landscape=landscape.plane,
            scenes=len(found),
            seed=seed,
            centres_mm=tuple(centres),
            **self._about(started),
        )
        return boxes, f"boxes in {len(centres)} of {counted(len(found), 'scene')}"

    def _about(self, started_s: float) -> dict[str, Any]:
        made = origin()
        return {
            "of_run": digest(self._run),
            "commit": made["commit"],
            "machine": made["machine"],
            "versions": installed_versions(),
            "seconds": round(time.monotonic() - started_s, 2),
        }
