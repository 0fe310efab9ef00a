"""What the control thread must not wait for: an asyncio loop for questions, and one thread that writes in order."""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

_log = logging.getLogger(__name__)


class Background:
    """Runs coroutines on a loop of its own thread, and writes to disk on another, one after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agps-agent", daemon=True)
        self._thread.start()
        self._writer = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="agps-writer")
        self._writes: list[tuple[str, concurrent.futures.Future[None]]] = []

    def start(self, coroutine: Coroutine[Any, Any, ResultT]) -> concurrent.futures.Future[ResultT]:
        """Start a coroutine and return at once; what was handed to `write` before is on disk when it begins."""
        earlier = [future for _, future in self._writes if not future.done()]

        async def after_writes() -> ResultT:
            try:
                if earlier:  # waited for in a thread: a cancelled question must not cancel them
                    await asyncio.to_thread(concurrent.futures.wait, earlier)
                return await coroutine
            finally:
                coroutine.close()

        return asyncio.run_coroutine_threadsafe(after_writes(), self._loop)

    def write(self, what: str, job: Callable[[], None]) -> None:
        """Queue a write; `failed_writes` says later what became of it.

        Args:
            what: Its name among the failures.
            job: Writes, or raises.
        """
        self._writes.append((what, self._writer.submit(job)))

    def failed_writes(self, *, wait: bool = False) -> list[tuple[str, BaseException]]:
        """Return the writes that have failed since the last call, by name; `wait` for those under way first."""
        if wait:
            concurrent.futures.wait([future for _, future in self._writes])
        done = [(what, future) for what, future in self._writes if future.done()]
        self._writes = [entry for entry in self._writes if entry not in done]
        return [(what, error) for what, future in done if (error := future.exception()) is not None]

    def close(self) -> None:
        """Finish the writes, cancel the questions, end the threads; once is enough."""
        if self._loop.is_closed():
            return
        self._writer.shutdown(wait=True)
        self._loop.call_soon_threadsafe(self._cancel_all)
        self._thread.join(timeout=5.0)
        if self._thread.is_alive():
            _log.warning("The agent's thread did not end within 5 s; it ends with the process.")
        else:
            self._loop.close()

    def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()

        async def stop_after_them() -> None:
            await asyncio.gather(*tasks, return_exceptions=True)
            self._loop.stop()

        self._loop.create_task(stop_after_them())
