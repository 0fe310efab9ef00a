"""What can go wrong with a model server, on purpose: `agps serve-model --fail-share 0.3` and the tests of faults."""

import json
import random
import threading
from collections.abc import Sequence
from typing import Any, Literal, get_args

Fault = Literal[
    "slow",
    "rate_limited",
    "server_error",
    "cut",
    "flood",
    "prose",
    "wrong_keys",
    "nan",
    "outside_image",
    "unknown_tool",
]
"""slow: no answer for a minute. cut: the connection ends in the middle of the reply. flood: 10 MB of text. The rest:
what the name says, in HTTP status or content."""

FAULTS: tuple[Fault, ...] = get_args(Fault)
TRANSPORT_FAULTS: tuple[Fault, ...] = ("rate_limited", "server_error", "cut", "prose")
"""Faults that end quickly: what `--fail-share` draws from unless told otherwise."""
FLOOD_BYTES = 10_000_000


class FaultPlan:
    """Decides which requests fail, and how: the same ones for the same seed. Thread-safe."""

    def __init__(self, faults: Sequence[Fault], *, share: float = 1.0, seed: int = 0, slow_s: float = 60.0) -> None:
        """Plan.

        Args:
            faults: One of them is drawn for each request that fails.
            share: How many requests fail, from 0 to 1.
            seed: Of the drawing.
            slow_s: How long a `slow` request waits, [s].
        """
        self.slow_s = slow_s
        self._faults = tuple(faults)
        self._share = share
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def draw(self) -> Fault | None:
        """Return what goes wrong with the next request; None: nothing."""
        with self._lock:
            return self._random.choice(self._faults) if self._random.random() < self._share else None


def spoil(fault: Fault, reply: str, schema_name: str) -> str:
    """Return the text of a reply as a fault of content leaves it; unchanged where the fault does not apply.

    Args:
        fault: What goes wrong.
        reply: What the model said.
        schema_name: Name of the answer that was asked for.
    """
    match fault:
        case "prose":
            return "I am sorry, I cannot say where that is."
        case "flood":
            return "The arm is far away. " * (FLOOD_BYTES // 21)
        case "wrong_keys":
            return json.dumps({"points": [[1, 2]], "answer": "there"})
        case "nan" if schema_name == "PerceiveAnswer":
            return _moved(reply, "NaN")
        case "outside_image" if schema_name == "PerceiveAnswer":
            return _moved(reply, "123456")
        case "unknown_tool" if schema_name == "PlanAnswer":
            return json.dumps({"calls": [{"name": "jump", "arguments": {}}], "reason": "Up."})
        case _:
            return reply


def _moved(reply: str, coordinate: str) -> str:
    """Return a perceive answer with every first coordinate replaced."""
    answer: dict[str, Any] = json.loads(reply)
    for keypoint in answer["keypoints"]:
        if keypoint["point_2d"] is not None:
            keypoint["point_2d"][0] = "COORDINATE"
    return json.dumps(answer).replace('"COORDINATE"', coordinate)
