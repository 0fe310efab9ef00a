"""What a served model will cost, before it is asked: calls of a run and tokens of a call, as they were measured."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agps_agent.models.prices import Price, in_dollars, price_of


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What calls take."""

    calls: int
    prompt_tokens: int
    completion_tokens: int

    def times(self, number: int) -> "Usage":
        """Return what so many take."""
        return Usage(
            calls=self.calls * number,
            prompt_tokens=self.prompt_tokens * number,
            completion_tokens=self.completion_tokens * number,
        )


@dataclass(frozen=True, kw_only=True)
class TaskUsage:
    """What the agent takes on a task."""

    question: Usage
    """A question to decide, look and plan: prompts and images as they are, counted at 4 characters or 32x32 pixels per
    token, as a model of the Qwen3-VL kind does (docs/vlm.md)."""
    least: Usage
    """A call: the mean of the run in docs/results whose calls were the shortest..."""
    most: Usage
    """...and of the one whose calls were the longest, each of prompts and replies."""


MEASURED: Mapping[str, TaskUsage] = MappingProxyType(
    {
        "usb_insertion": TaskUsage(
            question=Usage(calls=3, prompt_tokens=4_270, completion_tokens=150),
            least=Usage(calls=1, prompt_tokens=780, completion_tokens=37),
            most=Usage(calls=1, prompt_tokens=1_440, completion_tokens=65),
        ),
        "knot_hanging": TaskUsage(
            question=Usage(calls=3, prompt_tokens=4_120, completion_tokens=200),
            least=Usage(calls=1, prompt_tokens=845, completion_tokens=59),
            most=Usage(calls=1, prompt_tokens=1_390, completion_tokens=87),
        ),
        "towel_folding": TaskUsage(
            question=Usage(calls=3, prompt_tokens=4_540, completion_tokens=280),
            least=Usage(calls=1, prompt_tokens=1_335, completion_tokens=69),
            most=Usage(calls=1, prompt_tokens=1_530, completion_tokens=124),
        ),
    }
)
OTHER = MEASURED["towel_folding"]
"""What the agent takes on any other task: as on the one whose questions are the longest."""
CALLS_OF_A_RUN = (2, 110)
"""Fewest and most calls of the runs in docs/results: what worked is recalled. About a hundred are of a model that errs
by 15 px, and of one that may answer with boxes alone; else they are at most 38..."""
CALLS_WITHOUT_RECALL = (20, 130)
"""...of those that recall nothing..."""
CALLS_WHERE_IT_MOVES = (60, 500)
"""...and of those in which something moves from rollout to rollout, so that nothing that worked fits again."""


def calls_of(task_options: Mapping[str, Any], *, recalls: bool = True) -> tuple[int, int]:
    """Return the fewest and most calls of a run, by what is changed about its task and whether the agent recalls."""
    if any(value for name, value in task_options.items() if name.endswith(("jitter_mm", "jitter_deg"))):
        return CALLS_WHERE_IT_MOVES
    return CALLS_OF_A_RUN if recalls else CALLS_WITHOUT_RECALL


def usage_of(task: str, calls: tuple[int, int]) -> tuple[Usage, Usage]:
    """Return what the fewest and the most calls about a task take, at least and at most."""
    usage = MEASURED.get(task, OTHER)
    return usage.least.times(calls[0]), usage.most.times(calls[1])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a model will cost, for people and programs."""

    task: str
    vlm: str
    model: str | None
    """Its name at the server; None where the server chooses."""
    price: Price | None
    calls: tuple[int, int] = CALLS_OF_A_RUN
    """Fewest and most of a run."""

    @property
    def question(self) -> Usage:
        """What one question takes."""
        return MEASURED.get(self.task, OTHER).question

    @property
    def run(self) -> tuple[Usage, Usage]:
        """What a run takes at least and at most."""
        return usage_of(self.task, self.calls)

    def described(self) -> dict[str, Any]:
        """Return everything as plain values."""
        fewest, most = self.run
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
        fewest, most = self.run
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
            f"prompts and {one.completion_tokens:,} of replies{paid}; a run {self.calls[0]} to "
            f"{self.calls[1]} calls, {run}; a model that thinks takes more. --agent.max-tokens limits it."
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
    recalls: bool = True,
) -> Estimate:
    """Return what a model will cost; nobody is asked.

    Args:
        task: Name of the task.
        vlm: Base URL of the server.
        model: Name of the model there; None for the first that it lists, whose price is not known.
        given: What the user says a million tokens of prompts and of replies cost, [USD].
        task_options: What is changed about the task.
        recalls: Whether the agent recalls what worked.
    """
    price = price_of(vlm, model or "", given=given)
    return Estimate(task=task, vlm=vlm, model=model, price=price, calls=calls_of(task_options, recalls=recalls))
