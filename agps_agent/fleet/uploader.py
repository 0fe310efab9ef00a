"""Brings finished episodes from a robot's disk to the learner, oldest first, each until it is acknowledged."""

import logging
import threading
import time

from agps_agent.fleet.link import LearnerLink, LinkDown
from agps_agent.fleet.message import Key
from agps_agent.fleet.spool import Spool

_log = logging.getLogger(__name__)


class EpisodeUploader:
    """A thread beside the control loop, which never waits for the network."""

    def __init__(self, spool: Spool, link: LearnerLink, *, retry_s: float = 1.0) -> None:
        """Begin with what the spool still holds from earlier processes.

        Args:
            spool: The robot's episodes.
            link: To the learner.
            retry_s: Pause before an episode is sent again that was not acknowledged, [s].
        """
        self._spool, self._link, self._retry_s = spool, link, retry_s
        self._changed = threading.Condition()
        self._ends = False
        self._error: Exception | None = None
        self.unsent = len(spool.waiting())
        """Episodes that the learner has not acknowledged."""
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)
        self._thread.start()

    def post(self, key: Key, content: bytes) -> None:
        """Keep an episode on disk, and send it as soon as the learner takes it.

        Raises:
            AgpsError: If the disk refuses it, or the learner has refused an earlier one for what it is.
        """
        self.raise_error()
        self._spool.keep(key, content)
        with self._changed:
            self.unsent += 1
            self._changed.notify_all()

    def raise_error(self) -> None:
        """Raise why the learner will never take this robot's episodes, if it said so."""
        if self._error is not None:
            raise self._error

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is acknowledged; return whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: self.unsent == 0 or self._error is not None, timeout_s)
            return self.unsent == 0

    def close(self) -> None:
        """End the thread; what is not acknowledged stays on disk."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        self._thread.join(timeout=5.0)
        self._spool.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ends or self.unsent > 0)
                if self._ends:
                    return
            try:
                for key in self._spool.waiting():
                    self._link.deliver(self._spool.read(key))
                    self._spool.let_go(key)
                    if self._ends:
                        return
            except LinkDown as error:
                _log.info("Episodes wait on this robot's disk: %s", error)
                self._pause()
            except Exception as error:  # it will be refused again, and so will all that follow: the robot is told
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self.unsent = len(self._spool.waiting())
                self._changed.notify_all()

    def _pause(self) -> None:
        until = time.monotonic() + self._retry_s
        with self._changed:
            self._changed.wait_for(lambda: self._ends, timeout=max(0.0, until - time.monotonic()))
