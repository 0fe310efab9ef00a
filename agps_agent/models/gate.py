"""The one gate that every call to a chat model passes: its limits, retries, circuit breaker, caps and counters."""

import asyncio
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from agps_agent.models.limits import CallLimits
from agps_agent.models.words import words
from rl.errors import AgpsError

logger = logging.getLogger(__name__)

CallReason = Literal[
    "timeout",
    "server_down",
    "connection_lost",
    "rate_limited",
    "server_error",
    "model_error",
    "reply_too_long",
    "reply_cut",
    "refused",
    "circuit_open",
    "budget_spent",
]
"""Why a call gave nothing: a closed set, so that it can be counted."""

RETRIED: frozenset[CallReason] = frozenset({"server_down", "connection_lost", "rate_limited", "server_error"})
"""What may be over a moment later. A call that timed out has had its time."""
LONGEST_REPLY = 100_000
"""Characters of a reply; a plan of eight calls has 2,000. What is longer is not read: it is no answer."""


class CallFailed(AgpsError):
    """A call gave no reply that could be read."""

    def __init__(self, reason: CallReason, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.reason: CallReason = reason
        self.attempts = 0
        """Requests that were made; 0 for a call that was not let through."""
        self.retry_after_s = retry_after_s
        """How long the server asks to wait, [s]."""


class CallGate:
    """Calls a chat model within limits; shared by all questions of a run, used from one event loop.

    The breaker opens after `breaker_failures` failed calls in a row, refuses every call for `breaker_pause_s`, then
    lets a single one through: its success closes the breaker, its failure opens it again.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._failures_in_a_row = 0
        self._open_until: float | None = None
        """Until when no call passes, by the clock, [s]; None while the breaker is closed."""
        self._is_probing = False
        self._has_warned = False
        """Of a server that does not tell how many tokens a reply takes."""

    async def call(
        self, model: BaseChatModel, messages: list[BaseMessage], *, limits: CallLimits, options: Mapping[str, Any]
    ) -> tuple[AIMessage, int]:
        """Return the model's reply, and how many attempts it took.

        Args:
            model: Who is asked.
            messages: The question.
            limits: What it may cost.
            options: Further arguments of the request, e.g. `response_format`.

        Raises:
            CallFailed: If there is no reply; the reason is counted by whoever asked.
        """
        is_probe = self._admit(limits)
        try:
            reply, attempts = await self._attempt(model, messages, limits, options, 0 if is_probe else limits.retries)
        except CallFailed:
            self._failed(limits)
            raise
        except asyncio.CancelledError:
            self._counts["cancelled_calls"] += 1
            raise
        else:
            self._failures_in_a_row, self._open_until = 0, None
            return reply, attempts
        finally:
            self._is_probing = self._is_probing and not is_probe

    def counters(self) -> dict[str, float]:
        """Return cumulative counters: model_attempts, retries, circuit_opened, cancelled_calls, model_tokens."""
        return {key: float(value) for key, value in self._counts.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the counters; a resumed run starts with a closed breaker."""
        return {"counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._counts = Counter(state["counts"])

    def _admit(self, limits: CallLimits) -> bool:
        """Return whether this call is the one that shows whether the server is back.

        Raises:
            CallFailed: If no call may pass now.
        """
        if spent := self._spent(limits):
            raise CallFailed("budget_spent", spent)
        if self._open_until is None:
            return False
        left = self._open_until - self._clock()
        if left > 0 or self._is_probing:
            raise CallFailed(
                "circuit_open",
                f"{self._failures_in_a_row} calls in a row failed; the model is asked again in {max(left, 0):.0f} s.",
            )
        self._is_probing = True
        return True

    def _spent(self, limits: CallLimits) -> str:
        """Return which cap the run has reached, as a sentence; empty while there is room."""
        caps = (("calls", "model_attempts", limits.max_calls), ("tokens", "model_tokens", limits.max_tokens))
        for what, name, limit in caps:
            if limit is not None and self._counts[name] >= limit:
                return f"This run has used {self._counts[name]} of its {limit} {what}; raise max_{what}."
        return ""

    async def _attempt(
        self,
        model: BaseChatModel,
        messages: list[BaseMessage],
        limits: CallLimits,
        options: Mapping[str, Any],
        retries: int,
    ) -> tuple[AIMessage, int]:
        """Return the reply and the number of attempts; repeat what may work a moment later, within the call's time."""
        deadline = time.monotonic() + limits.call_timeout_s
        for attempt in range(retries + 1):
            try:
                return await self._once(model, messages, options, limits, deadline), attempt + 1
            except CallFailed as error:
                error.attempts = attempt + 1
                pause_s = max(error.retry_after_s, limits.retry_pause_s * 2**attempt)
                hopeless = error.reason not in RETRIED or time.monotonic() + pause_s >= deadline
                if attempt == retries or hopeless or self._spent(limits):
                    raise
                self._counts["retries"] += 1
                await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self,
        model: BaseChatModel,
        messages: list[BaseMessage],
        options: Mapping[str, Any],
        limits: CallLimits,
        deadline: float,
    ) -> AIMessage:
        self._counts["model_attempts"] += 1
        try:
            reply = await asyncio.wait_for(model.ainvoke(messages, **options), timeout=deadline - time.monotonic())
        except CallFailed:
            raise
        except Exception as error:  # whatever a client library raises: the policy goes on
            raise explain(error, limits.call_timeout_s) from error
        if reply.usage_metadata is not None:
            self._counts["model_tokens"] += reply.usage_metadata["total_tokens"]
        else:
            self._warn_of_untold_tokens(limits)
        if len(reply.text) > LONGEST_REPLY:
            raise CallFailed(
                "reply_too_long", f"The reply has {len(reply.text)} characters; {LONGEST_REPLY} is the limit."
            )
        return reply

    def _warn_of_untold_tokens(self, limits: CallLimits) -> None:
        if limits.max_tokens is not None and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "The server does not say how many tokens a reply takes: it counts as none, and max_tokens %d may be "
                "passed; limit max_calls.",
                limits.max_tokens,
            )

    def _failed(self, limits: CallLimits) -> None:
        self._failures_in_a_row += 1
        if self._is_probing or 0 < limits.breaker_failures <= self._failures_in_a_row:
            self._open_until = self._clock() + limits.breaker_pause_s
            self._counts["circuit_opened"] += 1


def explain(error: Exception, timeout_s: float) -> CallFailed:
    """Return why a call failed, whatever the client raised."""
    text = f"{type(error).__name__}: {str(error)[:300]}"
    match error:
        case openai.LengthFinishReasonError():
            return CallFailed("reply_cut", "The reply was cut off at the limit of its length.")
        case openai.ContentFilterFinishReasonError():
            return CallFailed("refused", "The content filter of the server withheld the reply.")
        case json.JSONDecodeError():
            return CallFailed("model_error", f"The server's answer is not JSON: {words(error.doc) or 'it is empty'}.")
        case TimeoutError() | openai.APITimeoutError():
            return CallFailed("timeout", f"The model did not answer within {timeout_s:g} s.")
        case openai.APIConnectionError() | ConnectionError():
            return CallFailed("server_down" if _was_refused(error) else "connection_lost", text)
        case openai.APIStatusError():
            return _of_status(error)
        case _:
            return CallFailed("model_error", text)


def _of_status(error: openai.APIStatusError) -> CallFailed:
    """Return why a server refused a request, in its own words."""
    code, headers = error.status_code, error.response.headers
    said = words(error.response.text) or error.response.reason_phrase or "no reason given"
    message = f"The server answers {code}: {said}."
    if code == 429:
        return CallFailed("rate_limited", message, retry_after_s=_retry_after_s(headers))
    if code >= 500:
        return CallFailed("server_error", message, retry_after_s=_retry_after_s(headers))
    if code == 413:
        message += " Lower image.max_side in the model's profile, or raise the limit of the server."
    if code in (400, 422) and "max_completion_tokens" in message:
        message += ' Set limit = "max_tokens" under [sampling] in the model\'s profile.'
    if code in (401, 403):
        message += " Set OPENAI_API_KEY."
    return CallFailed("model_error", message)


def _was_refused(error: BaseException | None) -> bool:
    """Return whether no connection could be made; the clients wrap the reason several times."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError | socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds of a Retry-After header; 0 without one, or if it gives a date."""
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
