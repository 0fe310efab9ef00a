"""What help has cost so far: tokens, seconds and money of a model, a human's seconds at the arm."""

from collections.abc import Mapping

from agps_agent.models.prices import Price


def costs_of_help(counts: Mapping[str, float], price: Price | None) -> dict[str, float]:
    """Return what help has cost, as rows and the summary name it.

    Args:
        counts: A supervisor's counters.
        price: What the model's tokens cost; None where nobody knows. `agent_usd` is missing then, and where
            the server tells no tokens.
    """
    is_untold = counts.get("agent_calls", 0) > 0 and counts.get("tokens", 0) == 0  # by the server
    prompt, completion = int(counts.get("prompt_tokens", 0)), int(counts.get("completion_tokens", 0))
    return {
        "agent_calls": int(counts.get("agent_calls", 0)),
        "memory_hits": int(counts.get("memory_hits", 0)),
        "agent_tokens": int(counts.get("tokens", 0)),
        "agent_prompt_tokens": prompt,
        "agent_completion_tokens": completion,
        "agent_seconds": counts.get("model_s", 0.0),
        **({} if price is None or is_untold else {"agent_usd": price.of(prompt, completion)}),
        "agent_pause_s": counts.get("agent_pause_s", 0.0),
        "human_interventions": int(counts.get("human_interventions", 0)),
        "human_s": counts.get("human_s", 0.0),
    }
