"""Recording demonstrations: of the scripted expert in simulation, of a person on a robot."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agps_agent.build import build_env
from agps_agent.config import RunConfig
from agps_agent.hardware import open_hand, open_keys, open_robot, station_of
from rl.buffers import Episode
from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError
from rl.supervisor import Hand
from rl.tasks import get_task
from rl.tasks.demos import record_demos, save_demos
from rl.types import FloatArray, Observation

Demonstrator = Literal["spacemouse", "gamepad", "expert"]

BY_HAND = 4
"""Time that a person gets for a demonstration, over the task's horizon."""


def record(
    task: str,
    folder: Path,
    *,
    n: int,
    seed: int = 0,
    image_size: int = 64,
    robot: Literal["sim", "franka"] = "sim",
    station: Path = Path("station.toml"),
    robot_ip: str | None = None,
    speed: float = 1.0,
    by: Demonstrator | None = None,
    horizon: int | None = None,
) -> None:
    """Record `n` successful episodes into a folder.

    On a robot the start poses come from the task as in training. An episode is a success where the emulated scene
    says so, or where the operator presses s; f ends one that went wrong. Idle control steps at its start are left out.

    Args:
        task: What to demonstrate.
        folder: To write; must be free.
        n: Episodes to keep.
        seed: Episode k starts from seed + k, failed ones counted.
        image_size: Side of the policy's images, [px].
        robot: In simulation, or on the arm of a station.
        station: Its file.
        robot_ip: Address of the control box in place of the station's.
        speed: Longest control step over the task's.
        by: Who demonstrates on a robot. None: a SpaceMouse, or the scripted expert where an emulator knows the truth.
        horizon: Control steps for one episode. None: the task's, or `BY_HAND` times as many by hand.

    Raises:
        ConfigError: If nobody can demonstrate or judge there.
        HardwareFault: If the arm could not be recovered.
    """
    base = {"task": task, "image_size": image_size, "seed": seed}
    with ExitStack() as opened:
        if robot == "sim":
            if by not in (None, "expert"):
                raise ConfigError(f"--by {by} needs a robot; in simulation the scripted expert demonstrates.")
            env = build_env(RunConfig.model_validate({**base, "task_options": {"horizon": horizon}}))
            opened.callback(env.close)
            _save(record_demos(env, n=n, seed=seed), folder, env, seed)
            return
        arm = {"robot": robot, "station": station, "robot_ip": robot_ip, "speed": speed, "method": "hil-serl"}
        is_emulated = station_of(RunConfig.model_validate({**base, **arm})).truth is not None
        by = by or ("expert" if is_emulated else "spacemouse")
        if by == "expert" and not is_emulated:
            raise ConfigError("--by expert: a real table tells nobody where things are; use spacemouse or gamepad.")
        steps = horizon or get_task(task).horizon * (1 if by == "expert" else BY_HAND)
        judged = {"reward": "truth" if is_emulated else "keys", "task_options": {"horizon": steps}}
        held = {"teleop": "simulated" if by == "expert" else by}
        config = RunConfig.model_validate({**base, **arm, **judged, **held})
        keys = open_keys(opened)
        hand = None
        if by != "expert":
            hand = open_hand(config, get_task(task))
            opened.callback(hand.close)
        env = open_robot(config, keys=keys)
        opened.callback(env.close)
        opened.callback(env.halt)
        episodes = record_demos(env, None if hand is None else FollowHand(hand, env), n=n, seed=seed)
        env.halt()
        _save([trimmed(episode) for episode in episodes], folder, env, seed)


class FollowHand:
    """An expert that does what a hand asks for, and nothing while it is off the device."""

    def __init__(self, hand: Hand, env: ManipulationEnv) -> None:
        """Follow a hand."""
        self._hand = hand
        self._still = np.zeros(env.task.actions, np.float32)

    def __call__(self, observation: Observation, truth: Mapping[str, FloatArray]) -> npt.NDArray[np.float32]:
        """Return the hand's action, shape (A,)."""
        action = self._hand.read(observation)
        return self._still if action is None else np.asarray(action, np.float32)


def trimmed(episode: Episode) -> dict[str, npt.NDArray[Any]]:
    """Return an episode without the control steps at its start in which nothing was done."""
    moves = np.any(np.abs(episode["action"]) > 1e-3, axis=1)
    first = int(np.argmax(moves)) if moves.any() else 0
    return {key: value if np.ndim(value) == 0 else value[first:] for key, value in episode.items()}


def _save(episodes: list[Any], folder: Path, env: ManipulationEnv, seed: int) -> None:
    save_demos(folder, episodes, env=env, seed=seed)
