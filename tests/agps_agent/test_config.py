import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from agps_agent.config import RunConfig, TaskOptions, load_config, load_versions, save_config
from agps_agent.float_trigger import FloatConfig
from agps_agent.runs import RunDirectory
from rl.drq.config import DrQConfig
from rl.errors import AgpsError, ConfigError


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run")


def test_configuration_survives_the_disk(run: RunDirectory) -> None:
    config = RunConfig(
        task="usb_insertion",
        demos=1,
        seed=7,
        run_dir=run.path,
        drq=DrQConfig(gamma=0.5, clip_target=None),
        detector=FloatConfig(alpha=0.25),
        task_options=TaskOptions(clearance_mm=0.4),
    )
    save_config(config, run)
    assert load_config(run) == config


def test_versions_of_what_can_change_a_result_are_saved(run: RunDirectory) -> None:
    save_config(RunConfig(task="usb_insertion"), run)
    assert {"python", "torch", "mujoco", "agps"} <= load_versions(run).keys()


def test_preset_decides_the_learner() -> None:
    assert RunConfig(task="usb_insertion", preset="hil-serl").drq == DrQConfig.preset("hil-serl")


def test_learner_that_is_given_beats_the_preset() -> None:
    drq = DrQConfig(gamma=0.5)
    assert RunConfig(task="usb_insertion", preset="hil-serl", drq=drq).drq.gamma == 0.5


@pytest.mark.parametrize("wrong", [{"method": "ppo"}, {"image_size": 65}, {"demos": -1}, {"vlm": "gpt"}, {"colour": 1}])
def test_value_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RunConfig.model_validate({"task": "usb_insertion", **wrong})


def test_task_options_become_metres_and_radians() -> None:
    options = TaskOptions(clearance_mm=0.4, horizon=60, port_jitter_deg=180.0)
    assert options.overrides() == pytest.approx({"clearance_m": 0.0004, "horizon": 60, "port_jitter_rad": 3.14159265})


def test_task_options_name_fields_that_the_task_has() -> None:
    from rl.tasks import get_task

    everything = {name: 1.0 for name in TaskOptions.model_fields if name != "horizon"}
    get_task("usb_insertion", **TaskOptions(horizon=10, **everything).overrides())


def test_configuration_of_another_version_is_refused_by_field(run: RunDirectory) -> None:
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion", "warp_drive": 9}}))
    with pytest.raises(ConfigError, match=r"does not fit this version: warp_drive"):
        load_config(run)


def test_damaged_configuration_is_named(run: RunDirectory) -> None:
    run.config.write_text("[]")
    with pytest.raises(AgpsError, match=r"config\.json holds list"):
        load_config(run)
