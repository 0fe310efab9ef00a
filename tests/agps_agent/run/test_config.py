import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import ValidationError

from agps_agent.detectors import FloatConfig
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import fixed_changes, load_config, load_versions, save_config
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
        detector=FloatConfig(alpha=0.25),
        method="hil-conrft",
        algorithm_options=ConRFTConfig.of(gamma=0.9, online={"bc_weight": 0.2}),
        human=SimulatedHumanConfig(reaction_s=0.2),
        task_options={"clearance_mm": 0.4, "horizon": 60},
    )
    save_config(config, run)
    assert load_config(run) == config


def test_versions_of_what_can_change_a_result_are_saved(run: RunDirectory) -> None:
    save_config(RunConfig(task="usb_insertion"), run)
    assert {"python", "torch", "mujoco", "agps"} <= load_versions(run).keys()


def test_preset_decides_the_learner() -> None:
    assert RunConfig(task="usb_insertion", preset="hil-serl").algorithm_options == DrQConfig.preset("hil-serl")


def test_learner_that_is_given_beats_the_preset() -> None:
    drq = DrQConfig(gamma=0.5)
    assert RunConfig(task="usb_insertion", preset="hil-serl", algorithm_options=drq).algorithm_options == drq


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """What USB insertion is taken to measure best with."""
    made = Recipe(
        method="hil-conrft",
        demos=7,
        max_env_steps=123,
        max_minutes=4.5,
        pretrain_steps=99,
        learners=(
            DrQConfig(gamma=0.95, clip_target=None),
            ConRFTConfig.of(gamma=0.96, online={"bc_weight": 0.3}),
        ),
    )
    monkeypatch.setattr(UsbInsertion, "recipe", made)
    return made


def test_what_is_not_given_comes_from_the_tasks_recipe(recipe: Recipe) -> None:
    config = RunConfig(task="usb_insertion")
    assert (config.method, config.demos, config.max_env_steps, config.max_minutes) == ("hil-conrft", 7, 123, 4.5)
    assert config.pretrain_steps == 99
    assert config.algorithm_options.gamma == 0.96
    assert config.algorithm_options.online == StageConfig(bc_weight=0.3, q_weight=1.0, conservative_weight=0.0)
    assert RunConfig(task="usb_insertion", method="serl").algorithm_options == DrQConfig(gamma=0.95, clip_target=None)


def test_preset_recipe_and_option_compose_and_the_option_wins(recipe: Recipe) -> None:
    values = {"method": "serl", "preset": "hil-serl", "algorithm_options": {"gamma": 0.5, "n_step": 2}}
    options = RunConfig.model_validate({"task": "usb_insertion", **values}).algorithm_options
    assert options == DrQConfig.preset("hil-serl", gamma=0.5, n_step=2, clip_target=None)


def test_option_within_a_stage_leaves_the_stages_others(recipe: Recipe) -> None:
    values = {"task": "usb_insertion", "algorithm_options": {"online": {"q_weight": 2.0}}}
    assert RunConfig.model_validate(values).algorithm_options.online == StageConfig(
        bc_weight=0.3, q_weight=2.0, conservative_weight=0.0
    )


def test_towel_learns_with_the_settings_that_measured_best() -> None:
    online = StageConfig(bc_weight=1.0, q_weight=0.3, conservative_weight=0.0)
    best = {"reward_scale": 10.0, "exploration_noise": 0.0, "average_rate": 0.002, "online": online}
    conrft = RunConfig(task="towel_folding").algorithm_options
    assert conrft == ConRFTConfig(clip_target=(-0.35, 1.0), reconstruct="demo", **best)
    drq = RunConfig(task="towel_folding", method="serl").algorithm_options
    assert drq == DrQConfig(reward_scale=10.0, clip_target=(-0.5, 1.0))


@pytest.mark.parametrize(("method", "gamma"), [("agps", 0.5), ("hil-conrft", 0.6)])
def test_run_of_an_earlier_version_loads(run: RunDirectory, method: str, gamma: float) -> None:
    settings = {"drq": asdict(DrQConfig(gamma=0.5)), "conrft": asdict(ConRFTConfig.of(gamma=0.6))}
    values = {"task": "usb_insertion", "method": method, "demos": 3, **settings}
    run.config.write_text(json.dumps({"config": values}))
    config = load_config(run)
    assert (config.plan, config.method, config.algorithm_options.gamma) == (METHODS[method], method, gamma)


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


def test_errors_of_the_model_are_saved_with_the_run(run: RunDirectory) -> None:
    erring = "embedded,point-error-px=3,miss-share=0.05"
    save_config(RunConfig(task="usb_insertion", vlm=erring), run)
    assert load_config(run).vlm == erring


FIXED = {
    "task",
    "method",
    "robot",
    "demos",
    "agent_demos",
    "demo_noise",
    "seed",
    "preset",
    "image_size",
    "mode",
    "on_trigger",
    "store_guided",
}
FIXED |= {"algorithm", "helper", "offline", "reward", "encoder", "learner", "final_policy", "eval_acting"}
FIXED |= {"env_arguments"}
SCALARS = [name for name, value in RunConfig(task="usb_insertion") if isinstance(value, bool | int | float | str)]


@pytest.mark.parametrize("name", SCALARS)
def test_resumed_run_may_change_budgets_and_places_and_nothing_else(name: str) -> None:
    saved = RunConfig(task="usb_insertion")
    value = getattr(saved, name)
    changed = saved.model_copy(update={name: not value if isinstance(value, bool) else value * 2 or 1})
    assert [found for found, _, _ in fixed_changes(saved, changed)] == ([name] if name in FIXED else [])


def test_change_within_a_part_of_the_settings_is_named_in_full() -> None:
    saved = RunConfig(task="usb_insertion", task_options={"clearance_mm": 0.4})
    now = saved.model_copy(update={"task_options": {"clearance_mm": 3.0}, "detector": FloatConfig(alpha=0.2)})
    assert sorted(fixed_changes(saved, now)) == [
        ("detector.alpha", None, 0.2),
        ("task_options.clearance_mm", 0.4, 3.0),
    ]


@pytest.mark.parametrize("content", [None, "{", '{"count": 0}'])
def test_demonstrations_that_cannot_be_read_are_not_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "demos.json").write_text(content)
    with pytest.raises(ValidationError, match=r"There are no demonstrations in|Cannot read"):
        RunConfig(task="usb_insertion", demos_dir=tmp_path)


def test_run_is_read_after_its_demonstrations_were_moved(run: RunDirectory) -> None:
    config = RunConfig(task="usb_insertion", demos=3, demos_dir=Path("gone"))
    save_config(config, run)
    assert load_config(run) == config


@pytest.mark.parametrize("memory", ["127.0.0.1:9", "robots.lab:8001/api", "//localhost:8001", "[::1]:8001"])
def test_address_without_a_scheme_is_no_folder_of_memories(memory: str) -> None:
    with pytest.raises(ValidationError, match=f"for a server write http://{re.escape(memory)}"):
        RunConfig(task="usb_insertion", memory=memory)


@pytest.mark.parametrize("memory", ["/data/a:b", "http://127.0.0.1:9", None])
def test_folder_and_url_are_taken(memory: str | None) -> None:
    assert RunConfig(task="usb_insertion", memory=memory).memory == memory


@pytest.mark.parametrize("memory", ["memories", "./127.0.0.1:9"])
def test_memory_is_where_it_was_when_the_run_is_resumed_from_another_folder(memory: str) -> None:
    assert RunConfig(task="usb_insertion", memory=memory).memory == str(Path.cwd() / memory)


def test_configuration_of_another_version_is_refused_by_field(run: RunDirectory) -> None:
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion", "warp_drive": 9}}))
    with pytest.raises(ConfigError, match=r"does not fit this version: warp_drive"):
        load_config(run)


def test_damaged_configuration_is_named(run: RunDirectory) -> None:
    run.config.write_text("[]")
    with pytest.raises(AgpsError, match=r"config\.json holds list"):
        load_config(run)


@pytest.mark.parametrize("value", [5, [], {}, True])
@pytest.mark.parametrize(
    "name", ["task", "env", "method", "algorithm", "helper", "preset", "robot", "station", "mode", "eval_acting"]
)
def test_setting_of_another_type_is_damage(name: str, value: object, run: RunDirectory) -> None:
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion", name: value}}))
    with pytest.raises(AgpsError, match=rf"config\.json: {name} is .*, no text; it is damaged"):
        load_config(run)


@pytest.mark.parametrize("name", ["agent_demos", "demos", "seed"])
def test_count_that_is_a_text_is_damage(name: str, run: RunDirectory) -> None:
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion", name: "x"}}))
    with pytest.raises(AgpsError, match=rf"config\.json: {name} is 'x', no whole number; it is damaged"):
        load_config(run)


def test_robot_that_is_nothing_does_not_fit(run: RunDirectory) -> None:
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion", "robot": None}}))
    with pytest.raises(ConfigError, match="does not fit this version: robot"):
        load_config(run)


def test_reward_is_the_truth_unless_a_classifier_is_asked_for() -> None:
    assert RunConfig(task="usb_insertion").reward_file is None
    learned = RunConfig(task="usb_insertion", reward="classifier")
    assert learned.reward_file == Path("runs/reward/usb_insertion/classifier.pt")
    assert RunConfig(task="usb_insertion", reward="classifier", reward_model=Path("a.pt")).reward_file == Path("a.pt")


@pytest.mark.parametrize(("given", "shown"), [({}, 0), ({"demos": 4}, 6), ({"demos": 0}, 10)])
def test_agent_gives_the_demonstrations_that_are_missing(given: dict[str, int], shown: int):
    assert RunConfig(task="usb_insertion", **given).agent_demos == shown


def test_nobody_but_the_agent_gives_missing_demonstrations():
    assert RunConfig(task="usb_insertion", method="serl", demos=0).agent_demos == 0
    with pytest.raises(ValidationError, match="learns from demonstrations first"):
        RunConfig(task="towel_folding", method="hil-conrft", demos=0)
    assert RunConfig(task="towel_folding", demos=0).agent_demos == 30


@pytest.mark.parametrize("method", ["serl", "conrft", "hil-serl"])
def test_agents_demonstrations_are_refused_where_it_does_not_help(method: str) -> None:
    with pytest.raises(ValidationError, match="the agent demonstrates in runs that it helps"):
        RunConfig(task="towel_folding", method=method, demos=0, agent_demos=5)
    assert RunConfig(task="towel_folding", method="agps-conrft", demos=0, agent_demos=5).agent_demos == 5


@pytest.mark.parametrize(
    ("told", "is_taught"),
    [
        ({"task": "usb_insertion"}, True),
        ({"task": "usb_insertion", "demos": 0}, True),
        ({"task": "towel_folding"}, False),
        ({"task": "towel_folding", "demos": 10}, True),
        ({"task": "towel_folding", "demos": 0}, True),
    ],
)
def test_agents_way_is_not_taught_beside_what_a_first_stage_learned_from_others(told, is_taught):
    assert RunConfig(**told).is_taught is is_taught
