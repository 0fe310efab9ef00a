"""Tools against physics: what a plan comes to when an arm follows it."""

from collections.abc import Iterator

import numpy as np
import pytest

from rl.envs.factory import make_env
from rl.envs.manipulation import ManipulationEnv
from rl.guidance import WaypointFollower
from rl.types import FloatArray, Guide, Observation
from tests.tools.scenes import point
from tools.answers import ToolCall
from tools.memory import MemoryRecord, Target
from tools.plan import run_plan
from tools.scene import Scene
from tools.spec import load_tools

PLAN = [
    ToolCall(name="translate", arguments={"target": "port", "height_m": 0.006}),
    ToolCall(name="search", arguments={"target": "port", "depth_m": 0.013}),
]


@pytest.fixture(scope="module")
def env() -> Iterator[ManipulationEnv]:
    env = make_env("usb_insertion")
    yield env
    env.close()


def insert(env: ManipulationEnv, target: FloatArray, seed: int) -> tuple[bool, Observation]:
    """Follow the plan to a target until the episode ends or the guidance does; return success and where that was."""
    _, info = env.reset(seed=seed)
    observation = info["observation"]
    scene = Scene(
        task="usb_insertion",
        frames={},
        T_base_tcp=observation.robot.T_base_tcp,
        gripper_opening=observation.robot.gripper_opening,
        workspace=env.workspace,
        p_tcp_tool=env.task.p_tcp_tool,
    )
    tools = load_tools(["translate", "search"])
    waypoints = run_plan(PLAN, scene, {"port": point("port", *target)}, tools=tools).waypoints
    follower = WaypointFollower(Guide(waypoints=waypoints, max_steps=45), action_scale=env.action_scale)
    done = False
    while not done and (action := follower.next_action(observation)) is not None:
        _, _, terminated, truncated, info = env.step(action.astype(np.float32))
        observation, done = info["observation"], terminated or truncated
    return info["is_success"], observation


@pytest.mark.parametrize("error_mm", [(0, 0, 0), (0.5, -0.5, 1), (-1.2, 1.0, -1)])
def test_search_inserts_although_the_target_is_off(env: ManipulationEnv, error_mm: tuple[float, float, float]):
    target = env.task.landmarks["port"] + np.array(error_mm) / 1000
    assert [insert(env, target, seed)[0] for seed in (1, 2)] == [True, True]


def test_success_tells_where_the_port_is_to_half_a_millimetre(env: ManipulationEnv):
    port = env.task.landmarks["port"]
    target = port + [0.001, -0.001, 0.0005]
    success, last = insert(env, target, seed=3)
    record = MemoryRecord(
        task="usb_insertion", mode="guide", embedding=np.ones(1), calibration_hash="",
        targets={"port": Target(xyz=target)}, felt="port", p_tcp_tool=env.task.p_tcp_tool,
    )  # fmt: skip
    aim = record.after(success=success, T_base_tcp_final=last.robot.T_base_tcp).targets["port"].aim
    assert np.abs(aim - port)[:2].max() < 0.0005
