from pathlib import Path

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage

from agps_agent.ask import ask
from agps_agent.graph import build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.openai_compat import OpenAICompatConfig, open_chat_model
from agps_agent.models.profiles import load_profile
from agps_agent.models.recorded import NoRecordedReply, RecordedModel, question_key
from agps_agent.models.server import serve_model
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from rl.errors import ConfigError
from tests.agps_agent.scenes import scene

NO_REPAIRS = AgentSettings(max_repairs=0)


async def test_recorded_replies_answer_the_same_question_again(tmp_path: Path) -> None:
    path, at, graph = tmp_path / "replies.jsonl", scene(), build_graph("usb_insertion")
    recording = RecordedModel(path=path, live=EmbeddedVLM())
    first = await ask(graph, AgentContext(scene=at, model=recording, profile=load_profile("embedded")), mode="prune")
    replaying = RecordedModel(path=path)
    again = await ask(graph, AgentContext(scene=at, model=replaying, profile=load_profile("embedded")), mode="prune")
    assert first.reason_key == "answered"
    assert again.state == first.state
    assert again.cost.prompt_tokens == first.cost.prompt_tokens


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (AIMessage('{"keypoints": []}', response_metadata={"finish_reason": "length"}), "reply_cut"),
        (AIMessage("", additional_kwargs={"refusal": "I will not."}), "refused"),
        (AIMessage("", additional_kwargs={"reasoning_content": "Hm."}), "not_json"),
    ],
)
async def test_reply_that_is_no_answer_is_none_again(message: AIMessage, reason: str, tmp_path: Path) -> None:
    """Through a socket, recorded, and replayed."""
    path, graph, at = tmp_path / "replies.jsonl", build_graph("usb_insertion"), scene()
    live = FakeMessagesListChatModel(responses=[message])
    with serve_model(live) as server:
        served = open_chat_model(OpenAICompatConfig(url=server.url)).model
        for asked in (served, None):
            model = RecordedModel(path=path, live=asked)
            asking = AgentContext(scene=at, model=model, profile=load_profile("plain"), settings=NO_REPAIRS)
            answer = await ask(graph, asking, mode="guide")
            assert (answer.intervention, answer.reason_key) == (None, reason), answer.reason
        server.shutdown()


async def test_question_that_was_not_recorded_is_a_counted_fault(tmp_path: Path) -> None:
    asking = AgentContext(scene=scene(), model=RecordedModel(path=tmp_path / "none"), profile=load_profile("embedded"))
    answer = await ask(build_graph("usb_insertion"), asking, mode="guide")
    assert answer.reason_key == "model_error"
    assert NoRecordedReply.__name__ in answer.reason


def test_key_depends_on_words_and_schema_only() -> None:
    question = HumanMessage("Where?")
    assert question_key([question]) == question_key([HumanMessage("Where?", id="7")])
    assert question_key([question]) != question_key([HumanMessage("When?")])
    assert question_key([question]) != question_key([question], {"type": "json_object"})


def test_missing_reply_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(NoRecordedReply, match="none.jsonl"):
        RecordedModel(path=tmp_path / "none.jsonl").invoke("Where?")


@pytest.mark.parametrize("content", [b"{", b"[]\n", b'{"reply": 1}\n', b"\xff\xfe"])
def test_file_that_holds_no_replies_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"replies.jsonl holds no recorded replies \(.+\); record anew\."):
        RecordedModel(path=file)
