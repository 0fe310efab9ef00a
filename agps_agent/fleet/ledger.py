"""Which episodes the learner has taken: each counts once, however often it arrives."""

from collections.abc import Mapping
from typing import Any

from agps_agent.fleet.message import Key


class Ledger:
    """The keys of all episodes that were taken; small, as numbers of one process follow each other."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], set[int]] = {}

    def enter(self, key: Key) -> bool:
        """Enter an episode; return whether it was not there before."""
        numbers = self._taken.setdefault((key.robot, key.run), set())
        is_new = key.number not in numbers
        numbers.add(key.number)
        return is_new

    def __contains__(self, key: Key) -> bool:
        return key.number in self._taken.get((key.robot, key.run), ())

    def __len__(self) -> int:
        return sum(len(numbers) for numbers in self._taken.values())

    def state_dict(self) -> dict[str, Any]:
        """Return the entries: per process of a robot the stretches of numbers, each from its first to its last."""
        return {"taken": [[robot, run, _stretches(numbers)] for (robot, run), numbers in self._taken.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._taken = {
            (robot, run): {number for first, last in stretches for number in range(first, last + 1)}
            for robot, run, stretches in state["taken"]
        }


def _stretches(numbers: set[int]) -> list[list[int]]:
    """Return sorted numbers as stretches without a gap, each [first, last]."""
    stretches: list[list[int]] = []
    for number in sorted(numbers):
        if stretches and stretches[-1][1] == number - 1:
            stretches[-1][1] = number
        else:
            stretches.append([number, number])
    return stretches
