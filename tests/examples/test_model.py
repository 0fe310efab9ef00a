import pytest

from agps_agent.models.library import MODELS, check_model, open_model
from agps_agent.models.offline.embedded import EmbeddedVLM
from examples.extend_model import Fixed, main
from rl.errors import ConfigError
from rl.types import Prune

FILE = "./examples/extend_model.py:Fixed"


def test_example_answers_with_a_box(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    said = capsys.readouterr().out
    assert said.startswith("answered: ") and f"intervention: {Prune.__name__}(box=" in said


def test_model_is_named_by_its_file_and_brings_its_profile() -> None:
    model, profile = open_model(FILE, tasks=(), profile=None)
    assert type(model).__name__ == Fixed.__name__
    assert profile.name == "plain"


def test_embedded_model_is_found_like_anybodys() -> None:
    assert "embedded" in MODELS.names
    assert isinstance(open_model("embedded", tasks=(), profile=None)[0], EmbeddedVLM)


@pytest.mark.parametrize("name", ["embedded", FILE])
def test_profile_beside_the_models_own_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--agent.profile gpt: the model .* has its own, .*; leave it out"):
        open_model(name, tasks=(), profile="gpt")


def test_wrong_name_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match="There is no model 'embeded'; use embedded, reference, package.module:Name"):
        check_model("embeded")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def Mine(*, tasks): return 3", "is no chat model: derive it from langchain_core's BaseChatModel"),
        ("def Mine(): return 3", r"Cannot make the model .* \(TypeError: "),
        ("", "has no attribute 'Mine'"),
    ],
)
def test_what_is_no_model_says_why(code: str, reason: str, tmp_path) -> None:
    file = tmp_path / f"mine_{len(code)}.py"
    file.write_text(code)
    with pytest.raises(ConfigError, match=reason):
        open_model(f"{file}:Mine", tasks=(), profile=None)
