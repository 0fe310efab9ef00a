"""Chat models behind any OpenAI-compatible URL: vLLM, SGLang, llama.cpp, a vendor, or `agps serve-model`."""

import json
import os
import urllib.error
import urllib.request
from typing import NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from agps_agent.models.profiles import ModelProfile, find_profile
from rl.errors import ConfigError


class OpenAICompatConfig(BaseModel):
    """How to reach a served model. What differs between model families is in their profiles."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    url: str = Field(description="Base URL of the server, ending in /v1.")
    model: str | None = Field(None, description="Name of the served model; None asks the server for its first one.")
    profile: str | None = Field(
        None, description="Model profile: a name, or the path of a .toml file; None goes by the model's name."
    )
    timeout_s: float = Field(30.0, gt=0, description="Limit of one request, seconds.")


class ServedModel(NamedTuple):
    """A chat model, the name under which it is served, and the profile that fits it."""

    model: BaseChatModel
    name: str
    profile: ModelProfile


def open_chat_model(config: OpenAICompatConfig) -> ServedModel:
    """Return the chat model at the URL. The key comes from `OPENAI_API_KEY`; a server of one's own needs none.

    Raises:
        ConfigError: If the URL does not answer or does not serve the model, or the profile is wrong.
    """
    served = check_endpoint(config.url, timeout_s=min(config.timeout_s, 5.0))
    name = config.model or served[0]
    if served and name not in served:
        raise ConfigError(f"{config.url} does not serve {name!r}; it serves {', '.join(served)}.")
    profile = find_profile(name, profile=config.profile)
    sampling = profile.sampling
    model = ChatOpenAI(
        model=name,
        base_url=config.url,
        api_key=SecretStr(_api_key()),
        timeout=config.timeout_s,
        max_retries=0,  # `models.gate` retries, and knows how much time is left
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        presence_penalty=sampling.presence_penalty,
        max_completion_tokens=sampling.max_tokens,
        extra_body=dict(sampling.extra) or None,
        use_responses_api=False,
        # A kept connection belongs to the event loop that opened it, and the library shares its clients per URL across
        # models and loops: the next loop would find a dead one.
        default_headers={"Connection": "close"},
    )
    return ServedModel(model, name, profile)


def check_endpoint(url: str, *, timeout_s: float = 5.0) -> list[str]:
    """Return the names of the models that the server at the URL offers.

    Raises:
        ConfigError: In one line, if it does not answer, refuses the key, or is not OpenAI-compatible.
    """
    request_url = url.rstrip("/") + "/models"
    if not request_url.startswith(("http://", "https://")):
        raise ConfigError(f"The model URL {url!r} is not http:// or https://; give e.g. http://127.0.0.1:8000/v1.")
    request = urllib.request.Request(request_url, headers={"Authorization": f"Bearer {_api_key()}"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            listing = json.load(response)
        names = [str(entry["id"]) for entry in listing["data"]]
    except urllib.error.HTTPError as error:
        hint = "set OPENAI_API_KEY" if error.code in (401, 403) else "the URL should end in /v1"
        raise ConfigError(f"The model server at {request_url} answers {error.code} {error.reason}: {hint}.") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(f"No model server answers at {request_url} within {timeout_s:g} s ({reason}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{request_url} is not an OpenAI-compatible model list; the URL should end in /v1."
        ) from error
    if not names:
        raise ConfigError(f"The model server at {request_url} serves no model.")
    return names


def _api_key() -> str:
    return os.environ.get("OPENAI_API_KEY") or "EMPTY"
