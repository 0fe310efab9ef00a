import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from rl.changes import changed, differences, preset
from rl.config import GuidedConfig
from rl.drq.config import DrQConfig
from rl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    low: float = 1.0
    high: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Outer(GuidedConfig):
    inner: Inner = Inner()
    span: tuple[float, float] | None = None
    table: dict[str, int] = field(default_factory=dict)


def test_mapping_changes_single_fields_of_a_nested_dataclass() -> None:
    assert changed(Outer(), {"inner": {"low": 0.5}, "gamma": 0.9}) == Outer(inner=Inner(low=0.5), gamma=0.9)


def test_list_of_a_json_file_becomes_the_fields_tuple() -> None:
    assert changed(Outer(), {"span": [0, 1]}).span == (0.0, 1.0)


def test_mapping_field_is_replaced_as_a_whole() -> None:
    assert changed(Outer(table={"a": 1}), {"table": {"b": 2}}).table == {"b": 2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gama": 1}, "Outer has no setting gama"),
        ({"inner": {"lo": 1}}, "Inner has no setting lo"),
        ({"gamma": "much"}, "gamma is 'much': Input should be a valid number"),
        ({"inner": {"low": "little"}}, "inner.low is 'little'"),
        ({"gamma": 2.0}, "gamma is 2.0; ask for a value in"),
    ],
)
def test_wrong_change_is_refused_by_field(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        changed(Outer(), changes)


def test_differences_are_what_a_preset_can_carry() -> None:
    told = DrQConfig(gamma=0.95, clip_target=None)
    assert differences(told) == {"gamma": 0.95, "clip_target": None}
    assert preset(DrQConfig, "hil-serl", differences(told)) == DrQConfig.preset("hil-serl", gamma=0.95)


def test_configuration_without_presets_of_its_own_has_one() -> None:
    assert preset(Outer, "tuned", {}) == Outer()
    with pytest.raises(ConfigError, match="Outer has no preset 'hil-serl'; choose from tuned"):
        preset(Outer, "hil-serl", {})


def test_settings_of_a_recipe_load_no_torch() -> None:
    check = "import sys, rl.tasks, rl.conrft, rl.drq; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=120)
