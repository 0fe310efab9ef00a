"""Servers that say odd things, through the real client and a socket: what they said is told, in one line."""

import json
import os
from pathlib import Path
from typing import Any

import openai
import pytest

from agps_agent.ask import Answer, ask
from agps_agent.graph import Graph, build_graph
from agps_agent.models.gate import explain
from agps_agent.models.library import check_url
from agps_agent.models.openai_compat import OpenAICompatConfig, ServedModel, check_endpoint, open_chat_model
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from rl.errors import ConfigError
from tests.agps_agent.models.raw_server import HTML, JSON, STREAM, Raw, raw_server, replied
from tests.agps_agent.scenes import scene
from tests.agps_agent.scripted import seen

MODES = ("json_schema", "json_object", "tools", "text")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return build_graph("usb_insertion")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")] + ["OPENAI_API_KEY"]:
        monkeypatch.delenv(name, raising=False)


def opened(raw: Raw, folder: Path, mode: str = "json_schema") -> ServedModel:
    file = folder / f"{mode}.toml"
    sampling = "[sampling]\nmax_tokens = 77\nextra = {top_k = 5}\n"
    file.write_text(f'name = "mine"\nframe = "pixel"\nstructured_output = "{mode}"\n{sampling}')
    return open_chat_model(OpenAICompatConfig(url=raw.url, profile=str(file)))


async def asked(graph: Graph, raw: Raw, folder: Path, mode: str = "json_schema") -> Answer:
    served = opened(raw, folder, mode)
    settings = AgentSettings(max_views=1, retries=0, max_repairs=1)
    context = AgentContext(scene=scene(), model=served.model, profile=served.profile, settings=settings)
    return await ask(graph, context, mode="guide")


def calling(arguments: Any) -> dict[str, Any]:
    """A message that calls a tool, with the arguments as they are."""
    function = {"name": "PerceiveAnswer", "arguments": arguments}
    return {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}


DRAFT = '<think>First draft: {"keypoints": []}, but wait, the port might be'
CUT = {
    "text": replied({"content": '{"keypoints": [{"label"'}, finish_reason="length", tokens=77),
    "whole json": replied({"content": '{"keypoints": []}'}, finish_reason="length", tokens=77),
    "thinking": replied({"content": DRAFT}, tokens=77),
    "thoughts beside": replied({"content": None, "reasoning_content": "The port"}, finish_reason="length", tokens=77),
    "arguments": replied(calling('{"keypoints": [{"lab'), finish_reason="length", tokens=77),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", CUT)
async def test_reply_that_was_cut_off_is_told_with_what_to_raise(
    what: str, mode: str, graph: Graph, tmp_path: Path
) -> None:
    with raw_server(CUT[what]) as raw:
        answer = await asked(graph, raw, tmp_path, mode)
    assert (answer.intervention, answer.reason_key, answer.cost.model_calls) == (None, "reply_cut", 1)
    assert "cut off" in answer.reason and answer.reason.endswith(
        "It may have 77 tokens (sampling.max_tokens of the model profile mine); raise that with "
        "--agent.reply-tokens 154."
    )
    assert answer.transcript[-1].error == answer.reason


async def test_reply_that_the_server_cut_before_its_limit_is_told_apart(graph: Graph, tmp_path: Path) -> None:
    with raw_server(replied({"content": '{"keypoints": [{'}, finish_reason="length", tokens=7)) as raw:
        answer = await asked(graph, raw, tmp_path)
    assert answer.reason_key == "reply_cut"
    assert "It has 7 tokens and may have 77" in answer.reason and "--max-model-len" in answer.reason


async def test_longest_reply_can_be_set_without_a_profile_of_ones_own(graph: Graph, tmp_path: Path) -> None:
    with raw_server(CUT["text"]) as raw:
        served = open_chat_model(OpenAICompatConfig(url=raw.url, reply_tokens=50))
        settings = AgentSettings(max_views=1, reply_tokens=50)
        context = AgentContext(scene=scene(), model=served.model, profile=served.profile, settings=settings)
        answer = await ask(graph, context, mode="guide")
    assert raw.asked[-1]["max_completion_tokens"] == 50
    assert "It may have 50 tokens (--agent.reply-tokens)" in answer.reason


def test_cut_reply_of_another_client_is_one_too() -> None:
    """`ChatOpenAI` itself raises where it was given a schema."""
    completion = openai.types.chat.ChatCompletion.model_validate(CUT["text"])
    assert explain(openai.LengthFinishReasonError(completion=completion), 1.0).reason == "reply_cut"
    assert explain(openai.ContentFilterFinishReasonError(), 1.0).reason == "refused"


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (replied({"content": None, "refusal": "I will not."}), "refused", "The model refuses: 'I will not.'"),
        (replied({"content": None}, finish_reason="content_filter"), "refused", "content filter"),
        (
            replied({"content": None, "reasoning_content": "Hm, a port"}),
            "not_json",
            "thoughts, and no answer: 'Hm, a port'",
        ),
        (replied({"content": "", "reasoning": "Hm, a port"}), "not_json", "thoughts, and no answer: 'Hm, a port'"),
        ({"error": {"message": "CUDA out of memory", "code": 500}}, "server_error", "an error: CUDA out of memory"),
        ({"error": "CUDA out of memory"}, "server_error", "an error: CUDA out of memory"),
        ({"object": "error", "message": "CUDA out of memory"}, "server_error", "an error: CUDA out of memory"),
        ({"choices": None, "error": {"message": "overloaded"}}, "server_error", "an error: overloaded"),
        ({"choices": [{"error": {"message": "upstream died"}}]}, "server_error", "an error: upstream died"),
        ({"id": "7", "choices": []}, "model_error", '"id": "7"'),
        ({"detail": "Not found"}, "model_error", "holds no message: Not found"),
        ({"choices": [{"text": "a port"}]}, "model_error", "holds no message"),
        ("{oops", "model_error", "{oops"),
        ("", "model_error", "empty"),
        ("[1, 2]", "model_error", "no chat completion"),
        ("null", "model_error", "no chat completion"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
async def test_server_that_answers_something_else_is_told_in_its_own_words(
    said: Any, reason: str, words: str, mode: str, graph: Graph, tmp_path: Path
) -> None:
    with raw_server(said) as raw:
        answer = await asked(graph, raw, tmp_path, mode)
    assert (answer.intervention, answer.reason_key) == (None, reason)
    assert words in answer.reason and "\n" not in answer.reason


PAGE = "<!DOCTYPE html><html><head><title>{0}</title><style>p {{}}</style></head><body><h1>{0}</h1></body></html>"


@pytest.mark.parametrize(
    ("status", "kind", "body", "reason", "words"),
    [
        (200, HTML, PAGE.format("Please log in"), "model_error", "no chat completion: Please log in"),
        (200, STREAM, 'data: {"choices": [{"delta": {}}]}\n\ndata: [DONE]\n\n', "model_error", "streams its answer"),
        (413, HTML, PAGE.format("413 Request Entity Too Large"), "model_error", "Too Large. Lower image.max_side"),
        (413, JSON, "", "model_error", "image.max_side"),
        (422, JSON, '{"detail": [{"msg": "field required"}]}', "model_error", "answers 422: field required"),
        (400, JSON, '{"error": {"message": "no such model"}}', "model_error", "answers 400: no such model"),
        (422, JSON, '{"detail": "extra_forbidden: max_completion_tokens"}', "model_error", 'Set limit = "max_tokens"'),
        (400, JSON, r'{"error": {"message": "refused: \ud83d"}}', "model_error", "answers 400: refused: ?"),
        (401, JSON, '{"error": "bad key"}', "model_error", "bad key. Set OPENAI_API_KEY"),
        (429, JSON, '{"error": {"message": "slow down"}}', "rate_limited", "answers 429: slow down"),
        (502, HTML, "", "server_error", "answers 502: Bad Gateway"),
    ],
)
async def test_status_of_a_server_comes_with_its_words(
    status: int, kind: str, body: str, reason: str, words: str, graph: Graph, tmp_path: Path
) -> None:
    with raw_server(body, kind=kind, status=status) as raw:
        answer = await asked(graph, raw, tmp_path)
    assert (answer.intervention, answer.reason_key) == (None, reason)
    assert words in answer.reason and "\n" not in answer.reason


@pytest.mark.parametrize(
    "message",
    [
        calling(seen()),  # the arguments are an object, not its text
        {**calling(None), "content": json.dumps(seen()), "tool_calls": [{"id": "1", "function": None}]},
        {"role": None, "content": json.dumps(seen())},
        {"role": "model", "content": json.dumps(seen())},
    ],
)
async def test_arguments_and_messages_in_another_form_are_read(
    message: dict[str, Any], graph: Graph, tmp_path: Path
) -> None:
    with raw_server(replied(message)) as raw:
        answer = await asked(graph, raw, tmp_path, "tools")
    assert [exchange.node for exchange in answer.transcript][:2] == ["perceive", "plan"]


async def test_arguments_that_are_no_object_are_the_models_mistake(graph: Graph, tmp_path: Path) -> None:
    with raw_server(replied(calling("[1, 2]"))) as raw:
        answer = await asked(graph, raw, tmp_path, "tools")
    assert (answer.reason_key, answer.cost.model_calls) == ("wrong_schema", 2)


async def test_form_of_the_answer_and_the_profiles_fields_are_both_sent(graph: Graph, tmp_path: Path) -> None:
    with raw_server(replied({"content": "no"})) as raw:
        await asked(graph, raw, tmp_path)
    assert raw.asked[0]["response_format"]["json_schema"]["name"] == "PerceiveAnswer"
    assert (raw.asked[0]["top_k"], raw.asked[0]["max_completion_tokens"]) == (5, 77)


@pytest.mark.parametrize(
    ("status", "kind", "listing"),
    [(404, JSON, {"detail": "Not Found"}), (405, HTML, ""), (501, HTML, "no"), (200, JSON, {"data": []})],
)
def test_server_without_a_list_is_taken_at_the_word_of_whoever_names_a_model(
    status: int, kind: str, listing: Any
) -> None:
    with raw_server(models_status=status, models_kind=kind, models=listing) as raw:
        assert open_chat_model(OpenAICompatConfig(url=raw.url, model="mine")).name == "mine"
        with pytest.raises(ConfigError, match=r"--vlm-model|serves no model"):
            open_chat_model(OpenAICompatConfig(url=raw.url))


def test_list_without_its_wrapping_is_read() -> None:
    with raw_server(models=[{"id": "one"}, {"id": "two"}]) as raw:
        assert check_endpoint(raw.url) == ["one", "two"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"models_kind": HTML, "models": PAGE.format("Welcome")}, r"not an OpenAI-compatible model list \(Welcome\)"),
        ({"models": {"models": 3}}, r"not an OpenAI-compatible model list .*--vlm-model"),
        ({"models": "{"}, r"not an OpenAI-compatible model list \(\{\)"),
        ({"models_status": 401, "models": {"error": "who are you"}}, r"401 \(who are you\): set OPENAI_API_KEY"),
        ({"models_status": 500, "models": {"error": {"message": "CUDA"}}}, r"500 \(CUDA\)"),
    ],
)
def test_list_that_is_none_is_told_in_the_servers_words(fields: dict[str, Any], words: str) -> None:
    with raw_server(**fields) as raw, pytest.raises(ConfigError, match=words) as error:
        check_endpoint(raw.url)
    assert "\n" not in str(error.value) and "should end in /v1" not in str(error.value)


@pytest.mark.parametrize("key", ["secret\n", " secret \r\n"])
def test_line_end_after_the_key_does_not_count(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with raw_server() as raw:
        open_chat_model(OpenAICompatConfig(url=raw.url))
    assert raw.headers[0]["authorization"] == "Bearer secret"


@pytest.mark.parametrize("key", ["sec\nret", "sécret", "sec\tret"])
def test_key_that_cannot_be_sent_is_said_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with raw_server() as raw, pytest.raises(ConfigError, match="OPENAI_API_KEY holds a character") as error:
        open_chat_model(OpenAICompatConfig(url=raw.url))
    assert "ret" not in str(error.value)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks://127.0.0.1:9/", "http://127.0.0.1:9"])
@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "http_proxy", "OPENAI_PROXY"])
async def test_server_on_this_machine_is_reached_whatever_the_proxy_is(
    proxy: str, variable: str, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    with raw_server(replied({"content": None, "refusal": "I will not."})) as raw:
        answer = await asked(graph, raw, tmp_path)
    assert answer.reason_key == "refused"


async def test_server_elsewhere_is_asked_through_its_proxy(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_server(replied({"content": None, "refusal": "I will not."})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
        elsewhere = Raw(url="http://model.invalid:8000/v1")
        answer = await asked(graph, elsewhere, tmp_path)
    assert answer.reason_key == "refused"
    assert {headers["host"] for headers in proxy.headers} == {"model.invalid:8000"}


@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:9/", "ftp://127.0.0.1:9", "http://"])
def test_proxy_that_cannot_be_used_is_one_line_with_its_variable(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigError, match="ALL_PROXY .*no_proxy") as error:
        open_chat_model(OpenAICompatConfig(url="http://model.invalid:8000/v1"))
    assert "\n" not in str(error.value)


def test_certificates_that_cannot_be_read_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with raw_server() as raw, pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        check_endpoint(raw.url)


async def test_half_a_character_in_a_reply_costs_no_file(graph: Graph, tmp_path: Path) -> None:
    with raw_server(replied({"content": "I see \ud83d no port"})) as raw:
        answer = await asked(graph, raw, tmp_path)
    assert answer.reason_key == "not_json" and "I see ? no port" in answer.transcript[0].reply


async def test_key_that_a_server_repeats_is_not_shown(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-SECRET123")
    with raw_server('{"error": "bad key sk-SECRET123"}', kind=JSON, status=401) as raw:
        answer = await asked(graph, raw, tmp_path)
    assert "bad key ***" in answer.reason and "SECRET" not in answer.reason


@pytest.mark.parametrize(
    "url",
    [
        "http://robot:hunter2@127.0.0.1:9/v1",
        "http://hunter2@127.0.0.1:9/v1",
        "http://127.0.0.1:9/v1?api_key=hunter2",
    ],
)
def test_url_with_a_secret_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="give the server's key as OPENAI_API_KEY") as error:
        check_url(url)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("limit", ["max_completion_tokens", "max_tokens"])
async def test_longest_reply_is_said_in_the_field_that_the_profile_names(
    limit: str, graph: Graph, tmp_path: Path
) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(f'name = "mine"\nframe = "pixel"\n[sampling]\nmax_tokens = 77\nlimit = "{limit}"\n')
    with raw_server(replied({"content": "?"})) as raw:
        served = open_chat_model(OpenAICompatConfig(url=raw.url, profile=str(profile)))
        await served.model.ainvoke("Where?")
    (request,) = raw.asked
    assert {key: request[key] for key in request if "tokens" in key} == {limit: 77}
