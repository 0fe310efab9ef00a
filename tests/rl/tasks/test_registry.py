import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl.envs import make_env
from rl.envs.robot import RobotEnv
from rl.errors import ConfigError
from rl.tasks import TASKS, KnotHanging, TowelFolding, UsbInsertion, get_task, load_task
from rl.tasks.base import SimulatedTask, Task, simulated
from rl.tasks.expert import has_expert, make_expert
from rl.tasks.registry import gym_ids
from tests.outside import write_real, write_simulated
from tests.rl.envs.robots import FailingBackend


def test_ours_are_entry_points_that_lead_to_their_classes() -> None:
    ours = {"usb_insertion": UsbInsertion, "knot_hanging": KnotHanging, "towel_folding": TowelFolding}
    assert {name: load_task(name) for name in ours} == ours


def test_gymnasium_ids_are_made_of_names() -> None:
    assert dict(gym_ids())["agps/TowelFolding-v0"] == "towel_folding"


@pytest.mark.parametrize(
    ("task", "field"), [(UsbInsertion, "port"), (KnotHanging, "hook"), (TowelFolding, "towel")], ids=str
)
def test_fixture_stays_where_the_arm_may_go(task: type[SimulatedTask], field: str) -> None:
    task(**{f"{field}_jitter_m": 0.1})
    with pytest.raises(ConfigError, match=rf"{field}_jitter_m is 0.101; ask for at most 0.1\."):
        task(**{f"{field}_jitter_m": 0.101})


@pytest.mark.parametrize("name", TASKS.names)
def test_what_a_task_says_of_its_scene_is_in_the_scene(name: str) -> None:
    """Landmarks are true in the nominal scene, what is held is where the hand has it, and success begins as no."""
    env = make_env(name)
    task = simulated(env.task)
    _, info = env.reset(seed=0)
    truth, T = env.truth(), info["observation"].robot.T_base_tcp
    for label, point in task.landmarks.items():
        np.testing.assert_allclose(truth[label], point, atol=0.003)
    for label, point in task.held_points.items():
        np.testing.assert_allclose(truth[label], T[:3, 3] + T[:3, :3] @ point, atol=0.004)
    assert not task.is_success(truth, info["observation"].robot)
    env.close()


def test_task_in_a_file_is_made_with_changes(tmp_path: Path) -> None:
    reference = write_simulated(tmp_path)
    assert get_task(reference, patience_s=5.0).name == "slow_usb"
    with pytest.raises(ConfigError, match="patience_s is 10.0; ask for at most 9"):
        get_task(reference, patience_s=10.0)
    with pytest.raises(ConfigError, match="Task slow_usb has no field 'patience'; its fields: horizon,"):
        get_task(reference, patience=1.0)


def test_task_in_a_file_survives_the_way_into_another_process(tmp_path: Path) -> None:
    task = get_task(write_simulated(tmp_path), patience_s=5.0)
    sent = pickle.dumps(task)
    del sys.modules[type(task).__module__]  # as it is there
    received = pickle.loads(sent)
    assert (received.name, received.patience_s, received.horizon) == ("slow_usb", 5.0, 12)


def test_task_that_lacks_something_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(
        "from rl.tasks import Task\nclass Half(Task):\n    name = 'half'\n    instruction = 'Do half of it.'\n"
    )
    with pytest.raises(ConfigError, match="Task half cannot be made: .*abstract.*workspace"):
        get_task(f"{tmp_path}/half.py:Half")


@pytest.mark.parametrize("name", ["a/b", "", "two words"])
def test_name_that_no_folder_can_have_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "odd.py").write_text(
        f"from rl.tasks import UsbInsertion\nclass Odd(UsbInsertion):\n    name = {name!r}\n"
    )
    with pytest.raises(ConfigError, match="give its class a `name` of letters"):
        get_task(f"{tmp_path}/odd.py:Odd")


def test_task_is_registered_under_its_own_name_only() -> None:
    TASKS.register("plug", UsbInsertion)
    try:
        with pytest.raises(ConfigError, match="'plug' calls itself 'usb_insertion'; register it under that name"):
            load_task("plug")
    finally:
        TASKS.unregister("plug")


def test_subclass_inherits_its_expert() -> None:
    class Wider(UsbInsertion):
        pass

    assert type(make_expert(Wider())).__name__ == "UsbExpert"


def test_task_for_a_real_table_runs_on_an_arm_but_not_in_simulation(tmp_path: Path) -> None:
    reference = write_real(tmp_path)
    task = get_task(reference)
    assert isinstance(task, Task) and not isinstance(task, SimulatedTask) and not has_expert(task)
    with pytest.raises(ConfigError, match="press_button is for a real table and has no scene to simulate"):
        make_env(reference)
    env = RobotEnv(task, FailingBackend(task))
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(np.zeros(6, np.float32))
    assert (reward, terminated, info["is_success"]) == (0.0, False, False)


def test_prompt_lies_beside_the_class_or_where_it_says(tmp_path: Path) -> None:
    kind = load_task(write_simulated(tmp_path))
    assert kind.prompt_file() is None
    (tmp_path / "slow_usb.md").touch()
    assert kind.prompt_file() == tmp_path / "slow_usb.md"

    class Other(kind):  # type: ignore[valid-type, misc]
        prompt = tmp_path / "words.md"

    class Third(Other):
        name = "third"

    assert Other.prompt_file() == Third.prompt_file() == tmp_path / "words.md"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port_position", 0.5, "port_position is 0.5: Input should be a valid tuple"),
        ("port_position", [0.51, 0.0], "port_position is .*: Field required"),
        ("horizon", 50.5, "horizon is 50.5: Input should be a valid integer"),
        ("start_height_m", True, "start_height_m is True; give a number"),
        ("clearance_m", "wide", "clearance_m is 'wide'; give a number"),
    ],
)
def test_value_of_another_type_is_refused_by_its_field(name: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}"):
        get_task("usb_insertion", **{name: value})


def test_list_of_a_file_becomes_a_tuple_and_a_scalar_of_numpy_a_number() -> None:
    task: Any = get_task("usb_insertion", port_position=[0.5, 0.01, 0.05], clearance_m=np.float32(0.25e-3))
    assert task.port_position == (0.5, 0.01, 0.05) and isinstance(task.clearance_m, float)
