"""What every registered task keeps, whoever wrote it."""

import numpy as np
import pytest
from gymnasium.spaces import Box as BoxSpace

from prompts.loader import find_task_prompt, load_task_prompt
from rl.envs.factory import make_env
from rl.guard import guard_target
from rl.tasks.base import Task
from rl.tasks.registry import TASKS, get_task, load_task
from rl.types import RobotState


@pytest.fixture(params=TASKS.names)
def task(request: pytest.FixtureRequest) -> Task:
    return get_task(request.param)


def test_home_and_starts_are_in_the_workspace_and_pass_the_guard(task: Task) -> None:
    rng = np.random.default_rng(0)
    for T in [task.home, *(task.sample_start(rng) for _ in range(100))]:
        assert task.workspace.contains(T[:3, 3])
        guarded = guard_target(T, T_base_ref=T, T_base_tcp=T, limits=task.guard)
        assert guarded.violations == ()
        np.testing.assert_allclose(guarded.T_base_tcp, T, atol=1e-9)


def test_same_seed_starts_at_the_same_pose(task: Task) -> None:
    one, again = (task.sample_start(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, again)


def test_way_out_of_a_contact_never_leads_down(task: Task) -> None:
    assert all(T.shape == (4, 4) and np.isfinite(T).all() for T in task.retreat(task.home))
    assert all(T[2, 3] > task.home[2, 3] - 1e-9 for T in task.retreat(task.home))


def test_cameras_have_names_of_their_own_and_look_somewhere(task: Task) -> None:
    for cameras in (task.policy_cameras, task.agent_cameras):
        names = [camera.name for camera in cameras]
        assert names and len(set(names)) == len(names) and "state" not in names
        for camera in cameras:
            right, up = camera.axes()
            np.testing.assert_allclose([right @ right, up @ up, right @ up], [1.0, 1.0, 0.0], atol=1e-9)


def test_instruction_is_one_sentence_and_prompt_is_found(task: Task) -> None:
    assert task.instruction.strip().endswith(".") and "\n" not in task.instruction
    assert find_task_prompt(type(task)) is not None
    assert load_task_prompt(task.name).keypoints


def test_class_is_registered_under_the_name_that_it_says(task: Task) -> None:
    assert load_task(task.name) is type(task)
    assert task.recipe.demos >= 0 and task.recipe.max_env_steps > 0


def test_nominal_start_is_no_success(task: Task) -> None:
    env = make_env(task, robot="fake")
    env.reset(seed=0)
    at_home = RobotState(T_base_tcp=task.home, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=1.0)
    assert not task.is_success(env.truth(), at_home)


def test_observation_and_action_have_the_spaces_that_are_promised(task: Task) -> None:
    env = make_env(task, robot="fake", image_size=32)
    assert env.observation_space.keys() == {*(camera.name for camera in task.policy_cameras), "state"}
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert isinstance(env.action_space, BoxSpace) and env.action_space.shape == (task.actions,)
    assert task.actions == (7 if task.has_gripper else 6)


def test_scripted_expert_ends_in_a_success_where_an_arm_obeys(task: Task) -> None:
    env = make_env(task, robot="fake", image_size=32)
    expert = env.expert()
    _, info = env.reset(seed=0)
    for _ in range(task.horizon):
        _, reward, terminated, truncated, info = env.step(expert(info["observation"], env.truth()))
        if terminated or truncated:
            break
    assert terminated and info["is_success"] and reward == task.reward(True)
