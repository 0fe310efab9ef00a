"""The index of the memory: a Chroma collection that can be thrown away and built again from the log."""

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rl.types import FloatArray
from tools.errors import MemoryUnavailable


class Entry(NamedTuple):
    """What an index holds of a record."""

    id: str
    embedding: FloatArray
    """Shape (k,)."""
    metadata: Mapping[str, str | bool]
    document: Callable[[], str]
    """The record as JSON: for an index that others read."""


BATCH = 500


class VectorIndex:
    """Nearest neighbours by cosine similarity in one Chroma collection, on embeddings that we compute ourselves.

    Chroma is imported here and nowhere else, on first use: it takes 0.7 s. One process at a time may open a folder.
    """

    def __init__(self, directory: Path, collection: str) -> None:
        self._parent = directory
        """Holds the index in a folder of its own: Chroma does not open a path again in a process where it failed."""
        self._collection_name = collection
        self._seal = directory / "closed.json"
        """Checksums of a closed index's files. Chroma crashes the process on damaged ones, so that it is never shown
        files that are not exactly as they were left; after a crash there is no seal."""
        self._folder: Path | None = None
        self._client: Any = None
        self._collection: Any = None

    def open(self, entries: Iterable[Entry]) -> None:
        """Open the index, and build it again unless it holds exactly these entries and answers.

        Raises:
            MemoryUnavailable: If it cannot be built.
        """
        expected = list(entries)
        folders = [entry for entry in self._parent.glob("*") if entry.is_dir()]
        if len(folders) == 1 and self._is_sealed(folders[0]):
            try:
                self._seal.unlink()
                self._connect(folders[0])
                if self._holds(expected):
                    return
            except index_errors():
                pass  # built again below
        self.rebuild(expected)

    def rebuild(self, entries: Iterable[Entry]) -> None:
        """Throw the index away and build it from these entries.

        Raises:
            MemoryUnavailable: If it cannot be built, e.g. on a full disk.
        """
        self._disconnect()
        try:
            shutil.rmtree(self._parent, ignore_errors=True)
            self._parent.mkdir(parents=True, exist_ok=True)
            self._connect(self._parent / uuid.uuid4().hex)
            remaining = iter(entries)
            while batch := list(islice(remaining, BATCH)):
                self._upsert(batch)
        except index_errors() as error:
            self._disconnect()  # half an index must not be searched: the next call builds it again
            raise MemoryUnavailable(
                f"The index {self._parent} cannot be built ({error}); check space and rights."
            ) from error

    def upsert(self, entry: Entry) -> bool:
        """Add or replace an entry; False when the index is damaged and must be rebuilt."""
        return self._attempt(lambda: self._upsert([entry])) is not None

    def remove(self, record_id: str) -> bool:
        """Remove an entry; False when the index is damaged and must be rebuilt."""

        def delete() -> list[tuple[str, float]]:
            self._collection.delete(ids=[record_id])
            return []

        return self._attempt(delete) is not None

    def query(
        self, embedding: FloatArray, where: Mapping[str, str | bool], count: int
    ) -> list[tuple[str, float]] | None:
        """Return ids and cosine similarities, nearest first; None when the index is damaged and must be rebuilt.

        Args:
            embedding: Shape (k,).
            where: Metadata that must be equal.
            count: At most this many.
        """
        return self._attempt(lambda: self._query(embedding, where, count))

    def close(self) -> None:
        """Close the collection: the next `open` may trust its files."""
        folder = self._folder
        self._disconnect()
        if folder is not None:
            with contextlib.suppress(OSError):  # without a seal the index is built again
                self._seal.write_text(json.dumps(_checksums(folder)), encoding="utf-8")

    def _is_sealed(self, folder: Path) -> bool:
        try:
            return bool(json.loads(self._seal.read_text(encoding="utf-8")) == _checksums(folder))
        except (OSError, ValueError):
            return False

    def _attempt(self, operation: Callable[[], list[tuple[str, float]]]) -> list[tuple[str, float]] | None:
        if self._collection is None:  # the last attempt to build it failed
            return None
        try:
            return operation()
        except index_errors():
            return None

    def _connect(self, folder: Path) -> None:
        import chromadb
        from chromadb.config import Settings

        self._folder = folder
        self._client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
        self._collection = self._client.get_or_create_collection(
            self._collection_name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def _disconnect(self) -> None:
        if self._client is not None:
            with contextlib.suppress(*index_errors()):  # it is given up in any case
                self._client.close()
        self._client = self._collection = self._folder = None

    def _holds(self, expected: list[Entry]) -> bool:
        """Return whether the collection has exactly these ids with this metadata, and its graph answers a query."""
        found = self._collection.get(include=["metadatas"])
        if dict(zip(found["ids"], found["metadatas"], strict=True)) != {
            entry.id: dict(entry.metadata) for entry in expected
        }:
            return False
        if expected:
            self._query(expected[-1].embedding, {}, 1)
        return True

    def _upsert(self, entries: list[Entry]) -> list[tuple[str, float]]:
        self._collection.upsert(
            ids=[entry.id for entry in entries],
            embeddings=np.stack([entry.embedding for entry in entries]).astype(np.float32),
            metadatas=[dict(entry.metadata) for entry in entries],
        )
        return []

    def _query(self, embedding: FloatArray, where: Mapping[str, str | bool], count: int) -> list[tuple[str, float]]:
        return nearest(self._collection, embedding, where, count)


def nearest(
    collection: Any, embedding: FloatArray, where: Mapping[str, str | bool], count: int
) -> list[tuple[str, float]]:
    """Return ids and cosine similarities of a Chroma collection's entries with this metadata, nearest first."""
    clauses: list[dict[str, str | bool]] = [{key: value} for key, value in where.items()]
    found = collection.query(
        query_embeddings=embedding.astype(np.float32)[np.newaxis],
        n_results=count,
        where={"$and": clauses} if len(clauses) > 1 else clauses[0] if clauses else None,
        include=["distances"],
    )
    return [(id, 1.0 - float(d)) for id, d in zip(found["ids"][0], found["distances"][0], strict=True)]


def _checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder, by its path in it."""
    files = sorted(entry for entry in folder.rglob("*") if entry.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def index_errors() -> tuple[type[Exception], ...]:
    """What Chroma raises on damaged or missing files, found by damaging them."""
    from chromadb.errors import ChromaError

    return ChromaError, ValueError, RuntimeError, OSError, KeyError
