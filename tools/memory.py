"""Episodic memory: what helped before, recalled by what the cameras showed (AGPS, arXiv:2602.11978, Algorithm 1).

The log holds the truth, Chroma the index; the index is built again from the log whenever they differ. A record is
recalled only after the episode that used it succeeded, and no longer once it has failed.
"""

import base64
import fcntl
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rl.errors import ConfigError
from rl.types import Box, FloatArray, Waypoint
from tools.answers import Mode
from tools.errors import MemoryUnavailable
from tools.memory_index import Entry, VectorIndex
from tools.memory_log import EventLog

NEIGHBOURS = 8
"""Candidates that the index is asked for; the newest of equally near ones is taken."""


@dataclass(frozen=True, kw_only=True)
class MemoryRecord:
    """One intervention: when it was given, what it was, and what came of it."""

    task: str
    mode: Mode
    embedding: FloatArray
    """Feature of what the policy's cameras showed, from the failure detector's encoder. Shape (k,)."""
    calibration_hash: str
    """Of the camera that the target was measured with: positions hold only under the same calibration."""
    id: str = ""
    """Given by `remember`, unless set."""
    box: Box | None = None
    waypoints: tuple[Waypoint, ...] = ()
    target: FloatArray | None = None
    """Where the tool's tip was to go, base frame. Shape (3,), [m]."""
    target_label: str = ""
    """Keypoint that the plan calls the target, e.g. `port`."""
    plan: str = ""
    """The tool calls, as JSON of a `PlanAnswer`: run again, they start from where the arm then is."""
    p_tcp_tool: FloatArray | None = None
    """Tip of the tool in the TCP frame; None for the TCP itself. Shape (3,), [m]."""
    prompt_hash: str = ""
    episode: int = 0
    success: bool | None = None
    """How the last episode that used it ended; None until its first one has."""
    uses: int = 0
    """Episodes that reused it, the one that made it not counted."""
    failures: int = 0
    """Of those, how many failed."""
    target_refined: FloatArray | None = None
    """The target with the x and y where the arm measured the tip at success. Shape (3,), [m]."""

    @property
    def aim(self) -> FloatArray | None:
        """The best known target: measured by the arm if it ever succeeded there, else as perceived. Shape (3,), [m]."""
        return self.target if self.target_refined is None else self.target_refined

    def after(self, *, success: bool, T_base_tcp_final: FloatArray | None = None) -> "MemoryRecord":
        """Return the record after an episode that used it.

        Where a success ended is what the arm felt, not what a camera saw: its x and y replace the target's. The height
        stays that of the rim, since a success may be declared before the tool is all the way in.
        """
        reused = self.success is not None
        refined = self.target_refined
        if success and self.target is not None and T_base_tcp_final is not None:
            tool = np.zeros(3) if self.p_tcp_tool is None else self.p_tcp_tool
            tip = T_base_tcp_final[:3, 3] + T_base_tcp_final[:3, :3] @ tool
            refined = np.array([tip[0], tip[1], self.target[2]])
        return replace(
            self,
            success=success,
            uses=self.uses + reused,
            failures=self.failures + (reused and not success),
            target_refined=refined,
        )


class EpisodicMemory:
    """Remembers interventions of one task in a folder, and recalls those that worked. One owner per folder.

    A write takes about 30 ms (two syncs to disk): call `remember` and `mark` off the control tick. Calls may come from
    several threads of the owner.
    """

    def __init__(self, directory: Path | str, dim: int, task: str) -> None:
        """Open or create the memory of a task.

        Args:
            directory: Folder of the memory.
            dim: Length of an embedding.
            task: Name of the task; each has its own file and collection.

        Raises:
            MemoryUnavailable: If another process owns the folder, or it cannot be read or written.
            ConfigError: If it holds embeddings of another length.
        """
        self.directory = Path(directory)
        self.task = task
        self._dim = dim
        self._mutex = threading.RLock()
        self._records: dict[str, MemoryRecord] = {}
        self._lock_fd = _own(self.directory)
        try:
            self._log = EventLog(self.directory / f"{task}.jsonl")
            self._replay()
            self._index = VectorIndex(self.directory / f"{task}.index", _collection_name(task))
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
        with self._mutex:
            self._check(record)
            record_id = record.id or f"{self.task}-{len(self._records):06d}"
            record = replace(record, id=record_id, embedding=self._vector(record.embedding))
            self._log.append({"event": "remember", **_to_json(record)})
            self._put(record)
            return record.id

    def mark(self, record_id: str, *, success: bool, T_base_tcp_final: FloatArray | None = None) -> None:
        """Tell how an episode that used a record ended; the newest word counts.

        Args:
            record_id: Id of the record.
            success: The episode succeeded.
            T_base_tcp_final: Last measured TCP pose; a success refines the target with it. Shape (4, 4), [m].

        Raises:
            MemoryUnavailable: If it cannot be written; nothing has changed then.
            ConfigError: If there is no such record.
        """
        with self._mutex:
            record = self.get(record_id).after(success=success, T_base_tcp_final=T_base_tcp_final)
            self._log.append(
                {
                    "event": "mark",
                    "id": record_id,
                    "success": success,
                    "uses": record.uses,
                    "failures": record.failures,
                    "target_refined": _listed(record.target_refined),
                }
            )
            self._put(record)

    def recall(
        self, embedding: FloatArray, *, calibration_hash: str, min_similarity: float, mode: Mode | None = None
    ) -> MemoryRecord | None:
        """Return the record nearest to an embedding whose last episode succeeded, or None.

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
        with self._mutex:
            vector = self._vector(embedding)
            if not self._records:
                return None
            found = self._index.query(vector, where, NEIGHBOURS)
            if found is None:
                self._index.rebuild(self._entries())
                found = self._index.query(vector, where, NEIGHBOURS) or []
            near = [(id, similarity) for id, similarity in found if similarity >= min_similarity]
            if not near:
                return None
            best = max(similarity for _, similarity in near)
            order = list(self._records)
            equal = [id for id, similarity in near if similarity > best - 1e-6]
            return self._records[max(equal, key=order.index)]

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

    def _put(self, record: MemoryRecord) -> None:
        self._records[record.id] = record
        if not self._index.upsert(_entry(record)):
            self._index.rebuild(self._entries())

    def _entries(self) -> list[Entry]:
        return [_entry(record) for record in self._records.values()]

    def _replay(self) -> None:
        """Read every record from the log."""
        for event in self._log.read():
            try:
                self._apply(event)
            except (KeyError, TypeError, ValueError) as error:
                raise MemoryUnavailable(
                    f"The memory {self.directory} was written by another version ({error!r}); use another folder."
                ) from error

    def _apply(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "remember":
            record = _from_json(event)
            if record.embedding.shape != (self._dim,):
                raise ConfigError(
                    f"The memory {self.directory} holds embeddings of length {len(record.embedding)}, the encoder "
                    f"gives {self._dim}; use the encoder it was made with, or another folder."
                )
            self._records[record.id] = record
        elif event["event"] == "mark" and event["id"] in self._records:
            refined = event["target_refined"]
            self._records[event["id"]] = replace(
                self._records[event["id"]],
                success=event["success"],
                uses=event["uses"],
                failures=event["failures"],
                target_refined=None if refined is None else np.array(refined),
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


def _own(directory: Path) -> int:
    """Return the descriptor of the folder's lock; the system gives it back when the process dies, however it dies."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "owner.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise MemoryUnavailable(f"The memory {directory} cannot be opened ({error.strerror}).") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise MemoryUnavailable(
            f"The memory {directory} is in use by process {owner}, and has one owner at a time; "
            "wait for it to end, or use another folder."
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _collection_name(task: str) -> str:
    """Return a name that Chroma accepts: 3 to 512 of [a-zA-Z0-9._-], beginning and ending with a letter or digit."""
    return "agps-" + re.sub(r"[^a-zA-Z0-9._-]", "-", task) + "-x"


def _entry(record: MemoryRecord) -> Entry:
    metadata: dict[str, str | bool] = {
        "mode": record.mode,
        "calibration_hash": record.calibration_hash,
        "success": record.success is True,
    }
    return record.id, record.embedding, metadata


def _to_json(record: MemoryRecord) -> dict[str, Any]:
    """Return a record as plain values; the embedding exactly, as base64 of little-endian float32."""
    embedding = np.ascontiguousarray(record.embedding, dtype="<f4")
    box = record.box
    return {
        "id": record.id,
        "task": record.task,
        "mode": record.mode,
        "embedding": base64.b64encode(embedding.tobytes()).decode(),
        "calibration_hash": record.calibration_hash,
        "box": None if box is None else {"lower": _listed(box.lower), "upper": _listed(box.upper)},
        "waypoints": [{**vars(w), "T_base_tcp": np.asarray(w.T_base_tcp).tolist()} for w in record.waypoints],
        "target": _listed(record.target),
        "target_label": record.target_label,
        "plan": record.plan,
        "p_tcp_tool": _listed(record.p_tcp_tool),
        "prompt_hash": record.prompt_hash,
        "episode": record.episode,
        "success": record.success,
        "uses": record.uses,
        "failures": record.failures,
        "target_refined": _listed(record.target_refined),
    }


def _from_json(event: Mapping[str, Any]) -> MemoryRecord:
    fields = {key: value for key, value in event.items() if key != "event"}
    for name in ("target", "p_tcp_tool", "target_refined"):
        fields[name] = None if fields[name] is None else np.array(fields[name], dtype=np.float64)
    fields["embedding"] = np.frombuffer(base64.b64decode(fields["embedding"]), dtype="<f4")
    if fields["box"] is not None:
        fields["box"] = Box(lower=np.array(fields["box"]["lower"]), upper=np.array(fields["box"]["upper"]))
    fields["waypoints"] = tuple(
        Waypoint(**{**waypoint, "T_base_tcp": np.array(waypoint["T_base_tcp"])}) for waypoint in fields["waypoints"]
    )
    return MemoryRecord(**fields)


def _listed(array: FloatArray | None) -> list[float] | None:
    return None if array is None else [float(value) for value in array]
