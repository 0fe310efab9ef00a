"""The index of a memory that several robots share: a collection on a Chroma server.

Every entry carries its record, so that a robot can use what another one remembered. Two robots that mark the same
record in the same moment may lose one of the two counts; the newest word on whether it worked counts either way.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from rl.errors import ConfigError
from rl.types import FloatArray
from tools.errors import MemoryUnavailable
from tools.memory.index import BATCH, Entry, index_errors, nearest
from tools.proxies import only_proxy, proxy_for

ResultT = TypeVar("ResultT")

TIMEOUT_S = 5.0
"""Limit of one request, [s]. Chroma's client itself waits forever."""
OPENING_S = 30.0
"""Limit of the first one, [s], which imports the client and may find the server starting."""


class ServerIndex:
    """Nearest neighbours by cosine similarity in one collection of a Chroma server.

    A server that is away costs what other robots know, nothing else: what could not be sent is sent with the next call
    that gets through.
    """

    def __init__(self, url: str, collection: str) -> None:
        """Name the server, e.g. `http://127.0.0.1:8001`.

        Raises:
            ConfigError: If that is no URL, or the environment names a proxy that cannot be used.
        """
        self._url = url
        self._proxy = proxy_for(url)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"The memory server {url!r} is not a URL; give e.g. http://127.0.0.1:8001.")
        self._host, self._ssl = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if self._ssl else 80)
        self._name = collection
        self._collection: Any = None
        self._newest: dict[str, Entry | None] = {}
        """What was last to be sent of each entry, sent or not; None: it is to be forgotten."""
        self._unsent: set[str] = set()
        """Entries whose newest state the server may lack."""
        self._mutex = threading.Lock()

    def open(self, entries: Iterable[Entry]) -> None:
        """Connect, and send those of these entries that the server lacks.

        Raises:
            MemoryUnavailable: If no Chroma server answers.
        """
        own = {entry.id: entry for entry in entries}

        def connect() -> None:
            import chromadb
            from chromadb.config import Settings

            with only_proxy(self._proxy):
                client = chromadb.HttpClient(
                    self._host, self._port, ssl=self._ssl, settings=Settings(anonymized_telemetry=False)
                )
            self._collection = client.get_or_create_collection(
                self._name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
            )
            known = set(self._collection.get(ids=list(own), include=[])["ids"]) if own else set()
            self._send([entry for id, entry in own.items() if id not in known])

        try:
            _within(OPENING_S, connect)
        except _server_errors() as error:
            raise MemoryUnavailable(
                f"No Chroma server answers at {self._url} ({error}); start one with "
                f"`chroma run --path FOLDER --host {self._host} --port {self._port}`, or leave --memory out."
            ) from error

    def rebuild(self, entries: Iterable[Entry]) -> None:
        """Send all of these entries again; those of other robots stay.

        Raises:
            MemoryUnavailable: If the server does not answer.
        """
        own = list(entries)
        try:
            _within(OPENING_S + len(own) / BATCH, lambda: self._send(own))
        except _server_errors() as error:
            raise MemoryUnavailable(f"The memory server {self._url} does not answer ({error}).") from error

    def upsert(self, entry: Entry) -> bool:
        """Add or replace an entry; False when the server does not answer: it is sent later."""
        return self._change(entry.id, entry)

    def remove(self, record_id: str) -> bool:
        """Remove an entry; False when the server does not answer: it is removed later."""
        return self._change(record_id, None)

    def query(
        self, embedding: FloatArray, where: Mapping[str, str | bool], count: int
    ) -> list[tuple[str, float]] | None:
        """Return ids and cosine similarities, nearest first; None when the server does not answer.

        Args:
            embedding: Shape (k,).
            where: Metadata that must be equal.
            count: At most this many.
        """
        return self._attempt(lambda: nearest(self._collection, embedding, where, count))

    def documents(self, ids: list[str]) -> dict[str, str] | None:
        """Return the records of entries as JSON, by id; None when the server does not answer."""

        def get() -> dict[str, str]:
            found = self._collection.get(ids=ids, include=["documents"])
            return dict(zip(found["ids"], found["documents"], strict=True))

        return self._attempt(get)

    def close(self) -> None:
        """Send what has not been sent, if the server is there."""
        if self._unsent:
            self._attempt(lambda: True)
        self._collection = None

    def _change(self, record_id: str, entry: Entry | None) -> bool:
        with self._mutex:
            self._newest[record_id] = entry
            self._unsent.add(record_id)
        return self._attempt(lambda: True) is not None

    def _attempt(self, operation: Callable[[], ResultT]) -> ResultT | None:
        """Send what has not been sent, then do something; None when the server does not answer."""

        def send_first() -> ResultT:
            self._send_unsent()
            return operation()

        try:
            return _within(TIMEOUT_S, send_first)
        except _server_errors():
            return None

    def _send_unsent(self) -> None:
        """Send what the server has not got; a request that hung may reach it after newer ones, which then go again."""
        with self._mutex:
            waiting = {id: self._newest[id] for id in self._unsent}
        while waiting:
            self._send([entry for entry in waiting.values() if entry is not None])
            if removed := [id for id, entry in waiting.items() if entry is None]:
                self._collection.delete(ids=removed)
            with self._mutex:
                late = {id: self._newest[id] for id, entry in waiting.items() if self._newest[id] is not entry}
                self._unsent.difference_update(waiting)
                self._unsent.update(late)
            waiting = late

    def _send(self, entries: list[Entry]) -> None:
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            self._collection.upsert(
                ids=[entry.id for entry in batch],
                embeddings=np.stack([entry.embedding for entry in batch]).astype(np.float32),
                metadatas=[dict(entry.metadata) for entry in batch],
                documents=[entry.document() for entry in batch],
            )


def _within(timeout_s: float, operation: Callable[[], ResultT]) -> ResultT:
    """Return what an operation returns.

    Raises:
        TimeoutError: If it takes longer; it goes on in a thread that ends with the process.
        Exception: What it raises.
    """
    outcome: queue.SimpleQueue[tuple[ResultT | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((operation(), None))
        except Exception as error:  # noqa: BLE001 (raised again by whoever waits)
            outcome.put((None, error))

    threading.Thread(target=run, name="agps-memory-server", daemon=True).start()
    try:
        result, error = outcome.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError(f"no answer within {timeout_s:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only if the operation returns None


def _server_errors() -> tuple[type[Exception], ...]:
    import httpx

    return (*index_errors(), httpx.HTTPError)
