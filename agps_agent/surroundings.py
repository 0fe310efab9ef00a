"""Whether the scene moves from rollout to rollout, judged by what plans that worked went by."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from agps_agent.recalling import cameras_of, unmoved
from rl.errors import HardwareFault
from tools.memory import MemoryRecord
from tools.scene import Scene

LOOKS = 4
"""Records that are looked for when a rollout begins."""
JUDGED_AFTER = 4
"""Successes after which it is told whether the scene moves: most rollouts since the first have begun in another."""
SAME_PLACE_M = 0.005
"""Plans of two rollouts whose targets are this near to each other were about the same scene, [m]."""


class Surroundings:
    """What is seen of the records when a rollout begins. No model is asked."""

    def __init__(self, look: Callable[[Collection[str]], Scene]) -> None:
        """Prepare.

        Args:
            look: What some cameras show, by name; each costs a simulator time.
        """
        self._look = look
        self._counts = Counter[str]()
        """Rollouts of which it could be told, and those of them that began in another scene than any known one."""

    @property
    def moves(self) -> bool:
        """Whether most rollouts began in another scene than any in which a plan had worked."""
        rollouts = self._counts["rollouts"]
        return rollouts >= JUDGED_AFTER - 1 and 2 * self._counts["moved"] > rollouts

    def begin(self, records: Sequence[MemoryRecord]) -> tuple[tuple[str, ...], bool | None]:
        """Return the newest records that worked and whose targets are seen where they were, and whether all have moved.

        None: nobody can tell.

        A record that was made in mid-rollout may fit no start at all, however still the scene stands: something hid its
        target, or had turned it. So where none fits, the places decide: what moves is elsewhere each time.

        Args:
            records: All, oldest first.
        """
        newest = [record for record in records if record.success and record.targets][-LOOKS:]
        if not newest:
            return (), False
        try:
            there = unmoved(newest, self._look(cameras_of(newest)))
        except HardwareFault:  # a camera failed, and the arm was stopped: the next control step says so
            return (), False
        before = next((one for one in reversed(newest) if one.episode != newest[-1].episode), None)
        if not there and before is None:
            return (), None  # a rollout alone does not say it
        has_moved = not there and before is not None and not _is_same_place(before, newest[-1])
        self._counts["rollouts"] += 1
        self._counts["moved"] += has_moved
        return there, has_moved

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"looked": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; older runs kept nothing."""
        self._counts = Counter(state.get("looked", {}))


def _is_same_place(one: MemoryRecord, other: MemoryRecord) -> bool:
    """Return whether all targets that two records share are at the same places."""
    shared = one.targets.keys() & other.targets.keys()
    ways = [one.targets[label].aim - other.targets[label].aim for label in shared]
    return bool(ways) and bool(np.all(np.linalg.norm(ways, axis=1) <= SAME_PLACE_M))
