"""Whose question is answered next: a few at a time, and robots that wait get their turn one after the other."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairQueue:
    """Bounded concurrency, fair between robots: one that asks often does not delay the others. For one event loop."""

    def __init__(self, most: int) -> None:
        """Begin with nobody under way.

        Args:
            most: Questions that are answered at a time.
        """
        self._most = most
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """By robot, in the order of their turns."""
        self.under_way = 0

    @property
    def waiting(self) -> int:
        """Questions that have no turn yet."""
        return sum(len(queue) for queue in self._waiting.values())

    @asynccontextmanager
    async def turn(self, robot: str, *, deadline_s: float) -> AsyncIterator[None]:
        """Wait for a robot's turn, and hold it inside.

        Raises:
            TimeoutError: If its turn has not come by the deadline.
        """
        await self._wait(robot, deadline_s)
        try:
            yield
        finally:
            self.under_way -= 1
            self._call_next()

    async def _wait(self, robot: str, deadline_s: float) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(robot, deque()).append(mine)
        self._call_next()
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.shield(mine)
        except (TimeoutError, asyncio.CancelledError):
            if mine.done():  # its turn came at the same moment: somebody else takes it
                self.under_way -= 1
            else:
                self._forget(robot, mine)
            self._call_next()
            raise

    def _call_next(self) -> None:
        while self.under_way < self._most and self._waiting:
            robot, queue = next(iter(self._waiting.items()))
            called = queue.popleft()
            del self._waiting[robot]
            if queue:  # its next question comes after one of each other robot
                self._waiting[robot] = queue
            self.under_way += 1
            called.set_result(None)

    def _forget(self, robot: str, mine: "asyncio.Future[None]") -> None:
        queue = self._waiting[robot]
        queue.remove(mine)
        if not queue:
            del self._waiting[robot]
