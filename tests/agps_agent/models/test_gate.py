import asyncio
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage

from agps_agent.models.gate import LONGEST_REPLY, CallFailed, CallGate, explain
from agps_agent.models.limits import CallLimits
from tests.agps_agent.scripted import ScriptedModel

QUESTION = [HumanMessage("Where?")]
REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def status(code: int, **headers: str) -> openai.APIStatusError:
    kind = (
        openai.RateLimitError if code == 429 else openai.InternalServerError if code >= 500 else openai.BadRequestError
    )
    return kind("no", response=httpx.Response(code, headers=headers, request=REQUEST), body=None)


def wrapped(reason: Exception) -> openai.APIConnectionError:
    """As the clients wrap it."""
    transport, error = OSError("All connection attempts failed"), openai.APIConnectionError(request=REQUEST)
    error.__cause__, transport.__context__ = transport, reason
    return error


async def call(gate: CallGate, *script: Any, **limits: Any) -> AIMessage:
    model = ScriptedModel(script=list(script))
    reply, attempts = await gate.call(
        model, QUESTION, limits=CallLimits(**{"retry_pause_s": 0.0, "retries": 0, **limits}), options={}
    )
    assert attempts == len(model.asked)
    return reply


async def refused(gate: CallGate, *script: Any, **limits: Any) -> str:
    with pytest.raises(CallFailed) as error:
        await call(gate, *script, **limits)
    return error.value.reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "timeout"),
        (openai.APITimeoutError(REQUEST), "timeout"),
        (openai.APIConnectionError(request=REQUEST), "connection_lost"),
        (wrapped(ConnectionRefusedError("refused")), "server_down"),
        (ConnectionRefusedError("refused"), "server_down"),
        (wrapped(ConnectionResetError("cut")), "connection_lost"),
        (ConnectionResetError("cut"), "connection_lost"),
        (status(429), "rate_limited"),
        (status(503), "server_error"),
        (status(400), "model_error"),
        (RuntimeError("CUDA out of memory"), "model_error"),
    ],
)
def test_error_of_a_client_has_one_reason(error: Exception, reason: str) -> None:
    assert explain(error, 1.0).reason == reason


async def test_busy_server_is_asked_again() -> None:
    gate = CallGate()
    assert (await call(gate, status(503), "here", retries=1)).text == "here"
    assert gate.counters() == {"model_attempts": 2, "retries": 1}


async def test_retries_end() -> None:
    gate = CallGate()
    with pytest.raises(CallFailed) as error:
        await call(gate, *[status(503)] * 3, retries=2)
    assert (error.value.reason, error.value.attempts) == ("server_error", 3)


async def test_what_asking_again_cannot_mend_is_not_asked_again() -> None:
    gate = CallGate()
    assert await refused(gate, status(400), "never asked", retries=3) == "model_error"
    assert gate.counters()["model_attempts"] == 1


async def test_server_that_asks_for_more_time_than_there_is_gets_no_retry() -> None:
    gate = CallGate()
    assert await refused(gate, status(429, **{"retry-after": "1e6"}), "x", retries=1) == "rate_limited"
    assert gate.counters() == {"model_attempts": 1}


async def test_call_and_its_retries_share_one_limit() -> None:
    assert await refused(CallGate(), status(503), 1e6, retries=1, call_timeout_s=2.0) == "timeout"
    gate = CallGate()
    assert await refused(gate, status(503), "x", retries=1, retry_pause_s=50.0, call_timeout_s=40.0) == "server_error"
    assert gate.counters() == {"model_attempts": 1}


async def test_breaker_opens_after_failures_in_a_row_and_recovers() -> None:
    clock = Clock()
    gate = CallGate(clock=clock)
    limits = {"breaker_failures": 2, "breaker_pause_s": 30.0}
    assert await refused(gate, status(500), **limits) == "server_error"
    await call(gate, "fine", **limits)  # not in a row
    for _ in range(2):
        assert await refused(gate, status(500), **limits) == "server_error"
    clock.now = 29.0
    assert await refused(gate, "not asked", **limits) == "circuit_open"
    clock.now = 31.0
    assert await refused(gate, status(500), "no retry of a probe", retries=1, **limits) == "server_error"
    clock.now = 60.0
    assert await refused(gate, "not asked", **limits) == "circuit_open"
    clock.now = 62.0
    assert (await call(gate, "back", **limits)).text == "back"
    assert (await call(gate, "and again", **limits)).text == "and again"
    assert gate.counters()["circuit_opened"] == 2


async def test_only_one_call_probes() -> None:
    clock = Clock()
    gate = CallGate(clock=clock)
    limits = {"breaker_failures": 1, "breaker_pause_s": 1.0}
    assert await refused(gate, status(500), **limits) == "server_error"
    clock.now = 2.0
    probe = asyncio.create_task(call(gate, 0.05, **limits))
    await asyncio.sleep(0)
    assert await refused(gate, "not asked", **limits) == "circuit_open"
    assert (await probe).text == "late"


async def test_run_has_a_cap_on_calls_and_on_tokens() -> None:
    gate = CallGate()
    await call(gate, "one", max_calls=1)
    assert await refused(gate, "two", max_calls=1) == "budget_spent"
    gate.load_state_dict({"counts": {"model_tokens": 500}})
    assert await refused(gate, "three", max_tokens=500) == "budget_spent"
    await call(gate, "four", max_tokens=501)


async def test_flood_is_not_read() -> None:
    assert await refused(CallGate(), "x" * (LONGEST_REPLY + 1)) == "reply_too_long"


async def test_cancelled_call_is_counted_and_does_not_open_the_breaker() -> None:
    gate = CallGate()
    task = asyncio.create_task(call(gate, 5.0, breaker_failures=1))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.counters() == {"model_attempts": 1, "cancelled_calls": 1}
    await call(gate, "fine", breaker_failures=1)


async def test_counters_survive_a_resume() -> None:
    first, second = CallGate(), CallGate()
    await call(first, "one")
    second.load_state_dict(first.state_dict())
    assert second.counters() == first.counters()
