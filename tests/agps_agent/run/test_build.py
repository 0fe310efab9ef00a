import pytest

from agps_agent.models.offline.flaws import Flaws
from agps_agent.run.build import build_asker, build_chat_model
from agps_agent.run.config import RunConfig
from agps_agent.settings import AgentSettings
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


@pytest.mark.parametrize(("vlm", "seed"), [("embedded,miss-share=1", 7), ("embedded,miss-share=1,seed=2", 2)])
def test_errors_of_the_model_have_the_seed_of_the_run_unless_told(vlm: str, seed: int) -> None:
    with build_asker(RunConfig(task="usb_insertion", vlm=vlm, seed=7)) as asker:
        assert asker.chat.model.config == Flaws(miss_share=1.0, seed=seed)  # type: ignore[attr-defined]
