"""What this process reports to LangSmith, when its environment variables switch tracing on.

`LANGSMITH_TRACING`, `LANGSMITH_ENDPOINT`, `LANGSMITH_API_KEY` and `LANGSMITH_PROJECT` are the SDK's own. One is ours:
`AGPS_TRACE_IMAGES` is `once` (each image is sent once, later runs name it) or `none` (no image leaves this process).
"""

import hashlib
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from uuid import UUID
from weakref import WeakSet

import requests
from langchain_core.tracers import LangChainTracer
from langsmith import Client
from langsmith.utils import get_api_url, get_tracer_project, tracing_is_enabled

from agps_agent.tracing.images import image_name
from rl.errors import ConfigError
from tools.proxies import proxy_for

_log = logging.getLogger(__name__)
_sending: "WeakSet[threading.Thread]" = WeakSet()

IMAGES_VARIABLE = "AGPS_TRACE_IMAGES"
OUTCOME = "episode_success"
"""Name of the feedback that says how the episode of a question ended: 1 or 0."""
REMEMBERED_IMAGES = 4096
"""Images that are known to have been sent; an older one is sent again."""


class ImageFilter:
    """Replaces images in what is reported: all of them, or those that another run has reported. Thread-safe."""

    def __init__(self, images: str) -> None:
        """Choose.

        Args:
            images: `once` or `none`.

        Raises:
            ConfigError: For anything else.
        """
        if images not in ("once", "none"):
            raise ConfigError(f"{IMAGES_VARIABLE} is {images!r}; use once (each image once) or none (no image).")
        self._keep_first = images == "once"
        self._owner: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return inputs of a run without the images that need not be sent; the same for the same inputs."""
        named: dict[str, Any] = _replace_images(inputs, lambda name: False)
        if not self._keep_first:
            return named
        # The SDK asks when a run begins and again when it ends: a run is known by its words.
        run = hashlib.sha256(json.dumps(named, default=str).encode()).hexdigest()
        kept: dict[str, Any] = _replace_images(inputs, lambda name: self._is_owner(name, run))
        return kept

    def _is_owner(self, name: str, run: str) -> bool:
        with self._lock:
            owner = self._owner.setdefault(name, run)
            if len(self._owner) > REMEMBERED_IMAGES:
                self._owner.popitem(last=False)
            return owner == run


def _replace_images(value: Any, keep: Callable[[str], bool]) -> Any:
    """Return a value with each image that shall not be kept replaced by its name."""
    if isinstance(value, list | tuple):
        return [_replace_images(item, keep) for item in value]
    if not isinstance(value, dict):
        return value
    name = image_name(value)
    if name is None:
        return {key: _replace_images(item, keep) for key, item in value.items()}
    return value if keep(name) else {"type": "image", "image": name}


def tracers() -> list[LangChainTracer]:
    """Return the callback that reports a run, or nothing when tracing is off.

    Raises:
        ConfigError: If `AGPS_TRACE_IMAGES` has a value that it cannot have, or as `open_client`.
    """
    return [LangChainTracer(client=_client())] if tracing_is_enabled() else []


def report_outcome(trace_id: UUID, *, success: bool, ended: str | None = None) -> None:
    """Say how the episode of a traced question ended; nothing when tracing is off.

    Returns at once: the SDK asks the server about itself and the project before it queues feedback, and it may be slow.

    Args:
        trace_id: Of the question.
        success: Whether the episode succeeded.
        ended: How the intervention ended, in words; None where there was none.
    """
    if not tracing_is_enabled():
        return

    def send() -> None:
        try:
            _client().create_feedback(
                trace_id=trace_id,
                run_id=trace_id,
                session_id=_project_id(),
                key=OUTCOME,
                score=int(success),
                comment=ended,
            )
        except Exception as error:  # whatever the SDK raises: a trace is not worth a run
            _log.warning("The outcome of trace %s was not reported (%s).", trace_id, error)

    thread = threading.Thread(target=send, name="trace-outcome", daemon=True)
    _sending.add(thread)
    thread.start()


def flush() -> None:
    """Wait until everything reported so far has been sent, when tracing is on."""
    if tracing_is_enabled():
        while _sending:
            _sending.pop().join()
        _client().flush()


def open_client(hide_inputs: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Client:
    """Return a LangSmith client; it goes through the proxy that is meant for its server, or through none.

    Args:
        hide_inputs: What of a run's inputs is reported; None: all.

    Raises:
        ConfigError: If `LANGSMITH_ENDPOINT` is no URL, or the client cannot use the proxy.
    """
    endpoint = get_api_url(None)
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigError(f"LANGSMITH_ENDPOINT is {endpoint!r}; give a URL such as http://127.0.0.1:8765, or unset it.")
    session = requests.Session()
    session.trust_env = False  # or every proxy that the environment names would count, for this machine too
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if proxy := proxy_for(endpoint, socks_package="socks"):
        session.proxies = {"http": proxy, "https": proxy}
    return Client(session=session, hide_inputs=hide_inputs)


@lru_cache(maxsize=1)
def _client() -> Client:
    return open_client(ImageFilter(os.environ.get(IMAGES_VARIABLE, "once")))


@lru_cache(maxsize=1)
def _project_id() -> UUID:
    """Return the id of the project that runs are reported to: feedback without it is refused by newer servers."""
    _client().flush()  # the server makes the project with its first run
    project: UUID = _client().read_project(project_name=get_tracer_project()).id
    return project
