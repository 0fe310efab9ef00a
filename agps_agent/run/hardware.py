"""A real arm from a configuration: station, cameras, backend, environment, and the people around it."""

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agps_agent.run.config import RunConfig
from agps_agent.run.confirm import is_terminal, wait_for_enter
from agps_agent.run.place import place_of
from agps_agent.run.robot import STATION
from agps_agent.run.signals import interrupt_main_thread
from rl.demonstrations import check_demos, recorded_count
from rl.envs.robot import RobotEnv, limits_at
from rl.errors import ConfigError
from rl.rewards.base import load_reward
from rl.robots.base import RobotBackend, arm_class
from rl.robots.cameras.ages import FrameAges
from rl.robots.station import StationConfig, load_station, open_arm
from rl.supervisor import Hand
from rl.tasks import get_task
from rl.tasks.base import Task

if TYPE_CHECKING:  # teleoperation loads a terminal and devices
    from rl.robots.teleop import KeyReader


def station_of(config: RunConfig) -> StationConfig:
    """Return the station of a run.

    Raises:
        ConfigError: If its file is missing or wrong, or has another arm than the run asks for.
    """
    station = load_station(config.station, ip=config.robot_ip)
    if config.robot != STATION and arm_class(config.robot) is not arm_class(station.arm_kind):
        raise ConfigError(
            f"--robot {config.robot}: the arm in {config.station} is of kind {station.arm_kind}; say --robot "
            f"{STATION}, or correct kind under [arm]."
        )
    return station


def task_at(config: RunConfig, station: StationConfig) -> Task:
    """Return the task as it is on a station's table."""
    return get_task(config.task, **{**station.task, **config.task_overrides})


def open_robot(config: RunConfig, *, keys: "KeyReader | None" = None) -> RobotEnv:
    """Return the task on the arm of the station; nothing moves before `reset`.

    Raises:
        ConfigError: If station, task and reward do not fit together, or something does not answer.
        HardwareFault: If a camera does not stream.
    """
    station = station_of(config)
    task = task_at(config, station)
    check_reward(config, station, has_keys=keys is not None and keys.available)
    limits = limits_at(task, station.workspace, speed=config.speed)  # refuses before anything is opened
    ages = FrameAges(station.clock)
    backend = _open_backend(config, task, station, prompt=_prompt(keys), ages=ages)
    env = RobotEnv(
        task,
        backend,
        image_size=config.image_size,
        limits=limits,
        knows_truth=station.truth is not None,
        keys=keys,
        figures=ages.metrics,
        clock=station.clock,
    )
    if keys is not None:
        keys.watch(partial(stop_now, env))
    return env


def stop_now(env: RobotEnv) -> None:
    """Stop the arm and interrupt the program like Ctrl-C, from any thread: a reset or a question may be under way."""
    interrupt_main_thread()  # first: nobody may start the arm again
    env.halt()


def open_dry(config: RunConfig, folder: Path | None = None) -> RobotEnv:
    """Return the task on an arm that is only looked at; what would be commanded is drawn into pictures.

    Args:
        config: What would be run.
        folder: Where pictures are written; None: nowhere.
    """
    from rl.robots.cameras.rig import CameraRig
    from rl.robots.look_only import DryRunBackend

    station = station_of(config)
    task = task_at(config, station)
    limits = limits_at(task, station.workspace, speed=config.speed)
    with ExitStack() as opened:
        arm = open_arm(station)
        opened.callback(arm.close)
        cameras = CameraRig(station.cameras, task, clock=station.clock)
        opened.callback(cameras.close)
        backend = DryRunBackend(task, arm, cameras, workspace=limits.workspace, folder=folder, clock=station.clock)
        env = RobotEnv(task, backend, image_size=config.image_size, limits=limits, clock=station.clock)
        opened.pop_all()
    return env


def _open_backend(
    config: RunConfig, task: Task, station: StationConfig, *, prompt: Callable[[str], None] | None, ages: FrameAges
) -> RobotBackend:
    from rl.robots.cameras.opening import open_camera
    from rl.robots.cameras.rig import CameraRig
    from rl.robots.real.backend import StationBackend

    cameras = CameraRig(
        station.cameras, task, open_camera=lambda camera: ages.watch(open_camera(camera, station.clock))
    )
    try:
        return StationBackend(task, station, cameras=cameras, speed=config.speed, prompt=prompt)
    except BaseException:
        cameras.close()
        raise


def check_reward(config: RunConfig, station: StationConfig, *, has_keys: bool) -> None:
    """Refuse a reward that nobody gives, and a human whom nobody simulates.

    Raises:
        ConfigError: Saying who could.
    """
    needs = load_reward(config.reward).needs
    if needs == "truth":
        instead = "use --reward classifier (`agps reward fit`) or --reward keys"
        station.require_truth(f"--reward {config.reward}", instead)
    if needs == "keys" and not has_keys:
        raise ConfigError(
            f"--reward {config.reward}: there is no terminal to press s (success) and f (fail) in; run this in a "
            "terminal, or use --reward classifier."
        )
    if config.teleop == "simulated" and config.plan.helper == "human":
        station.require_truth("--teleop simulated", "use spacemouse or gamepad")


def check_demonstrations(config: RunConfig, recorded: Path) -> None:
    """Refuse demonstrations that are not there, or that nobody can give: before anything is opened, or moves.

    Args:
        config: What is asked for.
        recorded: Where the run keeps its own; one that is resumed has them.

    Raises:
        ConfigError: Saying how many there are, or where others come from.
    """
    if recorded.exists():
        return
    if config.demos_dir is not None:
        count = recorded_count(config.demos_dir)
        if not 0 < config.demos <= count:
            raise ConfigError(
                f"--demos {config.demos}: {config.demos_dir} holds {count} demonstration{'' if count == 1 else 's'}; "
                f"ask for 1{'' if count == 1 else f' to {count}'}, or record more with `agps demos record`."
            )
        check_demos(config.demos_dir, task=config.task_name, image_size=config.image_size)
    elif config.demos > 0:
        place_of(config.robot).check_expert(config)


def open_keys(stack: ExitStack) -> "KeyReader | None":
    """Return the operator's keys until the stack unwinds; None without a terminal.

    A terminal in the background of another program is not ours to read from.
    """
    import sys

    if not is_terminal(sys.stdin):
        return None
    from rl.robots.teleop import KeyReader

    return stack.enter_context(KeyReader())


def _prompt(keys: "KeyReader | None") -> Callable[[str], None] | None:
    """Return what asks the operator for a job before an episode; None where nobody is there."""
    if keys is None or not keys.available:
        return None

    def ask(job: str) -> None:
        with keys.suspended():
            wait_for_enter(f"Before the next episode: {job}")

    return ask


def suspends(keys: "KeyReader | None") -> Callable[[], AbstractContextManager[None]]:
    """Return what gives the terminal back while something is asked."""
    return contextlib.nullcontext if keys is None else keys.suspended


def open_hand(config: RunConfig, task: Task) -> Hand:
    """Return the device in the human's hand.

    Raises:
        ConfigError: If it is not there.
    """
    from rl.robots.teleop import GamepadHand, HandConfig, SpaceMouseHand

    teleop = station_of(config).teleop
    hand = HandConfig(
        actions=task.actions,
        deadband=teleop.deadband,
        translation_scale=teleop.translation_scale,
        rotation_scale=teleop.rotation_scale,
        operator_yaw_rad=math.radians(teleop.operator_yaw_deg),
    )
    return GamepadHand(hand) if config.teleop == "gamepad" else SpaceMouseHand(hand)
