"""Serve any chat model as an OpenAI-compatible URL, so that a client can be tried without a GPU: `agps serve-model`."""

import json
import threading
import time
import uuid
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, convert_to_messages

from agps_agent.models.faults import Fault, FaultPlan, spoil
from agps_agent.models.replies import BESIDE
from rl.answering import AnsweringHandler

LARGEST_REQUEST = 64 * 1024 * 1024
"""Longest request body, bytes: tens of VGA images."""
FORWARDED = ("response_format", "tools", "tool_choice", "temperature", "stop")
"""Request fields that are handed to the model as they are."""


class ModelServer(ThreadingHTTPServer):
    """A running server: `url` to point a client at, `shutdown()` and `server_close()` to end it; a context manager."""

    daemon_threads = True

    def __init__(
        self, model: BaseChatModel, *, name: str, host: str, port: int, faults: FaultPlan | None = None
    ) -> None:
        super().__init__((host, port), _Handler)
        self.model = model
        self.name = name
        self.faults = faults or FaultPlan((), share=0.0)
        self.closing = threading.Event()
        """Set when the server ends: nobody waits for a slow reply any more."""

    @property
    def url(self) -> str:
        """Base URL for a client, ending in /v1."""
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}/v1"

    def shutdown(self) -> None:
        """Stop answering."""
        self.closing.set()
        super().shutdown()


def serve_model(
    model: BaseChatModel,
    *,
    name: str = "embedded",
    host: str = "127.0.0.1",
    port: int = 0,
    faults: FaultPlan | None = None,
) -> ModelServer:
    """Serve a model on its own thread and return at once; port 0 takes a free one. There is no authentication.

    Args:
        model: Answers the requests.
        name: Name under which it is listed.
        host: Address to listen on: only this machine by default.
        port: TCP port.
        faults: Which requests fail on purpose.
    """
    server = ModelServer(model, name=name, host=host, port=port, faults=faults)
    threading.Thread(target=server.serve_forever, args=(0.05,), name="agps-serve-model", daemon=True).start()
    return server


class _Handler(AnsweringHandler):
    """Routes /v1/models and /v1/chat/completions."""

    server: ModelServer
    cut = False
    """Whether the next reply shall end half-way: one of the faults."""

    def do_GET(self) -> None:  # noqa: N802 (the base class's name)
        """List the model."""
        if self.path.rstrip("/") != "/v1/models":
            return self._refuse(404, f"There is no {self.path}; use /v1/models or /v1/chat/completions.")
        listed = {"id": self.server.name, "object": "model", "owned_by": "agps"}
        self._send_json(200, {"object": "list", "data": [listed]})

    def do_POST(self) -> None:  # noqa: N802 (the base class's name)
        """Answer a chat completion."""
        body = self._body(LARGEST_REQUEST)
        if body is None:
            return self._refuse(413, self._length_refused(LARGEST_REQUEST))
        if self.server.closing.is_set():
            self.close_connection = True  # one that was kept alive: nobody answers on it any more
            return
        if self.path.rstrip("/") != "/v1/chat/completions":
            return self._refuse(404, f"There is no {self.path}; use /v1/models or /v1/chat/completions.")
        try:
            request = json.loads(body)
            messages = convert_to_messages(request["messages"])
            if request.get("stream"):
                raise ValueError("streaming is not offered")
        except (ValueError, KeyError, TypeError, NotImplementedError) as error:
            return self._refuse(400, f"Not a chat completion request: {error}.")
        fault = self.server.faults.draw()
        if fault == "rate_limited":
            return self._refuse(429, "Too many requests.", {"Retry-After": "1"})
        if fault == "server_error":
            return self._refuse(503, "The engine is restarting.")
        if fault == "slow":
            self.server.closing.wait(self.server.faults.slow_s)
        try:
            reply = self.server.model.invoke(messages, **{k: request[k] for k in FORWARDED if k in request})
        except Exception as error:  # noqa: BLE001 (whatever the model raises becomes the client's 500)
            return self._refuse(500, f"{type(error).__name__}: {error}")
        if fault is not None:
            reply = _spoiled(reply, fault, request)
        self.cut = fault == "cut"
        self._send_json(200, _completion(reply, self.server.name))

    def _refuse(self, status: int, message: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        said = {"error": {"message": message, "type": "invalid_request_error", "code": status}}
        self._send_json(status, said, headers)

    def _write(self, body: bytes) -> None:
        super()._write(body[: len(body) // 2] if self.cut else body)
        self.close_connection |= self.cut


def _spoiled(reply: AIMessage, fault: Fault, request: dict[str, Any]) -> AIMessage:
    """Return a reply as a fault of content leaves it."""
    schema = (request.get("response_format") or {}).get("json_schema") or {}
    return reply.model_copy(update={"content": spoil(fault, reply.text, str(schema.get("name", "")))})


def _completion(reply: AIMessage, name: str) -> dict[str, Any]:
    """Return a reply as an OpenAI chat completion."""
    usage = reply.usage_metadata or {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    message |= {key: reply.additional_kwargs[key] for key in BESIDE if reply.additional_kwargs.get(key)}
    ended = reply.response_metadata.get("finish_reason") or ("tool_calls" if reply.tool_calls else "stop")
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["args"])},
            }
            for call in reply.tool_calls
        ]
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [
            {"index": 0, "finish_reason": ended, "message": message},
        ],
        "usage": {
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
            "total_tokens": usage["total_tokens"],
        },
    }
