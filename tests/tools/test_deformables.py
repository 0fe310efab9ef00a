"""The plans of knot hanging and towel folding against physics: what they come to when an arm follows them."""

from contextlib import closing

import numpy as np
import pytest

from rl.envs.factory import make_env
from rl.envs.manipulation import ManipulationEnv
from rl.guidance import WaypointFollower
from rl.types import Guide, Observation
from tests.tools.scenes import point
from tools.answers import ToolCall
from tools.plan import run_plan
from tools.scene import Scene
from tools.spec import TOOLS, load_tools

HANG = [
    ("translate", {"target": ["hook_base", "hook_tip"], "fraction": 1.4, "height_m": 0.0}),
    ("translate", {"target": ["hook_base", "hook_tip"], "fraction": 0.45, "height_m": 0.0}),
    ("move_delta", {"dz_m": -0.04}),
]
FOLD = [
    ("pre_grasp", {"target": "corner_grasp", "height_m": 0.03}),
    ("descend", {"target": "corner_grasp", "height_m": 0.01}),
    ("grasp", {}),
    ("lift", {"height_m": 0.07}),
    ("translate", {"target": "corner_goal", "height_m": 0.07}),
    ("descend", {"target": "corner_goal", "height_m": 0.015, "guarded": False}),
    ("release", {}),
    ("lift", {"height_m": 0.05}),
]


def follow(env: ManipulationEnv, observation: Observation, plan: list[tuple[str, dict]]) -> tuple[bool, Observation]:
    """Follow a plan to where the simulator says that things are; return success and the last observation."""
    scene = Scene(
        task=env.task.name,
        frames={},
        T_base_tcp=observation.robot.T_base_tcp,
        gripper_opening=observation.robot.gripper_opening,
        workspace=env.workspace,
        p_tcp_tool=env.task.p_tcp_tool,
    )
    calls = [ToolCall(name=name, arguments=arguments) for name, arguments in plan]
    points = {label: point(label, *place) for label, place in env.truth().items()}
    guide = Guide(waypoints=run_plan(calls, scene, points, tools=load_tools(TOOLS.names)).waypoints, max_steps=80)
    follower = WaypointFollower(guide, action_scale=env.action_scale, actions=env.task.actions)
    done, success = False, False
    while not done and (action := follower.next_action(observation)) is not None:
        _, _, terminated, truncated, info = env.step(action.astype(np.float32))
        observation, done, success = info["observation"], terminated or truncated, info["is_success"]
    return success, observation


@pytest.mark.parametrize("seed", [1, 2])
def test_knot_is_hung_in_three_calls(seed: int) -> None:
    with closing(make_env("knot_hanging")) as env:
        _, info = env.reset(seed=seed)
        success, last = follow(env, info["observation"], HANG)
    assert success
    assert last.step <= 22


def test_towel_is_folded_without_a_pause_and_the_fingers_wait_for_nothing_else() -> None:
    with closing(make_env("towel_folding")) as env:
        _, info = env.reset(seed=1)
        success, last = follow(env, info["observation"], FOLD)
    assert success
    assert last.step <= 45


def test_corner_is_held_only_after_the_fingers_have_closed() -> None:
    with closing(make_env("towel_folding")) as env:
        _, info = env.reset(seed=1)
        _, last = follow(env, info["observation"], FOLD[:4])
        lifted = env.truth()["corner_grasp"][2]
    assert last.robot.gripper_opening < 0.2
    assert lifted > 0.05
