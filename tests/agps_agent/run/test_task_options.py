import pytest

from agps_agent.run.task_options import TaskOptions
from rl.errors import ConfigError
from rl.tasks import TASK_NAMES, get_task


def test_options_become_metres_and_radians() -> None:
    options = TaskOptions(clearance_mm=0.4, horizon=60, port_jitter_deg=180.0)
    assert options.overrides("usb_insertion") == pytest.approx(
        {"clearance_m": 0.0004, "horizon": 60, "port_jitter_rad": 3.14159265}
    )


def has_option(task: str, name: str) -> bool:
    try:
        get_task(task, **TaskOptions.model_validate({name: 1}).overrides(task))
    except ConfigError:
        return False
    return True


def test_every_option_belongs_to_all_tasks_or_to_one() -> None:
    common = {"horizon", "light_jitter", "colour_jitter", "camera_jitter_mm", "camera_jitter_deg"}
    for name in TaskOptions.model_fields:
        tasks = [task for task in TASK_NAMES if has_option(task, name)]
        assert tasks == list(TASK_NAMES) if name in common else len(tasks) == 1, name


def test_option_of_another_task_is_refused_by_its_name_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError) as refusal:
        TaskOptions(towel_jitter_mm=3.0).overrides("usb_insertion")
    line = str(refusal.value)
    assert line.startswith("--task-options.towel-jitter-mm: usb_insertion has no such option; it has horizon, ")
    assert "port-jitter-deg" in line and "towel" not in line.split(";")[1]
