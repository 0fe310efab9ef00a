"""Episodic memory: what helped before, recalled by what the cameras showed (AGPS, arXiv:2602.11978, Algorithm 1).

The log holds the truth, Chroma the index; the index is built again from the log whenever they differ. A record is
recalled only after the episode that used it succeeded, and no longer once it has failed with time to spare.

Several robots share what they remember through a Chroma server. Each keeps a log of its own, of what it remembered and
of what it took from others; while the server is away it recalls from that.
"""

import json
import logging
import os
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rl.errors import ConfigError
from rl.ownership import InUse, own
from rl.types import Ending, FloatArray
from tools.answers import Mode
from tools.errors import MemoryUnavailable
from tools.memory.index import Entry, VectorIndex
from tools.memory.log import EventLog
from tools.memory.record import MemoryRecord, check_values, from_json, refined_of, to_json
from tools.memory.server import ServerIndex

__all__ = ["EpisodicMemory", "MemoryRecord", "read_records"]

_log = logging.getLogger(__name__)

NEIGHBOURS = 8
"""Records that the index is asked for: some of equally near ones may be newer than others."""
CANDIDATES = 5
"""Records that are recalled at most."""


class EpisodicMemory:
    """Remembers interventions of one task in a folder, and recalls those that worked. One owner per folder.

    A write takes about 30 ms (two syncs to disk): call `remember` and `mark` off the control tick. Calls may come from
    several threads of the owner.
    """

    def __init__(self, directory: Path | str, dim: int, task: str, *, server: str | None = None) -> None:
        """Open or create the memory of a task.

        Args:
            directory: Folder of the memory.
            dim: Length of an embedding.
            task: Name of the task; each has its own file and collection.
            server: URL of a Chroma server through which robots share records; None keeps the index in the folder.

        Raises:
            MemoryUnavailable: If another process owns the folder, it cannot be read or written, or the server does not
                answer.
            ConfigError: If it holds embeddings of another length, or the URL is none.
        """
        self.directory = Path(directory)
        self.task = task
        self._dim = dim
        self._mutex = threading.RLock()
        self._records: dict[str, MemoryRecord] = {}
        self._lock_fd = _own(self.directory)
        try:
            self._log = EventLog(self.directory / f"{task}.jsonl")
            self._records = _replay(self._log, self._log.read())
            self._check_dim()
            self._server = None if server is None else ServerIndex(server, f"{_collection_name(task)}-{dim}")
            self._index = self._server or VectorIndex(self.directory / f"{task}.index", _collection_name(task))
            self._index.open(self._entries())
        except BaseException:
            os.close(self._lock_fd)
            raise

    def remember(self, record: MemoryRecord) -> str:
        """Store a record and return its id; it is durable on return.

        Raises:
            MemoryUnavailable: If it cannot be written; nothing has changed then.
            ConfigError: If the record does not belong here.
        """
        with self._opened():
            self._check(record)
            record_id = record.id or self._new_id()
            record = replace(record, id=record_id, embedding=self._vector(record.embedding))
            self._log.append({"event": "remember", **to_json(record)})
            self._put(record)
            return record.id

    def mark(
        self,
        record_id: str,
        *,
        success: bool,
        T_base_tcp_final: FloatArray | None = None,
        ended: Ending | None = None,
    ) -> None:
        """Tell how an episode that used a record ended; the newest word counts.

        Args:
            record_id: Id of the record.
            success: The episode succeeded.
            T_base_tcp_final: Last measured TCP pose; a success refines the felt target with it. Shape (4, 4), [m].
            ended: How its box or plan ended in that episode; None where nobody knows.

        Raises:
            MemoryUnavailable: If it cannot be written; nothing has changed then.
            ConfigError: If there is no such record.
        """
        with self._opened():
            self._take_over([record_id])
            record = self.get(record_id).after(success=success, T_base_tcp_final=T_base_tcp_final, ended=ended)
            self._log.append(
                {
                    "event": "mark",
                    "id": record_id,
                    "success": record.success,
                    "uses": record.uses,
                    "failures": record.failures,
                    "refined": refined_of(record),
                    "ended": record.ended,
                }
            )
            self._put(record)

    def recall(
        self, embedding: FloatArray, *, calibration_hash: str, min_similarity: float, mode: Mode | None = None
    ) -> tuple[MemoryRecord, ...]:
        """Return records near to an embedding whose last episode succeeded: nearest first, of equal ones the newest.

        What is near was made in a like scene, and not always in the same one: whoever uses a record looks first.

        Args:
            embedding: What the cameras show now. Shape (k,).
            calibration_hash: Only records made under this calibration.
            min_similarity: Least cosine similarity, in [-1, 1].
            mode: Only records of this mode.

        Raises:
            MemoryUnavailable: If the index is damaged and cannot be built again.
        """
        where: dict[str, str | bool] = {"success": True, "calibration_hash": calibration_hash}
        if mode is not None:
            where["mode"] = mode
        with self._opened():
            found = self._nearest(self._vector(embedding), where)
            near = {id: similarity for id, similarity in found if similarity >= min_similarity}
            if not near:
                return ()
            self._take_over(list(near))
            newest_first = [record_id for record_id in reversed(self._records) if record_id in near]
            order = sorted(newest_first, key=lambda record_id: -round(near[record_id], 6))
            return tuple(self._records[record_id] for record_id in order[:CANDIDATES])

    def forget(self, record_id: str) -> None:
        """Forget a record, on the server too.

        Raises:
            MemoryUnavailable: If it cannot be written; nothing has changed then.
            ConfigError: If there is no such record.
        """
        with self._opened():
            self.get(record_id)
            self._log.append({"event": "forget", "id": record_id})
            del self._records[record_id]
            if not self._index.remove(record_id):
                self._mend_index()

    def rebuild(self) -> None:
        """Build the index again from the log; on a server, send every record of this log again.

        Raises:
            MemoryUnavailable: If it cannot be built.
        """
        with self._opened():
            self._index.rebuild(self._entries())

    def get(self, record_id: str) -> MemoryRecord:
        """Return a record.

        Raises:
            ConfigError: If there is no such record.
        """
        if record_id not in self._records:
            raise ConfigError(f"The memory {self.directory} holds no record {record_id!r}.")
        return self._records[record_id]

    def records(self) -> tuple[MemoryRecord, ...]:
        """Return every record, oldest first."""
        with self._mutex:
            return tuple(self._records.values())

    def close(self) -> None:
        """Close the index and give the folder up."""
        with self._mutex:
            if self._lock_fd >= 0:
                self._index.close()
                os.close(self._lock_fd)
                self._lock_fd = -1

    def __len__(self) -> int:
        return len(self._records)

    def __enter__(self) -> "EpisodicMemory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Hold the memory for one call.

        Raises:
            MemoryUnavailable: If it was closed: somebody else may own the folder by now.
        """
        with self._mutex:
            if self._lock_fd < 0:
                raise MemoryUnavailable(f"The memory {self.directory} is closed.")
            yield

    def _put(self, record: MemoryRecord) -> None:
        self._records[record.id] = record
        if not self._index.upsert(_entry(record)):
            self._mend_index()

    def _mend_index(self) -> None:
        """Build a damaged index again after a write; the log has it already, so that it does not fail any more."""
        if self._server is not None:  # what it lacks is sent with the next call that gets through
            return
        try:
            self._index.rebuild(self._entries())
        except MemoryUnavailable as error:  # the next `recall` tries again, and says so
            _log.warning("What was written is in the log, but not yet in the index: %s", error)

    def _new_id(self) -> str:
        """Return an id that nobody has: robots that share a server cannot count together."""
        if self._server is not None:
            return f"{self.task}-{uuid.uuid4().hex[:12]}"
        endings = [record_id.rpartition("-")[2] for record_id in self._records]
        return f"{self.task}-{max((int(e) for e in endings if e.isdecimal()), default=-1) + 1:06d}"

    def _entries(self) -> list[Entry]:
        return [_entry(record) for record in self._records.values()]

    def _nearest(self, vector: FloatArray, where: Mapping[str, str | bool]) -> list[tuple[str, float]]:
        """Return ids and similarities of records that fit, nearest first."""
        if not self._records and self._server is None:
            return []
        found = self._index.query(vector, where, NEIGHBOURS)
        if found is not None:
            return found
        if self._server is not None:
            _log.warning("The memory server does not answer; what this robot knows itself is searched.")
            return self._nearest_own(vector, where)
        self._index.rebuild(self._entries())
        return self._index.query(vector, where, NEIGHBOURS) or []

    def _nearest_own(self, vector: FloatArray, where: Mapping[str, str | bool]) -> list[tuple[str, float]]:
        """The same without an index, from the log: a few thousand records take milliseconds."""
        fitting = [entry for entry in self._entries() if where.items() <= entry.metadata.items()]
        similar = [(entry.id, _cosine(entry.embedding, vector)) for entry in fitting]
        return sorted(similar, key=lambda pair: -pair[1])[:NEIGHBOURS]

    def _take_over(self, ids: list[str]) -> None:
        """Take into the log what other robots remembered, or made of what is known here."""
        if self._server is None:
            return
        for record_id, document in (self._server.documents(ids) or {}).items():
            known = self._records.get(record_id)
            try:
                record = from_json(json.loads(document))
            except (KeyError, TypeError, ValueError) as error:
                _log.warning("Record %s of the memory server cannot be read (%r).", record_id, error)
                continue
            if known is not None and to_json(known) == to_json(record):  # not the texts: an older one has fewer fields
                continue
            if record.id == record_id and record.task == self.task and record.embedding.shape == (self._dim,):
                self._log.append({"event": "remember", **to_json(record)})
                self._records[record_id] = record

    def _check_dim(self) -> None:
        for record in self._records.values():
            if record.embedding.shape != (self._dim,):
                raise ConfigError(
                    f"The memory {self.directory} holds embeddings of length {len(record.embedding)}, the encoder "
                    f"gives {self._dim}; use the encoder it was made with, or another folder."
                )

    def _check(self, record: MemoryRecord) -> None:
        if record.task != self.task:
            raise ConfigError(f"A record of task {record.task!r} does not belong into the memory of {self.task!r}.")
        if record.id in self._records:
            raise ConfigError(f"The memory {self.directory} already holds a record {record.id!r}.")

    def _vector(self, embedding: FloatArray) -> FloatArray:
        vector = np.asarray(embedding, dtype=np.float32)
        if vector.shape != (self._dim,):
            raise ConfigError(f"The embedding has shape {vector.shape}, the memory needs ({self._dim},).")
        if not np.all(np.isfinite(vector)) or not np.any(vector):
            raise ConfigError("The embedding has no direction (all zero, or not finite): cosine similarity needs one.")
        return vector


def read_records(directory: Path, task: str) -> tuple[MemoryRecord, ...]:
    """Return what a folder remembers of a task, oldest first; another process may own it meanwhile.

    Raises:
        MemoryUnavailable: If it cannot be read.
    """
    log = EventLog(directory / f"{task}.jsonl")
    log.check()
    return tuple(_replay(log, log.peek()).values())


def _replay(log: EventLog, events: Iterator[dict[str, Any]]) -> dict[str, MemoryRecord]:
    """Return the records that a log comes to, by id."""
    records: dict[str, MemoryRecord] = {}
    for event in events:
        try:
            _apply(event, records)
        except (KeyError, TypeError, ValueError) as error:
            raise MemoryUnavailable(
                f"The memory {log.path.parent} is damaged, or was written by another version ({error!r}); "
                "use another folder."
            ) from error
    return records


def _apply(event: Mapping[str, Any], records: dict[str, MemoryRecord]) -> None:
    if event["event"] == "remember":
        record = from_json(event)
        records[record.id] = record
    elif event["id"] not in records:
        return
    elif event["event"] == "forget":
        del records[event["id"]]
    elif event["event"] == "mark":
        record = records[event["id"]]
        # Earlier versions knew one target, and said at the top what success refined of it.
        refined = event["refined"] if "refined" in event else {record.felt: event["target_refined"]}
        records[event["id"]] = replace(
            record.with_refined(dict(refined)),
            success=event["success"],
            uses=event["uses"],
            failures=event["failures"],
            ended=event.get("ended"),
        )
        check_values(records[event["id"]])


def _own(directory: Path) -> int:
    """Return the descriptor of the folder's lock."""
    try:
        return own(directory)
    except InUse as error:
        raise MemoryUnavailable(
            f"The memory {directory} is in use by process {error.owner}, and has one owner at a time; "
            "wait for it to end, or use another folder."
        ) from error
    except OSError as error:
        raise MemoryUnavailable(f"The memory {directory} cannot be opened ({error.strerror}).") from error


def _collection_name(task: str) -> str:
    """Return a name that Chroma accepts: 3 to 512 of [a-zA-Z0-9._-], beginning and ending with a letter or digit."""
    return "agps-" + re.sub(r"[^a-zA-Z0-9._-]", "-", task) + "-x"


def _cosine(a: FloatArray, b: FloatArray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _entry(record: MemoryRecord) -> Entry:
    metadata: dict[str, str | bool] = {
        "mode": record.mode,
        "calibration_hash": record.calibration_hash,
        "success": record.success is True,
    }
    return Entry(record.id, record.embedding, metadata, lambda: json.dumps(to_json(record)))
