"""Whether the scene moves from rollout to rollout, judged by what plans that worked went by."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from agps_agent.recalling import cameras_of, unmoved
from rl.errors import HardwareFault
from tools.memory import MemoryRecord
from tools.scene import Scene

LOOKS = 4
"""Records that are looked for when a rollout begins."""
JUDGED_AFTER = 4
"""Successes after which it is told whether the scene moves: most rollouts since the first have begun in another."""


class Surroundings:
    """What is seen of the records when a rollout begins. No model is asked."""

    def __init__(self, capture: Callable[[], Scene], look: Callable[[Collection[str]], Scene]) -> None:
        """Prepare.

        Args:
            capture: All cameras; each costs a simulator time.
            look: Some of them, by name.
        """
        self._capture, self._look = capture, look
        self._began: Scene | None = None
        """As the running rollout began, to the cameras that were looked through."""
        self._counts = Counter[str]()
        """Rollouts that began after a plan had worked, and those of them in another scene than any that did."""
        self._midway: set[str] = set()
        """Records of what there never is at a start: a ring that the fingers had turned, a port that a hand hid."""

    @property
    def moves(self) -> bool:
        """Whether most rollouts began in another scene than any in which a plan had worked."""
        rollouts = self._counts["rollouts"]
        return rollouts >= JUDGED_AFTER - 1 and 2 * self._counts["moved"] > rollouts

    def begin(self, records: Sequence[MemoryRecord], used: Collection[str] = ()) -> tuple[tuple[str, ...], bool]:
        """Return the newest records that worked and whose targets are seen where they were, and whether all have moved.

        Args:
            records: All, oldest first.
            used: Those that helped in the rollout before, by id.
        """
        self._note_midway([record for record in records if record.id in used and record.targets])
        self._began = None
        worked = [record for record in records if record.success and record.targets and record.id not in self._midway]
        newest = worked[-LOOKS:]
        self._counts["rollouts"] += bool(worked)
        try:
            self._began = self._look(cameras_of(newest)) if worked else self._capture()
        except HardwareFault:  # a camera failed, and the arm was stopped: the next control step says so
            return (), False
        there = unmoved(newest, self._began)
        has_moved = bool(worked) and not there
        self._counts["moved"] += has_moved
        return there, has_moved

    def _note_midway(self, used: Sequence[MemoryRecord]) -> None:
        """Find out which records do not fit what their own rollout began with: they tell no start from another."""
        began = self._began
        if began is not None:
            seen = [record for record in used if cameras_of([record]) <= began.frames.keys()]
            self._midway |= {record.id for record in seen} - set(unmoved(seen, began))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"looked": dict(self._counts), "midway": sorted(self._midway)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; older runs kept less."""
        self._counts = Counter(state.get("looked", {}))
        self._midway = set(state.get("midway", ()))
