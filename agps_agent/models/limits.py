"""What calls to a chat model may cost."""

from pydantic import BaseModel, ConfigDict, Field


class CallLimits(BaseModel):
    """What a model may cost: in time, in attempts, and over a whole run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    call_timeout_s: float = Field(30.0, gt=0, description="Limit of one chat model call with its retries, seconds.")
    retries: int = Field(1, ge=0, description="Times a call is repeated when the server is down, busy or hangs up.")
    retry_pause_s: float = Field(
        0.5, ge=0, description="Pause before the first retry, seconds; doubles. A server's Retry-After is kept."
    )
    breaker_failures: int = Field(
        3, ge=0, description="Failed calls in a row after which the model is not asked for a while; 0: never."
    )
    breaker_pause_s: float = Field(
        30.0, ge=0, description="How long it is left alone, seconds; then one call shows whether it is back."
    )
    max_calls: int | None = Field(None, ge=0, description="Calls of a run, retries counted; None: no limit.")
    max_tokens: int | None = Field(None, ge=0, description="Tokens of a run, prompts and replies; None: no limit.")
