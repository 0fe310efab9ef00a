"""What a served model will cost, before it is asked: tokens of a question as measured, times the questions of a run."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agps_agent.models.prices import Price, in_dollars, price_of


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What questions take."""

    calls: int
    prompt_tokens: int
    completion_tokens: int

    def times(self, questions: int) -> "Usage":
        """Return what so many take."""
        return Usage(
            calls=self.calls * questions,
            prompt_tokens=self.prompt_tokens * questions,
            completion_tokens=self.completion_tokens * questions,
        )


MEASURED: Mapping[str, Usage] = MappingProxyType(
    {
        "usb_insertion": Usage(calls=3, prompt_tokens=4_270, completion_tokens=150),
        "knot_hanging": Usage(calls=3, prompt_tokens=4_120, completion_tokens=200),
        "towel_folding": Usage(calls=3, prompt_tokens=4_540, completion_tokens=280),
    }
)
"""A question to decide, look and plan, by task: prompts and images as they are, counted at 4 characters or 32x32 pixels
per token, as a model of the Qwen3-VL kind does (docs/vlm.md)."""
OTHER = max(MEASURED.values(), key=lambda usage: usage.prompt_tokens)
"""A question about any other task."""
QUESTIONS_OF_A_RUN = (1, 16)
"""Fewest and most questions that the runs of docs/results.md put to the model; memory answered the others..."""
QUESTIONS_WHERE_IT_MOVES = (30, 140)
"""...and of runs in which something moves from rollout to rollout, so that memory answers none."""


def questions_of(task_options: Mapping[str, Any]) -> tuple[int, int]:
    """Return the fewest and most questions of a run, by what is changed about its task."""
    moves = any(value for name, value in task_options.items() if name.endswith(("jitter_mm", "jitter_deg")))
    return QUESTIONS_WHERE_IT_MOVES if moves else QUESTIONS_OF_A_RUN


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a model will cost, for people and programs."""

    task: str
    vlm: str
    model: str | None
    """Its name at the server; None where the server chooses."""
    price: Price | None
    questions: tuple[int, int] = QUESTIONS_OF_A_RUN
    """Fewest and most of a run."""

    @property
    def question(self) -> Usage:
        """What one question takes."""
        return MEASURED.get(self.task, OTHER)

    def described(self) -> dict[str, Any]:
        """Return everything as plain values."""
        fewest, most = (self.question.times(number) for number in self.questions)
        amounts = {"question": self.question, "run_at_least": fewest, "run_at_most": most}
        return {
            "task": self.task,
            "model": self.model,
            **{name: {**vars(usage), "usd": self._usd(usage)} for name, usage in amounts.items()},
            "price": None if self.price is None else self.price.model_dump(),
            "first": self.first_step,
        }

    @property
    def first_step(self) -> str:
        """What to type first: how well the model points, in a few scenes."""
        named = f" --vlm-model {shlex.quote(self.model)}" if self.model else ""
        return f"agps bench grounding {self.task} --vlm {shlex.quote(self.vlm)}{named} --scenes 20 --absent 5"

    def in_words(self) -> str:
        """Return it in one line."""
        one = self.question
        fewest, most = (one.times(number) for number in self.questions)
        paid = "" if self.price is None else f" ({in_dollars(self.price.of(one.prompt_tokens, one.completion_tokens))})"
        run = f"{_tokens(fewest):,} to {_tokens(most):,} tokens"
        if self.price is not None:
            run += f", {in_dollars(self._usd(fewest) or 0.0)} to {in_dollars(self._usd(most) or 0.0)}"
            run += f" ({self.price.source})"
        name_it = "" if self.model else "name the model with --vlm-model, or "
        unpriced = (
            "" if self.price else f" No price is known: {name_it}give one with --vlm-price-in and --vlm-price-out."
        )
        return (
            f"A question to {self.model or 'the model'} takes about {one.calls} calls, {one.prompt_tokens:,} tokens of "
            f"prompts and {one.completion_tokens:,} of replies{paid}; a run {self.questions[0]} to "
            f"{self.questions[1]} questions, {run}; a model that thinks takes more. --agent.max-tokens limits it."
            f"{unpriced} See first how well it points: {self.first_step}"
        )

    def _usd(self, usage: Usage) -> float | None:
        return None if self.price is None else self.price.of(usage.prompt_tokens, usage.completion_tokens)


def _tokens(usage: Usage) -> int:
    return usage.prompt_tokens + usage.completion_tokens


def estimate(
    task: str,
    *,
    vlm: str,
    model: str | None,
    given: tuple[float | None, float | None] = (None, None),
    task_options: Mapping[str, Any] = MappingProxyType({}),
) -> Estimate:
    """Return what a model will cost; nobody is asked.

    Args:
        task: Name of the task.
        vlm: Base URL of the server.
        model: Name of the model there; None for the first that it lists, whose price is not known.
        given: What the user says a million tokens of prompts and of replies cost, [USD].
        task_options: What is changed about the task.
    """
    price = price_of(vlm, model or "", given=given)
    return Estimate(task=task, vlm=vlm, model=model, price=price, questions=questions_of(task_options))
