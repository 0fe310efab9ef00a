"""What a folder holds that can be exported: demonstrations, or the episodes in the last checkpoint of a run."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import load_config
from agps_agent.run.demonstrations import MODEL_CALLS
from agps_agent.run.directory import RunDirectory
from rl.checkpoint import latest_checkpoint, recorded_episodes
from rl.demonstrations import BY, MANIFEST, demonstrator, demos_in, read_episode
from rl.envs.datasheet import STATE, Component, action_components, nameless
from rl.episodes import layout_of
from rl.errors import ConfigError
from rl.files import read_json_object
from rl.lerobot import About, Recorded
from rl.lerobot.layout import ACTORS
from rl.tasks.registry import get_task, load_task
from rl.types import CONTROL_RATE_HZ

SCALES = ("translation_scale_m", "rotation_scale_rad")
"""Fields of a task that say what a unit action is."""


def recorded_in(folder: Path) -> tuple[list[Recorded], About]:
    """Return the episodes in a folder, and what they are of.

    Args:
        folder: Demonstrations, or a run directory.

    Raises:
        ConfigError: If it is neither, or there is nothing in it.
    """
    if (folder / MANIFEST).is_file():
        return _demonstrations(folder)
    if (folder / "config.json").is_file():
        return _run(RunDirectory.open(folder))
    raise ConfigError(
        f"{folder} is neither a folder of demonstrations ({MANIFEST}) nor a run directory (config.json); name one that "
        "`agps demos record` or `agps train` wrote."
    )


def _demonstrations(folder: Path) -> tuple[list[Recorded], About]:
    files = demos_in(folder)
    manifest = read_json_object(folder / MANIFEST)
    actor = _actor(manifest)
    name = str(manifest.get("task"))
    known = {key: value for key, value in manifest.items() if key not in ("seeds", "count", "task")}
    about = _about(
        files[0],
        task=name,
        config=_object(manifest.get("config")),
        instruction=_instruction(name),
        robot=str(manifest.get("robot", "sim")),
        source=f"demonstrations in {folder}",
        manifest=known,
    )
    return [Recorded(path=path, actor=actor, guide=actor) for path in files], about


def _run(run: RunDirectory) -> tuple[list[Recorded], About]:
    config = load_config(run)
    checkpoint = latest_checkpoint(run.checkpoints)
    episodes = recorded_episodes(checkpoint)
    if not episodes:
        raise ConfigError(f"There are no episodes in {checkpoint}: the run ended before its first step.")
    shown_by = _who_showed(run, config)
    helper = config.helper if config.helper in ACTORS else "unknown"
    about = _about(
        episodes[0][0],
        task=config.task_name,
        config=_task_config(run, config),
        instruction=_instruction(config.task) if config.env is None else config.task_name,
        robot=config.robot,
        source=f"the replay memory of the run {run.path}: demonstrations, then rollouts",
        manifest={"method": config.method, "seed": config.seed, "checkpoint": checkpoint.name},
    )
    return [Recorded(path=path, actor=shown_by if given else "policy", guide=helper) for path, given in episodes], about


def _about(
    first: Path,
    *,
    task: str,
    config: Mapping[str, Any],
    instruction: str,
    robot: str,
    source: str,
    manifest: Mapping[str, Any],
) -> About:
    layout = layout_of(read_episode(first), where=str(first))
    state, action = _components(config, layout.state, layout.action)
    plain: dict[str, Any] = json.loads(json.dumps({**manifest, "config": config}))
    return About(
        task=task,
        instruction=instruction,
        robot=robot,
        fps=int(CONTROL_RATE_HZ),
        state=state,
        action=action,
        source=source,
        manifest=plain,
    )


def _components(
    config: Mapping[str, Any], state: int, action: int
) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
    """Return what the numbers are: as in `ManipulationEnv` where a task says what a unit action is."""
    scales = [config.get(name) for name in SCALES]
    metres, radians = scales
    if isinstance(metres, float) and isinstance(radians, float) and state == len(STATE):
        return STATE, action_components(action, translation_m=metres, rotation_rad=radians)
    return nameless("state", state), nameless("action", action)


def _actor(manifest: Mapping[str, Any]) -> str:
    """Return who demonstrated; older folders do not say it, only how often a model was called."""
    by = manifest.get(BY)
    if by is None:
        return "agent" if MODEL_CALLS in manifest else "expert" if manifest.get("robot", "sim") == "sim" else "unknown"
    return _known_actor(str(by))


def _known_actor(by: str) -> str:
    return "human" if by in ("spacemouse", "gamepad") else by if by in ACTORS else "unknown"


def _who_showed(run: RunDirectory, config: RunConfig) -> str:
    """Return who gave a run its demonstrations."""
    by = demonstrator(run.demos) if (run.demos / MANIFEST).is_file() else None
    if by is None:
        return "expert" if config.demos_dir is None else "unknown"
    return _known_actor(by)


def _task_config(run: RunDirectory, config: RunConfig) -> dict[str, Any]:
    """Return the fields of a run's task; empty for somebody else's environment."""
    if config.env is not None:
        return {}
    if (run.demos / MANIFEST).is_file():  # as the station's file may have changed it
        return _object(read_json_object(run.demos / MANIFEST).get("config"))
    return dataclasses.asdict(get_task(config.task, **config.task_overrides))


def _instruction(task: str) -> str:
    """Return a task's sentence; where its code is not at hand, its name."""
    try:
        return load_task(task).instruction
    except ConfigError:
        return task


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
