from pathlib import Path

import pytest
from pydantic import ValidationError

from agps_agent.measure.conditions import Conditions
from agps_agent.measure.evaluating import env_under
from agps_agent.run.config import RunConfig
from rl.envs.manipulation import ManipulationEnv
from rl.envs.pushed import PushedEnv
from rl.errors import ConfigError

USB = RunConfig(task="usb_insertion", method="serl", task_options={"port_jitter_mm": 3.0})


def test_what_equals_training_is_no_condition() -> None:
    nothing = Conditions(push_step=9)  # a push of 0 mm
    assert nothing.values == {} and nothing.in_words() == "" and nothing.applied_to(USB) == USB


def test_conditions_are_told_in_words_and_change_the_task_beside_what_the_run_has_changed() -> None:
    conditions = Conditions(start_scale=1.5, push_mm=20, friction=0.5, camera_deg=1.5)
    assert conditions.in_words() == (
        "start region x 1.5, pushed by 20 mm, after 5 control steps, friction x 0.5, cameras turned by 1.5 deg"
    )
    overrides = conditions.applied_to(USB).task_overrides
    assert (overrides["start_scale"], overrides["friction_scale"]) == (1.5, 0.5)
    assert overrides["camera_jitter_rad"] == pytest.approx(0.02618, abs=1e-5)
    assert overrides["port_jitter_m"] == pytest.approx(0.003)


def test_environment_has_the_conditions_that_were_asked_for() -> None:
    with env_under(Conditions(push_mm=20, mass=2), USB) as env:
        assert isinstance(env, PushedEnv) and isinstance(env.env, ManipulationEnv)
        held = env.env.backend.model.body("held")  # type: ignore[attr-defined]  # it is MuJoCo's
        assert held.mass[0] == pytest.approx(0.030)
    with env_under(Conditions(), USB) as env:
        assert isinstance(env, ManipulationEnv)


def test_conditions_are_for_simulated_tasks(tmp_path: Path) -> None:
    foreign = USB.model_copy(update={"env": "gym:Other-v0"})
    with (
        pytest.raises(ConfigError, match=r"somebody else's environment.*\(friction x 2\)"),
        env_under(Conditions(friction=2), foreign),
    ):
        pass
    on_arm = USB.model_copy(update={"robot": "station", "station": tmp_path / "station.toml"})
    with (
        pytest.raises(ConfigError, match=r"Conditions are made in simulation \(friction x 2\)"),
        env_under(Conditions(friction=2), on_arm),
    ):
        pass


@pytest.mark.parametrize("wrong", [{"start_scale": 0}, {"push_mm": -1}, {"friction": float("inf")}, {"speed": 2}])
def test_impossible_condition_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Conditions.model_validate(wrong)


def test_push_after_the_end_of_an_episode_is_refused() -> None:
    words = "push_step is 500, and an episode of usb_insertion has"
    with pytest.raises(ConfigError, match=words), env_under(Conditions(push_mm=20, push_step=500), USB):
        pass
