"""Chat models behind any OpenAI-compatible URL: vLLM, SGLang, llama.cpp, a vendor, or `agps serve-model`."""

import json
import os
import urllib.error
import urllib.request

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from rl.errors import ConfigError


class OpenAICompatConfig(BaseModel):
    """How to reach and sample a served model. Defaults suit grounding: deterministic and short."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="Base URL of the server, ending in /v1.")
    model: str | None = Field(None, description="Name of the served model; None asks the server for its first one.")
    timeout_s: float = Field(30.0, gt=0, description="Limit of one request, seconds.")
    # A retry multiplies the time-out and the arm waits; the graph decides what is worth asking again.
    max_retries: int = Field(0, ge=0, description="Requests repeated after a transport error.")
    temperature: float = Field(0.0, ge=0, description="Sampling temperature.")
    max_tokens: int = Field(1024, ge=1, description="Longest reply, tokens.")


def open_chat_model(config: OpenAICompatConfig) -> BaseChatModel:
    """Return the chat model at the URL. The key comes from `OPENAI_API_KEY`; a server of one's own needs none.

    Raises:
        ConfigError: If the URL does not answer, or does not serve the model.
    """
    served = check_endpoint(config.url, timeout_s=min(config.timeout_s, 5.0))
    model = config.model or served[0]
    if served and model not in served:
        raise ConfigError(f"{config.url} does not serve {model!r}; it serves {', '.join(served)}.")
    return ChatOpenAI(
        model=model,
        base_url=config.url,
        api_key=SecretStr(_api_key()),
        timeout=config.timeout_s,
        max_retries=config.max_retries,
        temperature=config.temperature,
        max_completion_tokens=config.max_tokens,
        use_responses_api=False,
    )


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
