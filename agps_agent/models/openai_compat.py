"""Chat models behind any OpenAI-compatible URL: vLLM, SGLang, llama.cpp, a vendor, or `agps serve-model`."""

import json
import os
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import openai
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from agps_agent.models.gate import CallFailed
from agps_agent.models.library import check_url
from agps_agent.models.profiles import ModelProfile, find_profile
from agps_agent.models.replies import BESIDE
from agps_agent.models.words import printable, words
from rl.errors import ConfigError
from tools.proxies import proxy_for

KEY = "OPENAI_API_KEY"
_NO_LIST = (404, 405, 501)
"""What a server answers that does not list its models."""


class OpenAICompatConfig(BaseModel):
    """How to reach a served model. What differs between model families is in their profiles."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    url: str = Field(description="Base URL of the server, ending in /v1.")
    model: str | None = Field(None, description="Name of the served model; None asks the server for its first one.")
    profile: str | None = Field(
        None, description="Model profile: a name, or the path of a .toml file; None goes by the model's name."
    )
    timeout_s: float = Field(30.0, gt=0, description="Limit of one request, seconds.")
    reply_tokens: int | None = Field(None, ge=1, description="Longest reply, tokens; None: as the profile says.")


class ServedModel(NamedTuple):
    """A chat model, the name under which it is served, and the profile that fits it."""

    model: BaseChatModel
    name: str
    profile: ModelProfile


class CompatibleChat(ChatOpenAI):
    """`ChatOpenAI` for servers that keep to the protocol less strictly: what they say is not lost."""

    reply_limit: str = "max_completion_tokens"
    """Field of the request that limits the reply."""

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the request, with the answer's form as a further field: else the SDK reads the reply by itself."""
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        if "response_format" in payload:
            form = {"response_format": payload.pop("response_format")}
            payload["extra_body"] = {**(payload.get("extra_body") or {}), **form}
        if "max_completion_tokens" in payload:
            payload[self.reply_limit] = payload.pop("max_completion_tokens")
        return payload

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        """Return the reply with its refusal and its thoughts, which the library drops.

        Raises:
            CallFailed: In the server's words, if that is no reply.
        """
        body = printable(response.model_dump(warnings=False) if isinstance(response, openai.BaseModel) else response)
        said = _first_message(body)
        result = super()._create_chat_result({**body, "choices": body["choices"][:1]}, generation_info)
        message = result.generations[0].message
        if isinstance(message, AIMessage):
            kept = {key: said[key] for key in BESIDE if said.get(key)}
            message.additional_kwargs.update(kept)
        return result


def open_chat_model(config: OpenAICompatConfig) -> ServedModel:
    """Return the chat model at the URL. The key comes from `OPENAI_API_KEY`; a server of one's own needs none.

    A server that does not list its models is taken at the word of whoever names one.

    Raises:
        ConfigError: If the URL does not answer or serve the model, or the profile, the key or a proxy cannot be used.
    """
    served = _listed_models(config.url, timeout_s=min(config.timeout_s, 5.0), is_named=config.model is not None)
    name = config.model or served[0]
    if served and name not in served:
        raise ConfigError(f"{config.url} does not serve {name!r}; it serves {', '.join(served)}.")
    profile = find_profile(name, profile=config.profile)
    sampling, way = profile.sampling, _way_to(config.url)
    model = CompatibleChat(
        model=name,
        base_url=config.url,
        api_key=SecretStr(_api_key()),
        timeout=config.timeout_s,
        max_retries=0,  # `models.gate` retries, and knows how much time is left
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        presence_penalty=sampling.presence_penalty,
        max_completion_tokens=config.reply_tokens or sampling.max_tokens,
        reply_limit=sampling.limit,
        extra_body=dict(sampling.extra) or None,
        use_responses_api=False,
        openai_proxy="",  # or the library looks for one too
        http_client=openai.DefaultHttpxClient(**way),
        http_async_client=openai.DefaultAsyncHttpxClient(**way),
        # A kept connection belongs to the event loop that opened it: the next loop would find a dead one.
        default_headers={"Connection": "close"},
    )
    return ServedModel(model, name, profile)


def check_endpoint(url: str, *, timeout_s: float = 5.0) -> list[str]:
    """Return the names of the models that the server at the URL offers.

    Raises:
        ConfigError: In one line, if it does not answer, refuses the key, or is not OpenAI-compatible.
    """
    return _listed_models(url, timeout_s=timeout_s, is_named=False)


def _listed_models(url: str, *, timeout_s: float, is_named: bool) -> list[str]:
    """Return what a server offers; nothing if it does not tell, and somebody has named a model.

    Raises:
        ConfigError: As `check_endpoint`.
    """
    check_url(url)
    asked = url.rstrip("/") + "/models"
    may_lack = is_named and urlsplit(url).path.strip("/") != ""  # a bare host most likely lacks its /v1
    hint = "name the model with --vlm-model" if urlsplit(url).path.strip("/") else "the URL should end in /v1"
    with openai.DefaultHttpxClient(**_way_to(url)) as http:
        client = openai.OpenAI(base_url=url, api_key=_api_key(), timeout=timeout_s, max_retries=0, http_client=http)
        try:
            answer = client.models.with_raw_response.list().http_response
        except openai.APIStatusError as error:
            if may_lack and error.status_code in _NO_LIST:
                return []
            said = words(error.response.text) or error.response.reason_phrase
            hint = f"set {KEY}" if error.status_code in (401, 403) else hint
            raise ConfigError(f"The model server at {asked} answers {error.status_code} ({said}): {hint}.") from error
        except openai.APIConnectionError as error:
            reason = error.__cause__ or error
            raise ConfigError(
                f"No model server answers at {asked} within {timeout_s:g} s ({reason}); start it, or correct --vlm."
            ) from error
    try:
        names = _names(answer.json())
    except ValueError as error:
        said = words(answer.text) or "empty"
        raise ConfigError(f"{asked} is not an OpenAI-compatible model list ({said}); {hint}.") from error
    if not names and not may_lack:
        raise ConfigError(f"The model server at {asked} serves no model.")
    return names


def _names(listing: Any) -> list[str]:
    """Return the names in a list of models.

    Raises:
        ValueError: If it is none.
    """
    entries = listing.get("data") if isinstance(listing, Mapping) else listing
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) and "id" in entry for entry in entries):
        raise ValueError("not a list of models")
    return [str(entry["id"]) for entry in entries]


def _way_to(url: str) -> dict[str, Any]:
    """Return the arguments of an HTTP client that goes to a URL through the proxy that is meant for it, or none.

    Raises:
        ConfigError: If the client cannot use that proxy.
    """
    cafile, capath = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    verify: ssl.SSLContext | bool = True
    try:
        if cafile or capath:
            verify = ssl.create_default_context(cafile=cafile, capath=capath)
    except OSError as error:
        raise ConfigError(f"SSL_CERT_FILE or SSL_CERT_DIR cannot be read ({error}); correct or unset it.") from error
    # The environment is read here alone: the client would open every proxy that it names.
    return {"proxy": proxy_for(url), "trust_env": False, "verify": verify}


def _first_message(body: Any) -> Mapping[str, Any]:
    """Return the message in a server's answer, with the arguments of its tools as the library takes them.

    Raises:
        CallFailed: In the server's words, if there is none.
    """
    if not isinstance(body, Mapping):
        raise CallFailed("model_error", _no_completion(str(body)))
    if body.get("error") or body.get("object") == "error":
        raise CallFailed("server_error", f"The server answers with an error: {words(body)}.")
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, Mapping) and first.get("error"):
        raise CallFailed("server_error", f"The server answers with an error: {words(first['error'])}.")
    if not isinstance(first, Mapping) or not isinstance(first.get("message"), dict):
        raise CallFailed("model_error", f"The server's answer holds no message: {words(body)}.")
    message: dict[str, Any] = first["message"]
    _tidy_tools(message)
    message["role"] = "assistant"  # whatever a server calls it
    return message


def _tidy_tools(message: dict[str, Any]) -> None:
    """Make the arguments of tools text, as the protocol has them; what is no object becomes the text of the reply."""
    kept = []
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, dict):
            continue
        arguments = function.get("arguments")
        function["arguments"] = text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
        if text.lstrip()[:1] in ("", "{"):
            kept.append(call)
        else:
            message["content"] = message.get("content") or text
    message["tool_calls"] = kept or None


def _no_completion(text: str) -> str:
    """Return what is wrong with an answer that is no chat completion."""
    if text.lstrip().startswith(("data:", "event:")):
        return f"The server streams its answer, which it was not asked to; switch streaming off there: {text[:200]!r}."
    return f"The server's answer is no chat completion: {words(text) or 'it is empty'}."


def _api_key() -> str:
    """Return the key; a line end that came along from a file does not count.

    Raises:
        ConfigError: If it cannot be sent.
    """
    key = os.environ.get(KEY, "").strip() or "EMPTY"
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{KEY} holds a character that cannot be sent, such as a line end within it; set it anew.")
    return key
