"""Settings behind a model's name: `--vlm NAME,field=value`."""

from pathlib import Path

import pytest

from agps_agent.models.library import check_model, model_reference, open_model
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.offline.flaws import Flaws
from rl.errors import ConfigError

OWN = """
from dataclasses import dataclass
from typing import ClassVar
from agps_agent.models.offline.embedded import EmbeddedVLM

@dataclass(frozen=True)
class Config:
    mood: str = "calm"
    loud: bool = False

class Mine(EmbeddedVLM):
    config_class: ClassVar = Config
    config: Config = Config()

class Wrong(EmbeddedVLM):
    config_class: ClassVar = 3
"""


def flaws(vlm: str, *, seed: int = 0) -> Flaws:
    model, _ = open_model(vlm, tasks=(), profile=None, seed=seed)
    assert isinstance(model, EmbeddedVLM)
    return model.config


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path}/own.py"


def test_embedded_model_errs_as_its_name_says() -> None:
    expected = Flaws(point_error_px=3.0, miss_share=0.05, latency_s=0.5)
    assert flaws("embedded,point-error-px=3,miss-share=.05,latency_s=0.5") == expected
    assert flaws("embedded") == Flaws()


def test_seed_is_the_runs_unless_it_is_given() -> None:
    assert flaws("embedded,miss-share=1", seed=7).seed == 7
    assert flaws("embedded,miss-share=1,seed=2", seed=7).seed == 2


def test_model_of_ones_own_has_settings_too(own: str) -> None:
    model, _ = open_model(f"{own}:Mine,mood=angry,loud=true", tasks=(), profile=None)
    assert (model.config.mood, model.config.loud) == ("angry", True)  # type: ignore[attr-defined]


def test_reference_with_settings_holds_in_every_working_directory(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(own).parent)
    assert model_reference("./own.py:Mine,mood=angry") == f"{own}:Mine,mood=angry"
    for unchanged in ("embedded,miss-share=1", "http://127.0.0.1:8000/v1,a=1"):
        assert model_reference(unchanged) == unchanged


@pytest.mark.parametrize(
    ("vlm", "words"),
    [
        ("embedded,point-error-px=-1", r"^point-error-px is -1\.0; ask for at least 0\.$"),
        ("embedded,point-error-px=nan", r"^point-error-px is nan; give a finite number\.$"),
        ("embedded,miss-share=1.01", r"^miss-share is 1\.01; ask for at most 1\.$"),
        ("embedded,latency-s=soon", r"^latency-s is 'soon': input should be a valid number"),
        ("embedded,nose=1", r"has no setting nose; it has point-error-px, miss-share, latency-s, seed\.$"),
        ("embedded,point-error-px", r"settings follow a name as in embedded,point-error-px=3"),
        ("embeded,miss-share=1", r"^There is no model 'embeded'; use embedded"),
        ("./examples/extend_model.py:Fixed,miss-share=1", r"has no setting miss-share; it has none\.$"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_sentence(vlm: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_model(vlm)


def test_settings_of_a_model_that_are_no_dataclass_are_named(own: str) -> None:
    with pytest.raises(ConfigError, match="config_class of the model .*:Wrong is 3; name a frozen dataclass"):
        open_model(f"{own}:Wrong", tasks=(), profile=None)
