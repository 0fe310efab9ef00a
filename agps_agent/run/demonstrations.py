"""Recording demonstrations: of the scripted expert, of the agent, of a person on a robot."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agps_agent.run.build import build_env
from agps_agent.run.config import RunConfig
from agps_agent.run.confirm import Confirm
from agps_agent.run.hardware import open_hand, open_keys, open_robot, station_of, suspends
from agps_agent.run.place import place_of
from agps_agent.run.robot import STATION
from agps_agent.run.showing import Asked, Showing, open_showing
from agps_agent.run.signals import saving, terminated_like_ctrl_c
from agps_agent.run.simulation import SIMULATION
from rl.demonstrations import BY, DemoFolder, demonstrate
from rl.envs.manipulation import ManipulationEnv
from rl.envs.robot import RobotEnv
from rl.episodes import Episode
from rl.errors import ConfigError
from rl.supervisor import Hand
from rl.tasks import get_task
from rl.types import FloatArray, Observation

Demonstrator = Literal["spacemouse", "gamepad", "expert", "agent"]
Mover = Demonstrator | Literal["policy"]
"""Who moves the arm while something is recorded."""

BY_HAND = 4
"""Time that a person gets for a demonstration, over the task's horizon."""
TIME: Mapping[str, int] = {"expert": 1, "policy": 2, "agent": 2, "spacemouse": BY_HAND, "gamepad": BY_HAND}
"""Time for an episode on a robot, over the task's horizon: with a policy or the agent, the operator must still see and
judge how it ends."""
MODEL_CALLS = "model_calls"
"""What `demos.json` calls the calls of the chat model that the agent's demonstrations took."""
DEMO_NOISE = "demo_noise"
"""What it calls the noise that the agent's steps were disturbed by."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """An environment, and who moves its arm."""

    env: ManipulationEnv
    by: Mover
    hand: "FollowHand | None" = None
    """What acts if it is a person with a device."""
    agent: Showing | None = None
    """What acts if it is the agent."""
    trims: bool = False
    """Idle control steps at the start of an episode are left out."""

    def demonstrations(self, n: int, *, seed: int) -> Iterator[Episode]:
        """Yield `n` successful episodes as they end; attempt k starts from seed + k."""
        if self.agent is not None:
            return self.agent.demonstrations(n, seed=seed)
        return demonstrate(self.env, self.hand, n=n, seed=seed)


@dataclass(frozen=True, kw_only=True)
class MovedArm(Moved):
    """The arm of a station, and who moves it."""

    env: RobotEnv
    trims: bool = True


def record(
    task: str,
    folder: Path,
    *,
    n: int,
    seed: int = 0,
    image_size: int = 64,
    robot: str = SIMULATION,
    station: Path = Path("station.toml"),
    robot_ip: str | None = None,
    speed: float = 1.0,
    by: Demonstrator | None = None,
    asked: Asked | None = None,
    horizon: int | None = None,
    resume: bool = False,
) -> None:
    """Record successful episodes into a folder until it holds `n`; each is on disk before the next begins.

    On a robot the start poses come from the task as in training. An episode is a success where the emulated scene
    says so, or where the operator presses s; f ends one that went wrong. Idle control steps at its start are left out.

    Args:
        task: What to demonstrate.
        folder: To write; must be free, unless `resume`.
        n: Episodes to keep.
        seed: Episode k starts from seed + k, failed ones counted.
        image_size: Side of the policy's images, [px].
        robot: Where, as --robot says it.
        station: Its file.
        robot_ip: Address of the arm in place of the station's.
        speed: Longest control step over the task's.
        by: Who demonstrates. None: the scripted expert where a simulator or an emulator knows the truth, else a person
            with a SpaceMouse.
        asked: Whom the agent asks, if it demonstrates. None: the embedded model.
        horizon: Control steps for one episode. None: the task's, on a robot `TIME` times as many.
        resume: Go on with a recording that ended early.

    Raises:
        ConfigError: If nobody can demonstrate or judge there.
        AgpsError: If the agent fails too often.
        HardwareFault: If the arm could not be recovered.
    """
    options = {"horizon": horizon}
    where = {"station": station, "robot_ip": robot_ip, "speed": speed, "asked": asked or Asked()}
    place = place_of(robot)
    if by not in (None, "expert", "agent"):
        place.require_arm(f"--by {by} needs a robot; in simulation the scripted expert demonstrates, or --by agent.")
    simulated: Callable[..., AbstractContextManager[Moved]] = _open_simulated
    open_mover = place.choose(simulated, open_moved_arm)
    with open_mover(task, by, robot=robot, seed=seed, image_size=image_size, task_options=options, **where) as mover:
        _keep(DemoFolder(folder, env=mover.env, seed=seed, robot=robot, resume=resume), mover, n=n)


@contextmanager
def _open_simulated(
    task: str,
    by: Mover | None,
    *,
    seed: int,
    image_size: int,
    task_options: Mapping[str, Any],
    asked: Asked,
    **where: Any,
) -> Iterator[Moved]:
    """Yield the scripted expert in simulation, or the agent."""
    base: dict[str, Any] = {"task": task, "image_size": image_size, "seed": seed, "task_options": task_options}
    if by == "agent":
        base |= asked.settings()
    config = RunConfig.model_validate(base)
    with terminated_like_ctrl_c(), ExitStack() as opened:
        env = opened.enter_context(closing(build_env(config)))
        agent = opened.enter_context(open_showing(config, env)) if by == "agent" else None
        yield Moved(env=env, by=by or "expert", agent=agent)


def _keep(kept: DemoFolder, mover: Moved, *, n: int) -> None:
    """Demonstrate until a folder holds `n` episodes; an arm is held while one is written."""
    calls_before = int(kept.told(MODEL_CALLS) or 0)
    told: dict[str, Any] = {BY: mover.by}
    if mover.agent is not None:
        told[DEMO_NOISE] = mover.agent.demo_noise
    for name, value in told.items():
        alike = kept.count == 0 or kept.told(name) == value
        kept.tell(name, value if alike else "unknown")  # a folder that several went on with, or otherwise

    def count_calls() -> None:
        if mover.agent is not None:
            kept.tell(MODEL_CALLS, calls_before + mover.agent.model_calls)

    try:
        for episode in mover.demonstrations(n - kept.count, seed=kept.next_seed):
            mover.env.pause()
            with saving():
                count_calls()
                kept.keep(trimmed(episode) if mover.trims else episode)
    finally:  # those of tries that failed count too
        count_calls()


@contextmanager
def open_moved_arm(
    task: str,
    by: Mover | None,
    *,
    robot: str = STATION,
    seed: int,
    image_size: int,
    station: Path,
    robot_ip: str | None,
    speed: float,
    task_options: Mapping[str, Any],
    asked: Asked | None = None,
) -> Iterator[MovedArm]:
    """Yield the arm of a station for a recording; it is stopped at the end, whatever happens.

    Success is what the emulated scene says, or the operator's key. `by` None is a SpaceMouse, or the scripted expert
    where an emulator knows the truth. An episode gets `TIME` times the task's horizon where the options say nothing.

    Raises:
        ConfigError: If nobody can move the arm or judge there.
    """
    if not 0.0 < speed <= 1.0:
        raise ConfigError(f"--speed is {speed}; use more than 0 and at most 1.")
    base = {"task": task, "image_size": image_size, "seed": seed, "method": "hil-serl"}
    base |= {"robot": robot, "station": station, "robot_ip": robot_ip, "speed": speed}
    described = station_of(RunConfig.model_validate(base))
    is_emulated = described.truth is not None
    by = by or ("expert" if is_emulated else "spacemouse")
    if by == "expert":
        described.require_truth("--by expert", "use spacemouse or gamepad")
    options = {name: value for name, value in task_options.items() if value is not None}
    held: dict[str, Any] = {"teleop": by if by in ("spacemouse", "gamepad") else "simulated"}
    if by == "policy":  # nobody's device is needed, on hardware neither
        held = {"method": "serl"}
    if by == "agent":
        held = (asked or Asked()).settings()
    judged = {"reward": "truth" if is_emulated else "keys"}
    steps = {"task_options": {"horizon": get_task(task).horizon * TIME[by], **options}}
    config = RunConfig.model_validate({**base, **judged, **held, **steps})
    with terminated_like_ctrl_c(), ExitStack() as opened:
        keys = open_keys(opened)
        hand = None
        if by in ("spacemouse", "gamepad"):
            hand = open_hand(config, get_task(task))
            opened.callback(hand.close)
        env = open_robot(config, keys=keys)
        opened.callback(env.close)
        agent = None
        if by == "agent":
            confirm = Confirm(hold=env.pause, suspend_keys=suspends(keys)) if config.confirm else None
            agent = opened.enter_context(open_showing(config, env, confirm))
        opened.callback(env.halt)  # the first of all: the agent may still be writing
        yield MovedArm(env=env, by=by, hand=None if hand is None else FollowHand(hand, env), agent=agent)


class FollowHand:
    """An expert that does what a hand asks for, and nothing while it is off the device."""

    def __init__(self, hand: Hand, env: ManipulationEnv) -> None:
        """Follow a hand."""
        self._hand = hand
        self._still = np.zeros(env.task.actions, np.float32)

    def __call__(self, observation: Observation, truth: Mapping[str, FloatArray]) -> npt.NDArray[np.float32]:
        """Return the hand's action, shape (A,)."""
        return self.act(observation)

    def act(self, observation: Observation) -> npt.NDArray[np.float32]:
        """Return the hand's action, shape (A,)."""
        action = self._hand.read(observation)
        return self._still if action is None else np.asarray(action, np.float32)


def trimmed(episode: Episode) -> dict[str, npt.NDArray[Any]]:
    """Return an episode without the control steps at its start in which nothing was done."""
    moves = np.any(np.abs(episode["action"]) > 1e-3, axis=1)
    first = int(np.argmax(moves)) if moves.any() else 0
    return {key: value if np.ndim(value) == 0 else value[first:] for key, value in episode.items()}
