"""Recorded questions as a LangSmith dataset, and a variant's answers to them as an experiment on it.

Dataset and experiment go to the account of `LANGSMITH_API_KEY`. With `upload=False` the same `evaluate` runs on this
machine; traces go where `LANGSMITH_ENDPOINT` says, so point it at `agps traces serve` or switch tracing off.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from langsmith import evaluate
from langsmith.schemas import Example
from langsmith.utils import get_env_var

from agps_agent.ask import ask
from agps_agent.measure.replay.replay import Query, Score, Variant, score
from agps_agent.tracing.client import open_client
from rl.errors import ConfigError

MEASURES = ("answered", "keypoint_px", "keypoint_mm", "swapped", "box_has_goal", "pruned", "latency_s", "tokens")
"""Fields of a score that become LangSmith feedback."""


def check_account() -> None:
    """Refuse to report to LangSmith without an account.

    Raises:
        ConfigError: If there is no key.
    """
    if not get_env_var("API_KEY"):
        raise ConfigError(
            "LANGSMITH_API_KEY is not set; set it, or compare without --langsmith, which needs no account."
        )


def run_experiment(
    queries: Sequence[Query], variant: Variant, *, source: str, upload: bool = True
) -> list[dict[str, Any]]:
    """Answer every question under `langsmith.evaluate`; return each question's measures.

    Args:
        queries: The dataset.
        variant: Prompt and model.
        source: Name of the run that the questions come from; names the dataset.
        upload: Keep dataset and experiment in LangSmith.
    """
    by_id = {query.id: query for query in queries}
    dataset = f"agps-{source}"
    data: Any = _upload(dataset, queries) if upload else _examples(dataset, queries)

    def target(inputs: dict[str, Any]) -> dict[str, Any]:
        query = by_id[inputs["query"]]
        question = ask(variant.graph, variant.context(query.scene), mode=query.mode, trigger=query.trigger)
        return dict(vars(score(query, asyncio.run(question))))

    results = evaluate(
        target,
        data=data,
        evaluators=[measures],
        experiment_prefix=variant.name.replace(" ", "-"),
        metadata={"variant": variant.name},
        max_concurrency=0,
        upload_results=upload,
        client=open_client() if upload else None,
        blocking=True,
    )
    return [dict(row["run"].outputs or {}) for row in results]


def measures(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return a score as LangSmith feedback: one entry per measure that applies."""
    known = Score(**outputs)
    found = {key: getattr(known, key) for key in MEASURES}
    return {"results": [{"key": key, "score": float(value)} for key, value in found.items() if value is not None]}


def _examples(dataset: str, queries: Sequence[Query]) -> list[Example]:
    """Return the questions as examples that no server knows."""
    return [
        Example(id=uuid5(NAMESPACE_URL, f"{dataset}/{query.id}"), inputs=_inputs(query), outputs=_reference(query))
        for query in queries
    ]


def _upload(dataset: str, queries: Sequence[Query]) -> str:
    """Make the dataset if it is not there yet; return its name."""
    client = open_client()
    if not client.has_dataset(dataset_name=dataset):
        made = client.create_dataset(dataset, description="Questions to the AGPS agent, recorded in a training run.")
        client.create_examples(
            dataset_id=made.id, examples=[{"inputs": _inputs(q), "outputs": _reference(q)} for q in queries]
        )
    return dataset


def _inputs(query: Query) -> dict[str, Any]:
    return {"query": query.id, "task": query.scene.task, "mode": query.mode, "trigger": dict(query.trigger)}


def _reference(query: Query) -> dict[str, Any]:
    return {name: point.tolist() for name, point in query.truth.items()}
