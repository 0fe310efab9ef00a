"""Traces on disk: one SQLite file of runs and feedback, and every image once, named by its content."""

import json
import re
import sqlite3
import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from agps_agent.tracing.images import decode_image, name_of
from agps_agent.tracing.wire import Update
from rl.errors import AgpsError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  id TEXT PRIMARY KEY, trace_id TEXT, parent_run_id TEXT, name TEXT, run_type TEXT, start_time TEXT, end_time TEXT,
  dotted_order TEXT, error TEXT, tags TEXT, extra TEXT, inputs TEXT, outputs TEXT);
CREATE INDEX IF NOT EXISTS runs_by_trace ON runs (trace_id);
CREATE TABLE IF NOT EXISTS feedback (id TEXT PRIMARY KEY, trace_id TEXT, key TEXT, score REAL, comment TEXT);
CREATE INDEX IF NOT EXISTS feedback_by_trace ON feedback (trace_id);
"""
_TEXT = ("trace_id", "parent_run_id", "name", "run_type", "start_time", "end_time", "dotted_order", "error")
_JSON = ("tags", "extra", "inputs", "outputs")
_IMAGE_NAME = re.compile(r"[0-9a-f]{64}\.(png|jpeg)")


class TraceStore:
    """Runs as the LangSmith SDK reported them. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the store, made if missing.

        Raises:
            AgpsError: If the folder cannot be written.
        """
        self.folder = Path(folder)
        self._images = self.folder / "images"
        self._lock = threading.Lock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.folder / "traces.db", check_same_thread=False)
            self._db.executescript(_SCHEMA)
            self._images.mkdir(exist_ok=True)
        except (OSError, sqlite3.Error) as error:
            raise AgpsError(f"Cannot keep traces in {self.folder}: {error}; name another folder.") from error

    def apply(self, updates: Iterable[Update]) -> None:
        """Store runs and feedback; what a later update does not mention stays as it was."""
        with self._lock, self._db:
            for update in updates:
                if update.kind == "feedback":
                    self._put_feedback(update)
                else:
                    self._put_run(update)

    def traces(self) -> list[dict[str, Any]]:
        """Return one summary per trace, newest first: what was asked, what it cost, how the episode ended."""
        with self._lock:
            roots = self._db.execute(
                "SELECT id, name, start_time, end_time, error, tags, extra, outputs FROM runs "
                "WHERE parent_run_id IS NULL AND name IS NOT NULL ORDER BY start_time DESC"
            ).fetchall()
            tokens = self._tokens()
            feedback = self._feedback()
        return [
            {
                "id": run_id,
                "name": name,
                "start_time": start,
                "latency_s": _seconds(start, end),
                "error": error,
                "tags": json.loads(tags or "[]"),
                "metadata": (json.loads(extra or "{}") or {}).get("metadata", {}),
                "guidance": _guidance(json.loads(outputs or "{}")),
                "tokens": tokens.get(run_id, 0),
                "feedback": feedback.get(run_id, []),
            }
            for run_id, name, start, end, error, tags, extra, outputs in roots
        ]

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """Return the runs of a trace, parents before children, in the order in which they began."""
        columns = ("id", *_TEXT, *_JSON)
        with self._lock:
            rows = self._db.execute(
                f"SELECT {', '.join(columns)} FROM runs WHERE trace_id = ? ORDER BY dotted_order, start_time",
                (trace_id,),
            ).fetchall()
        runs = []
        for row in rows:
            run = dict(zip(columns, row, strict=True))
            run |= {key: json.loads(run[key]) if run[key] else None for key in _JSON}
            runs.append({**run, "latency_s": _seconds(run["start_time"], run["end_time"]), "tokens": _usage(run)})
        return runs

    def image(self, name: str) -> bytes | None:
        """Return the file of an image, or None if there is no such image."""
        path = self._images / name
        return path.read_bytes() if _IMAGE_NAME.fullmatch(name) and path.is_file() else None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _put_run(self, update: Update) -> None:
        fields = {key: update.fields[key] for key in _TEXT if update.fields.get(key) is not None}
        if "error" in fields and not isinstance(fields["error"], str):
            fields["error"] = json.dumps(fields["error"])
        for key in _JSON:
            if update.fields.get(key) is not None:
                fields[key] = json.dumps(self._keep_images(update.fields[key]))
        fields.setdefault("trace_id", update.id)
        self._db.execute("INSERT OR IGNORE INTO runs (id) VALUES (?)", (update.id,))
        changes = ", ".join(f"{key} = ?" for key in fields)  # names are from _TEXT and _JSON only
        self._db.execute(f"UPDATE runs SET {changes} WHERE id = ?", (*map(str, fields.values()), update.id))

    def _put_feedback(self, update: Update) -> None:
        fields = update.fields
        trace = fields.get("trace_id") or fields.get("run_id")
        self._db.execute(
            "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)",
            (update.id, str(trace), str(fields.get("key")), fields.get("score"), fields.get("comment")),
        )

    def _keep_images(self, value: Any) -> Any:
        """Return a value with each image replaced by `{"type": "image", "image": name}`; the image is stored."""
        if isinstance(value, list):
            return [self._keep_images(item) for item in value]
        if not isinstance(value, dict):
            return value
        image = decode_image(value)
        if image is None:
            return {key: self._keep_images(item) for key, item in value.items()}
        name = name_of(*image)
        path = self._images / name
        if not path.exists():
            path.write_bytes(image[1])
        return {"type": "image", "image": name}

    def _tokens(self) -> dict[str, int]:
        rows = self._db.execute("SELECT trace_id, outputs FROM runs WHERE run_type = 'llm' AND outputs IS NOT NULL")
        totals: dict[str, int] = {}
        for trace_id, outputs in rows:
            totals[trace_id] = totals.get(trace_id, 0) + _usage({"run_type": "llm", "outputs": json.loads(outputs)})
        return totals

    def _feedback(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for trace_id, key, score, comment in self._db.execute("SELECT trace_id, key, score, comment FROM feedback"):
            found.setdefault(trace_id, []).append({"key": key, "score": score, "comment": comment})
        return found


def _usage(run: dict[str, Any]) -> int:
    """Return the tokens that a model call reports, 0 for any other run."""
    if run["run_type"] != "llm" or not isinstance(run["outputs"], dict):
        return 0
    total = 0
    for generation in (item for batch in run["outputs"].get("generations") or [] for item in batch):
        message = generation.get("message") or {}
        usage = (message.get("kwargs") or message).get("usage_metadata") or {}
        total += int(usage.get("total_tokens") or 0)
    return total


def _guidance(outputs: Any) -> str:
    """Return the kind of answer that a question to the agent came to; empty for other traces."""
    guidance = outputs.get("guidance") if isinstance(outputs, dict) else None
    return str(guidance.get("kind", "")) if isinstance(guidance, dict) else ""


def _seconds(start: str | None, end: str | None) -> float | None:
    if not start or not end:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
