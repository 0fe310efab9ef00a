import pytest

from agps_agent.run.build import build_chat_model
from agps_agent.state import AgentSettings
from rl.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prompt_versions": {"perceive": 99}}, "perceive has no version 99"),
        ({"prompt_versions": {"percieve": 1}}, "There is no prompt 'percieve'"),
        ({"profile": "qwen3-vl"}, "--agent.profile qwen3-vl: the model embedded has its own"),
    ],
)
def test_setting_that_would_have_no_effect_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_chat_model("embedded", name=None, settings=AgentSettings.model_validate(settings))
