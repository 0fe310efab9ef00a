import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from agps_agent.detectors import FloatConfig
from agps_agent.run.config import RunConfig, load_config, load_versions, save_config
from agps_agent.run.directory import RunDirectory
from agps_agent.run.methods import METHODS
from rl.conrft.config import ConRFTConfig, StageConfig
from rl.drq.config import DrQConfig
from rl.errors import AgpsError, ConfigError
from rl.human import SimulatedHumanConfig
from rl.tasks import TASKS, get_task
from rl.tasks.base import Recipe
from rl.tasks.usb_insertion import UsbInsertion


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
        method="hil-conrft",
        conrft=ConRFTConfig.of(gamma=0.9, online={"bc_weight": 0.2}),
        human=SimulatedHumanConfig(reaction_s=0.2),
        task_options={"clearance_mm": 0.4, "horizon": 60},
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


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """What USB insertion is taken to measure best with."""
    made = Recipe(
        method="hil-conrft",
        demos=7,
        max_env_steps=123,
        max_minutes=4.5,
        pretrain_steps=99,
        drq={"gamma": 0.95, "clip_target": None},
        conrft={"gamma": 0.96, "online": {"bc_weight": 0.3}},
    )
    monkeypatch.setattr(UsbInsertion, "recipe", made)
    return made


def test_what_is_not_given_comes_from_the_tasks_recipe(recipe: Recipe) -> None:
    config = RunConfig(task="usb_insertion")
    assert (config.method, config.demos, config.max_env_steps, config.max_minutes) == ("hil-conrft", 7, 123, 4.5)
    assert config.pretrain_steps == 99
    assert (config.drq.gamma, config.drq.clip_target, config.conrft.gamma) == (0.95, None, 0.96)
    assert config.conrft.online == StageConfig(bc_weight=0.3, q_weight=1.0, conservative_weight=0.0)


def test_preset_recipe_and_option_compose_and_the_option_wins(recipe: Recipe) -> None:
    drq = RunConfig(task="usb_insertion", preset="hil-serl", drq={"gamma": 0.5, "n_step": 2}).drq  # type: ignore[arg-type]
    assert drq == DrQConfig.preset("hil-serl", gamma=0.5, n_step=2, clip_target=None)


def test_option_within_a_stage_leaves_the_stages_others(recipe: Recipe) -> None:
    conrft = RunConfig(task="usb_insertion", conrft={"online": {"q_weight": 2.0}}).conrft  # type: ignore[arg-type]
    assert conrft.online == StageConfig(bc_weight=0.3, q_weight=2.0, conservative_weight=0.0)


def test_every_task_has_a_recipe_that_makes_a_configuration() -> None:
    for task in TASKS.names:
        assert RunConfig(task=task).method == get_task(task).recipe.method in METHODS


@pytest.mark.parametrize(
    ("method", "buffers"),
    [
        ("agps", "success"),
        ("serl", "success"),
        ("hil-serl", "both"),
        ("agps-conrft", "success"),
        ("hil-conrft", "both"),
    ],
)
def test_method_decides_where_guided_steps_go_unless_told(method: str, buffers: str) -> None:
    values = {"task": "usb_insertion", "method": method}
    assert RunConfig.model_validate(values).store_guided == buffers
    assert RunConfig.model_validate({**values, "store_guided": "online"}).store_guided == "online"


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "ppo"},
        {"image_size": 65},
        {"demos": -1},
        {"vlm": "gpt"},
        {"colour": 1},
        {"method": "conrft", "demos": 0},
        {"reward": "guess"},
    ],
)
def test_value_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RunConfig.model_validate({"task": "usb_insertion", **wrong})


def test_configuration_of_another_version_is_refused_by_field(run: RunDirectory) -> None:
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion", "warp_drive": 9}}))
    with pytest.raises(ConfigError, match=r"does not fit this version: warp_drive"):
        load_config(run)


def test_damaged_configuration_is_named(run: RunDirectory) -> None:
    run.config.write_text("[]")
    with pytest.raises(AgpsError, match=r"config\.json holds list"):
        load_config(run)


def test_reward_is_the_truth_unless_a_classifier_is_asked_for() -> None:
    assert RunConfig(task="usb_insertion").reward_file is None
    learned = RunConfig(task="usb_insertion", reward="classifier")
    assert learned.reward_file == Path("runs/reward/usb_insertion/classifier.pt")
    assert RunConfig(task="usb_insertion", reward="classifier", reward_model=Path("a.pt")).reward_file == Path("a.pt")
