import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro
from annotated_types import Interval
from pydantic import ValidationError

from agps_agent.run.field_options import check_options, field_docs, field_values, options_model
from rl.bounds import NotNegative, Positive
from rl.errors import ConfigError
from rl.tasks import KnotHanging, TowelFolding, UsbInsertion


@dataclass(frozen=True, kw_only=True)
class Stage:
    weight: NotNegative = 1.0
    """How much it counts."""
    steps: int = 5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of an algorithm that nobody here wrote."""

    reach_m: Annotated[float, Interval(gt=0, le=0.5)] = 0.002
    """How far it goes, [m];
    in metres."""
    turn_rad: float = math.pi
    """How far it turns, [rad]."""
    corner_m: tuple[float, float] = (0.1, 0.2)
    layers: int = 3
    kind: Literal["wide", "deep"] = "wide"
    clip: tuple[float, float] | None = (0.0, 1.0)
    cameras: tuple[str, ...] = ()
    file: Path | None = None
    online: Stage = Stage(steps=7)
    """While it acts."""
    table: dict[str, int] = field(default_factory=dict)
    matrix: Any = None


def parsed(*argv: str, kind: type[Any] = Settings) -> dict[str, Any]:
    return tyro.cli(options_model(kind), args=list(argv)).given()


def test_what_a_command_line_can_spell_is_offered_in_its_units() -> None:
    assert list(options_model(Settings).model_fields) == [
        "reach_mm", "turn_deg", "corner_mm", "layers", "kind", "clip", "cameras", "file", "online",
    ]  # fmt: skip


def test_millimetres_and_degrees_become_metres_and_radians() -> None:
    given = parsed("--reach-mm", "4", "--turn-deg", "90", "--corner-mm", "1", "2")
    values = field_values(Settings, given)
    assert values == {"reach_m": 0.004, "turn_rad": pytest.approx(math.pi / 2), "corner_m": (0.001, 0.002)}


def test_option_may_be_spelled_as_on_the_command_line() -> None:
    assert field_values(Settings, {"reach-mm": 4.0}) == field_values(Settings, {"reach_mm": 4.0}) == {"reach_m": 0.004}


def test_options_that_are_left_out_change_nothing() -> None:
    assert parsed() == {}
    assert field_values(Settings, {}) == {}


def test_group_changes_the_default_of_its_field() -> None:
    assert field_values(Settings, parsed("--online.weight", "0.5")) == {"online": Stage(weight=0.5, steps=7)}


def test_optional_field_takes_values() -> None:
    assert field_values(Settings, parsed("--clip", "-1", "2")) == {"clip": (-1.0, 2.0)}


@pytest.mark.parametrize("value", [0.0, 501.0, -1.0])
def test_limits_hold_in_the_options_unit(value: float) -> None:
    with pytest.raises(ValidationError):
        options_model(Settings)(reach_mm=value)


def test_help_has_docstring_default_and_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    page = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--reach-mm FLOAT How far it goes, [mm]; in metres. (default: 2)" in page
    assert "--corner-mm" in page and "(default: 100 200)" in page
    assert "--online.weight FLOAT How much it counts. (default: 1)" in page


def test_docstrings_of_a_class_without_source_are_left_out() -> None:
    made: Any = type("Made", (Settings,), {})
    assert field_docs(made)["turn_rad"] == "How far it turns, [rad]."


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"reach_m": 1.0}, "--settings.reach-m: mine has no such option; it has reach-mm, turn-deg,"),
        ({"reach_mm": 501.0}, "--settings.reach-mm: Input should be less than or equal to 500, got 501.0."),
        ({"online": {"weight": -1.0}}, "--settings.online.weight: Input should be greater than or equal to 0, got -1"),
        ({"online": {"height": 1.0}}, "--settings.online.height: Extra inputs"),
        ({"kind": "flat"}, "--settings.kind: Input should be 'wide' or 'deep', got flat."),
    ],
)
def test_wrong_option_in_a_file_is_named_as_it_is_typed(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        check_options(Settings, given, flag="settings", name="mine")
    assert str(refusal.value).startswith(words)


def test_file_may_hold_nothing_for_options_of_others() -> None:
    assert check_options(Settings, {"layers": 2, "hook_jitter_mm": None}, flag="f", name="mine") == {"layers": 2}


@pytest.mark.parametrize(
    ("task", "options"),
    [
        (UsbInsertion, {"horizon", "light_jitter", "colour_jitter", "camera_jitter_mm", "camera_jitter_deg"}),
        (UsbInsertion, {"clearance_mm", "lead_in_mm", "port_jitter_mm", "port_jitter_deg"}),
        (KnotHanging, {"hook_jitter_mm", "hook_jitter_deg"}),
        (TowelFolding, {"towel_jitter_mm", "towel_jitter_deg", "wrist_camera"}),
    ],
)
def test_options_that_tasks_have_always_had_are_still_there(task: type[Any], options: set[str]) -> None:
    assert options <= options_model(task).model_fields.keys()


def test_old_option_of_a_task_means_what_it_meant() -> None:
    values = field_values(UsbInsertion, {"clearance_mm": 0.4, "horizon": 60, "port_jitter_deg": 180.0})
    assert values == pytest.approx({"clearance_m": 0.0004, "horizon": 60, "port_jitter_rad": 3.14159265})


@dataclass(frozen=True, kw_only=True)
class Sized(Settings):
    reach_m: float = 0.1
    width_m: Positive = 0.3


def test_class_that_gives_a_field_another_default_keeps_its_limits() -> None:
    with pytest.raises(ValidationError):
        options_model(Sized)(reach_mm=0.0)
