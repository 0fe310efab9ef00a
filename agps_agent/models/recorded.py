"""A chat model that replays what another one said: prompts can be compared and tests run without a server."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from agps_agent.models.replies import BESIDE, ENDINGS
from rl.errors import AgpsError, ConfigError, words_of


class NoRecordedReply(AgpsError):
    """A question that was not recorded."""


class RecordedModel(BaseChatModel):
    """Replays replies from a file, by question; asks and records a live model where there is one."""

    path: Path
    """One JSON object per line: key, content, usage; tools, what was said beside, and why it ended, where told."""
    live: BaseChatModel | None = None
    """Asked what the file does not hold; None makes that an error."""
    _replies: dict[str, dict[str, Any]] = PrivateAttr(default_factory=dict)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def model_post_init(self, context: Any, /) -> None:
        """Read the recorded replies."""
        super().model_post_init(context)
        if self.path.exists():
            try:
                entries = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
                self._replies = {entry["key"]: entry for entry in entries}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{self.path} holds no recorded replies ({words_of(error)}); record anew.") from error

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        key = question_key(messages, kwargs.get("response_format") or kwargs.get("tools"))
        entry = self._replies.get(key)
        if entry is None:
            entry = self._ask_live(key, messages, kwargs)
        usage = cast(UsageMetadata, entry["usage"]) if entry["usage"] else None
        message = AIMessage(
            content=entry["content"],
            tool_calls=entry.get("tool_calls", []),
            invalid_tool_calls=entry.get("invalid_tool_calls", []),
            additional_kwargs=entry.get("beside", {}),
            response_metadata=entry.get("metadata", {}),
            usage_metadata=usage,
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _ask_live(self, key: str, messages: list[BaseMessage], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self.live is None:
            raise NoRecordedReply(f"{self.path} holds no reply to question {key}; record it with a live model first.")
        reply = self.live.invoke(messages, **kwargs)
        entry: dict[str, Any] = {"key": key, "content": reply.text, "usage": dict(reply.usage_metadata or {}) or None}
        optional = {
            "tool_calls": [dict(call) for call in reply.tool_calls],
            "invalid_tool_calls": [dict(call) for call in reply.invalid_tool_calls],
            "beside": {key: reply.additional_kwargs[key] for key in BESIDE if reply.additional_kwargs.get(key)},
            "metadata": {key: reply.response_metadata[key] for key in ENDINGS if reply.response_metadata.get(key)},
        }
        entry |= {key: value for key, value in optional.items() if value}
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            self._replies[key] = entry
        return entry


def question_key(messages: list[BaseMessage], form: Any = None) -> str:
    """Return a key of the question: roles, text, image bytes and the answer's form; ids and metadata do not count."""
    content = [[message.type, message.content] for message in messages]
    digest = hashlib.sha256(json.dumps([content, form], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
