import asyncio
import json
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage

from agps_agent.ask import ask
from agps_agent.conversation import compose
from agps_agent.graph import build_graph
from agps_agent.pictures import encode
from agps_agent.tracing import client
from agps_agent.tracing.images import image_name
from rl.errors import ConfigError
from tests.agps_agent import scripted
from tests.agps_agent.conftest import clear_caches


def picture(seed: int):
    return np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def invoke(collector, messages, **config) -> list[dict]:
    model = FakeListChatModel(responses=["yes"])
    asyncio.run(model.ainvoke(messages, config={"callbacks": client.tracers(), "run_name": "ask", **config}))
    client.flush()
    return collector.store.traces()


def test_unmodified_sdk_reports_name_tags_metadata_and_time(collector) -> None:
    began_s = time.time()
    (trace,) = invoke(collector, "hello", tags=["usb_insertion"], metadata={"task": "usb_insertion", "run": "demo"})
    assert trace["name"] == "ask"
    assert trace["tags"] == ["usb_insertion"]
    assert trace["metadata"]["run"] == "demo"
    assert 0.0 <= trace["latency_s"] <= time.time() - began_s
    (run,) = collector.store.trace(trace["id"])
    assert run["outputs"]["generations"][0][0]["text"] == "yes"


def test_same_frame_is_sent_and_stored_once(collector) -> None:
    messages = compose("system", "which mode?", encode(picture(0)))
    name = image_name(messages[1].content[1])
    invoke(collector, messages)
    first, second = reversed(invoke(collector, compose("system", "where is it?", encode(picture(0)))))
    assert [path.name for path in (collector.store.folder / "images").iterdir()] == [name]
    for trace in (first, second):
        (run,) = collector.store.trace(trace["id"])
        assert name in json.dumps(run["inputs"])
        assert len(json.dumps(run["inputs"])) < 2000


def test_second_report_of_a_frame_carries_no_pixels() -> None:
    keep_once = client.ImageFilter("once")
    first, second = ({"messages": [{"content": compose("s", text, encode(picture(1)))[1].content}]} for text in "ab")
    assert keep_once(first) == first
    assert keep_once(first) == first  # the SDK asks at the start and at the end of a run
    again = keep_once(second)["messages"][0]["content"][1]
    assert again == {"type": "image", "image": image_name(first["messages"][0]["content"][1])}


def test_images_can_be_left_out(collector, monkeypatch) -> None:
    monkeypatch.setenv("AGPS_TRACE_IMAGES", "none")
    clear_caches()
    invoke(collector, compose("system", "user", encode(picture(2))))
    assert not any((collector.store.folder / "images").iterdir())


def test_unknown_image_setting_is_refused(collector, monkeypatch) -> None:
    monkeypatch.setenv("AGPS_TRACE_IMAGES", "some")
    clear_caches()
    with pytest.raises(ConfigError, match="AGPS_TRACE_IMAGES is 'some'; use once"):
        client.tracers()
    monkeypatch.delenv("AGPS_TRACE_IMAGES")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks://127.0.0.1:9/", "http://127.0.0.1:9"])
@pytest.mark.parametrize("variable", ["ALL_PROXY", "http_proxy"])
def test_collector_on_this_machine_is_reached_whatever_the_proxy_is(collector, monkeypatch, variable, proxy) -> None:
    monkeypatch.setenv(variable, proxy)
    assert len(invoke(collector, "hello")) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"LANGSMITH_ENDPOINT": "http://traces.invalid", "ALL_PROXY": "socks://x:1"}, "ALL_PROXY names a socks://"),
        ({"LANGSMITH_ENDPOINT": "traces.invalid:8765"}, "LANGSMITH_ENDPOINT is 'traces.invalid:8765'; give a URL"),
    ],
)
def test_server_of_traces_that_cannot_be_reached_like_that_is_refused(collector, monkeypatch, settings, words) -> None:
    with monkeypatch.context() as changed:
        for name, value in settings.items():
            changed.setenv(name, value)
        clear_caches()
        with pytest.raises(ConfigError, match=words):
            client.tracers()
    clear_caches()


def test_trace_of_a_question_names_task_prompts_model_and_trigger(collector) -> None:
    asyncio.run(ask(build_graph("usb_insertion"), scripted.context(scripted.seen(), scripted.GUIDE), mode="guide"))
    client.flush()
    (trace,) = collector.store.traces()
    assert trace["metadata"]["task"] == "usb_insertion"
    assert trace["metadata"]["trigger_kind"] == "user"
    assert trace["metadata"]["model"] == "scripted"
    assert any(key.startswith("prompt/perceive@v") for key in trace["metadata"])
    assert {"usb_insertion", "scripted", "user"} <= set(trace["tags"])


@pytest.mark.filterwarnings("error::langsmith.utils.LangSmithWarning")  # of feedback without a project: soon refused
def test_outcome_of_the_episode_reaches_its_trace(collector) -> None:
    (trace,) = invoke(collector, [HumanMessage("hello")])
    client.report_outcome(trace["id"], success=True)
    client.flush()
    assert collector.store.traces()[0]["feedback"] == [{"key": "episode_success", "score": 1.0, "comment": None}]


def test_how_an_intervention_ended_reaches_its_trace(collector) -> None:
    (trace,) = invoke(collector, [HumanMessage("hello")])
    client.report_outcome(trace["id"], success=False, ended="blocked after 14 steps")
    client.flush()
    (feedback,) = collector.store.traces()[0]["feedback"]
    assert (feedback["score"], feedback["comment"]) == (0.0, "blocked after 14 steps")


def test_nothing_is_reported_when_tracing_is_off(collector, monkeypatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    clear_caches()
    assert client.tracers() == []
    client.report_outcome("0" * 32, success=False)
    assert collector.store.traces() == []


@pytest.mark.parametrize(
    ("path", "body", "status"), [("/runs/batch", b"{broken", 422), ("/nowhere", b"{}", 404), ("/runs", b"{}", 422)]
)
def test_requests_that_are_not_the_sdk_are_refused(collector, path, body, status) -> None:
    request = urllib.request.Request(collector.url + path, data=body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == status
    refused.value.close()


def test_no_file_but_images_can_be_fetched(collector) -> None:
    for path in ("/images/../traces.db", "/images/traces.db", "/images/"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(collector.url + path, timeout=60)
        refused.value.close()
