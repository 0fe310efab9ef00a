"""Labelled frames from the arm of a station, for a reward classifier that knows its table."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agps_agent.run.demonstrations import MovedArm, Mover, open_moved_arm
from agps_agent.run.robot import STATION
from agps_agent.run.signals import saving
from rl.errors import ConfigError
from rl.rewards.classifier.collecting import Policy, collect_episodes
from rl.rewards.classifier.frames import FrameEpisode, FrameFolder
from rl.rewards.classifier.labelling import Act, Verdict, collect_labelled

Say = Callable[[str], None]

RULE = (
    "Keys: s when it is done, f when it is not any more; every episode begins as not done. The second before either "
    "key and the last one of an episode are left out. Space or Esc stop the arm; finished episodes are kept."
)


def record_frames(
    folder: Path,
    *,
    task: str,
    by: Mover | None,
    robot: str = STATION,
    positive: int,
    negative: int,
    seed: int,
    image_size: int,
    station: Path,
    robot_ip: str | None,
    speed: float,
    task_options: Mapping[str, Any],
    policy: Policy | None,
    say: Say,
) -> list[FrameEpisode]:
    """Record that many frames of successes and failures on a robot, each episode on disk before the next begins.

    Args:
        folder: To write; must be free.
        task: What is done.
        by: Who moves the arm. None: a SpaceMouse, or the scripted expert where an emulator knows the truth. The
            expert's frames are labelled by the truth, all others by the operator's keys (`rl.rewards.classifier`).
        robot: The arm of the station, as --robot says it.
        positive: Successes to record.
        negative: Failures to record.
        seed: Seed of the first start.
        image_size: Side of the policy's images, [px].
        station: File that describes the arm, its workspace and cameras.
        robot_ip: Address of the arm in place of the station's.
        speed: Longest control step over the task's.
        task_options: What to change about the task.
        policy: Who acts for `policy`; half of the failures of `expert`.
        say: Tells the operator something, a line each.

    Raises:
        ConfigError: If nobody can move the arm or judge there, or the frames that are needed do not come.
        HardwareFault: If the arm could not be recovered.
    """
    if by == "policy" and policy is None:
        raise ConfigError("--by policy: whose? Name its run directory with --run.")
    with open_moved_arm(
        task,
        by,
        robot=robot,
        seed=seed,
        image_size=image_size,
        station=station,
        robot_ip=robot_ip,
        speed=speed,
        task_options=task_options,
    ) as arm:
        kept = FrameFolder(folder, env=arm.env, seed=seed, robot=robot)
        for episode in _episodes(arm, policy, positive=positive, negative=negative, seed=seed, say=say):
            arm.env.pause()
            with saving():
                kept.keep(episode)
    return kept.episodes


def _episodes(
    arm: MovedArm, policy: Policy | None, *, positive: int, negative: int, seed: int, say: Say
) -> Iterator[FrameEpisode]:
    env = arm.env

    def report(found: int, missing: int) -> None:
        is_complete = found >= positive and missing >= negative
        rest = "." if is_complete else "; the arm goes to the next start."
        say(f"{found} of {positive} successes, {missing} of {negative} failures{rest}")

    if arm.by == "expert":
        env.keys = None  # the truth labels; a stop is seen all the same
        return collect_episodes(env, positive=positive, negative=negative, seed=seed, policy=policy, report=report)

    def on_key(key: Verdict) -> None:
        say("  now: DONE" if key == "success" else "  now: not done")

    say(RULE)
    return collect_labelled(
        env,
        arm.hand.act if arm.hand is not None else _acts(policy),
        source="policy" if arm.by == "policy" else "hand",
        positive=positive,
        negative=negative,
        seed=seed,
        report=report,
        on_key=on_key,
    )


def _acts(policy: Policy | None) -> Act:
    assert policy is not None
    return lambda observation: policy({**observation.images, "state": observation.state})
