"""The run directory: every file that a run leaves behind, by name, and how each is written and read.

    config.json          complete configuration, package versions, seed
    metrics.jsonl        one object per episode, evaluation (`"kind": "eval"`, `"pretrain_eval"` or `"final_eval"`),
                         confirmation of a perfect one (`"confirmation"`), hundred updates of stage 1 (`"pretrain"`),
                         and resumption (`"resume"`)
    summary.json         headline numbers of the finished run
    demos/               demonstrations that the run used
    checkpoints/         learner and supervisor state
    interventions/NNNN/  prompt, reply, annotated image, intervention of each question to the agent
    memory/              what the agent remembers
    measured/NAME/       what `agps eval --experiment NAME` measured of it
    recording.rrd        Rerun recording
    films/               the policy alone in the final evaluation: a success, and failures
    fleet/               of several robots: episodes on their way, what each one's next process goes on from, status
    report.html          the report

Metrics are appended and survive a crash; everything else is replaced in one step.
"""

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agps_agent.run.rows import check_types
from rl.errors import AgpsError, ConfigError
from rl.files import quoted, read_json_object, write_atomically
from rl.ownership import LOCK, InUse, give_up, own

_log = logging.getLogger(__name__)

Row = dict[str, Any]
"""One line of metrics.jsonl."""

SUMMARY_KEYS = (
    "task",
    "method",
    "seed",
    "ended_by",
    "ending",
    "diagnosis",
    "success_rate",
    "eval_episodes",
    "env_steps",
    "learner_steps",
    "wall_clock_s",
    "robot_time_s",
    "agent_calls",
    "agent_tokens",
    "agent_seconds",
    "agent_pause_s",
    "memory_hits",
    "human_interventions",
    "human_s",
    "pretrain_steps",
    "pretrain_success_rate",
    "triggers_per_10_rollouts",
    "steps_to_80",
    "steps_to_100",
)
"""What summary.json holds at least."""

_WRITTEN = {
    "",  # hidden: what was being written
    "checkpoints",
    "config",
    "demos",
    "films",
    "fleet",
    "interventions",
    "measured",
    "memory",
    "metrics",
    "owner",
    "recording",
    "report",
    "summary",
    "tensorboard",
    "wandb",
}
"""What a run leaves in its directory, without suffix and number."""


@contextmanager
def alone_in(path: Path) -> Iterator[None]:
    """Keep every other training out of a run directory meanwhile; `agps eval` and `agps report` read it all the same.

    Raises:
        ConfigError: If another process trains there.
        AgpsError: If the directory cannot be written.
    """
    if path.exists() and not path.is_dir():
        yield  # whoever opens it says so
        return
    above = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        descriptor = own(path)
    except InUse as error:
        raise ConfigError(
            f"Run directory {path} is in use by process {error.owner}; wait for it to end, or name another --run-dir."
        ) from None
    except OSError as error:
        raise AgpsError(f"Cannot work in run directory {path}: {error.strerror}; name another --run-dir.") from error
    try:
        yield
    finally:
        give_up(path, descriptor)
        for folder in (path, *above):
            with contextlib.suppress(OSError):  # something is in it
                folder.rmdir()


@dataclass(frozen=True)
class RunDirectory:
    """One run on disk. Make it with `create` or `open`."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """Make a new run directory; one that died before it had anything to lose is begun anew.

        Raises:
            ConfigError: If something is already there.
            AgpsError: If it cannot be made.
        """
        run = cls(path)
        if path.exists() and (not path.is_dir() or not run._may_be_begun):
            if path.is_file():
                raise ConfigError(f"Run directory {path} is a file; name another --run-dir.")
            if run.has_checkpoint or not run.config.is_file():
                hint = "add --resume to go on from it, or " if run.has_checkpoint else ""
                raise ConfigError(
                    f"Run directory {path} already exists and is not empty; {hint}name another --run-dir."
                )
            raise ConfigError(run.nothing_to_resume)
        try:
            for folder in (run.checkpoints, run.interventions, run.memory):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AgpsError(f"Cannot make run directory {path}: {error.strerror}; name another --run-dir.") from error
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open an existing run directory.

        Raises:
            ConfigError: If there is no run.
        """
        if path.is_file():
            raise ConfigError(f"{path} is a file, and no run directory; name one that `agps train` wrote.")
        if not path.is_dir():
            raise ConfigError(
                f"There is no run directory {path}; `agps train TASK --run-dir {quoted(path)}` makes one."
            )
        if not (path / "config.json").is_file():
            raise ConfigError(
                f"{path} is not a run directory: it has no config.json; name one that `agps train` wrote."
            )
        return cls(path)

    @property
    def has_checkpoint(self) -> bool:
        """Something was saved that a run can be resumed from; a checkpoint that was being written is nothing."""
        return any(self.checkpoints.glob("*/manifest.json"))

    @property
    def nothing_to_resume(self) -> str:
        """What to say of a run that died before its first checkpoint."""
        ended = f"The run in {self.path} ended before its first checkpoint: there is nothing to go on from"
        if self._may_be_begun:
            return f"{ended}; start it again without --resume."
        demos = f" (--demos-dir takes its demonstrations from {self.demos})" if self.demos.is_dir() else ""
        return f"{ended}; delete it to begin anew, or name another --run-dir{demos}."

    @property
    def _may_be_begun(self) -> bool:
        """It is empty, or was begun and left before anything was made: no file that is not ours, none to be lost."""
        names = {entry.name for entry in self.path.iterdir()} - {LOCK}
        begun = self.checkpoints.is_dir() and all(_is_written(name) for name in names)
        return not names or (begun and self.is_unused)

    @property
    def is_unused(self) -> bool:
        """There is nothing in it that took time to make: no demonstration, question, episode or checkpoint."""
        folders = (self.demos, self.interventions, self.checkpoints)
        kept = any((self.path / "fleet").rglob("*.npz"))  # episodes that no learner has yet
        return not self.metrics.is_file() and not kept and not any(_has_entries(folder) for folder in folders)

    def discard(self) -> None:
        """Delete a run that could not start, so that its name is free again; one that holds data is kept."""
        if self.is_unused:
            shutil.rmtree(self.path, ignore_errors=True)

    def clear(self) -> None:
        """Delete a run that died before its first checkpoint: it cannot be resumed, only begun anew.

        A folder with anything in it that no run writes is kept.
        """
        if not self.path.is_dir() or not all(_is_written(entry.name) for entry in self.path.iterdir()):
            return
        with contextlib.suppress(ConfigError), alone_in(self.path):  # another process may be at its beginning
            if not self.has_checkpoint:
                shutil.rmtree(self.path, ignore_errors=True)

    @property
    def config(self) -> Path:
        """Complete configuration, with versions and seed."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per episode and per evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """Headline numbers."""
        return self.path / "summary.json"

    @property
    def demos(self) -> Path:
        """Demonstrations of this run."""
        return self.path / "demos"

    @property
    def checkpoints(self) -> Path:
        """Learner and supervisor state."""
        return self.path / "checkpoints"

    @property
    def interventions(self) -> Path:
        """One folder per question to the agent."""
        return self.path / "interventions"

    @property
    def memory(self) -> Path:
        """The agent's episodic memory."""
        return self.path / "memory"

    @property
    def recording(self) -> Path:
        """Rerun recording."""
        return self.path / "recording.rrd"

    @property
    def films(self) -> Path:
        """Films of the final evaluation."""
        return self.path / "films"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.path / "report.html"

    def intervention(self, intervention_id: str) -> Path:
        """Return the folder of one question to the agent."""
        return self.interventions / intervention_id

    def intervention_ids(self) -> list[str]:
        """Return the folder names of all questions to the agent, oldest first."""
        if not self.interventions.is_dir():
            return []
        return sorted(entry.name for entry in self.interventions.iterdir() if entry.is_dir())

    def forget_questions(self, asked: int) -> None:
        """Delete the folders of questions beyond the first `asked` ones: a resumed run asks them anew."""
        for name in self.intervention_ids():
            if name.isdecimal() and int(name) > asked:
                shutil.rmtree(self.intervention(name), ignore_errors=True)

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl and hand it to the operating system at once.

        Raises:
            AgpsError: If it cannot be written; earlier lines are untouched.
        """
        try:
            with self.metrics.open("a+b") as file:
                # A line torn by a crash must not swallow the one that follows it.
                if file.seek(0, os.SEEK_END) > 0:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")
                file.write((json.dumps(row, default=_plain) + "\n").encode())
        except OSError as error:
            raise AgpsError(
                f"Cannot append to {self.metrics}: {error.strerror}; free disk space and resume."
            ) from error

    def read_metrics(self) -> list[Row]:
        """Return the lines of metrics.jsonl, without those torn by a crash and those that a resumed run did over.

        Raises:
            AgpsError: If a line is whole, and says what no run says, or no line can be read.
        """
        if not self.metrics.exists():
            return []
        rows: list[Row] = []
        for number, row in self._whole_lines():
            check_types(row, where=f"{self.metrics}, line {number}")
            if row.get("kind") == "resume":
                done = row.get("env_steps") or 0
                rows = [earlier for earlier in rows if (earlier.get("env_steps") or 0) <= done]
                continue
            if row.get("kind") in _DONE_AGAIN:  # few rows are: the others are not searched for each
                rows = [earlier for earlier in rows if not _is_done_over(earlier, row)]
            rows.append(row)
        return rows

    def _whole_lines(self) -> list[tuple[int, Row]]:
        """Return the objects in metrics.jsonl with the numbers of their lines.

        Raises:
            AgpsError: If there is something, and no object among it.
        """
        try:
            lines = self.metrics.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError as error:
            raise AgpsError(f"Cannot read {self.metrics}: {error.strerror}.") from error
        parsed = [(number, _object_in(line)) for number, line in enumerate(lines, 1) if line.strip()]
        found = [(number, row) for number, row in parsed if row is not None]
        torn = [number for number, row in parsed if row is None and number < len(lines)]  # the last is being written
        if torn and not found:
            raise AgpsError(f"{self.metrics} holds no line of a run; it is damaged.")
        if torn:
            _log.warning("%s: lines that cannot be read are left out: %s.", self.metrics, ", ".join(map(str, torn)))
        return found

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json in one step.

        Raises:
            AgpsError: If it cannot be written; the old summary is untouched.
        """
        write_atomically(self.summary, json.dumps(summary, indent=2, default=_plain) + "\n")

    def read_summary(self) -> Row:
        """Return summary.json, or an empty object when the run has not finished.

        Raises:
            AgpsError: If it is damaged.
        """
        if not self.summary.exists():
            return {}
        summary = read_json_object(self.summary)
        check_types(summary, where=str(self.summary))
        return summary


_DONE_AGAIN = ("pretrain", "pretrain_eval", "final_eval")
"""Kinds of rows that a resumed run may write again though it undid no control step."""


def _is_done_over(earlier: Row, row: Row) -> bool:
    """Return whether a row is of what a resumed run did again: updates of stage 1, or an evaluation at the same step.

    The updates of stage 1 and its evaluation count no control step by which what was undone could be told.
    """
    kind = row["kind"]
    if kind != earlier.get("kind"):
        return False
    if kind == "pretrain":
        return bool((earlier.get("updates") or 0) >= (row.get("updates") or 0))
    return bool(kind == "pretrain_eval" or earlier.get("env_steps") == row.get("env_steps"))


def _object_in(line: str) -> Row | None:
    """Return the JSON object in a line; None where there is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _is_written(name: str) -> bool:
    """Return whether a run writes an entry of this name into its directory."""
    return name.split(".")[0].split("-")[0] in _WRITTEN


def _has_entries(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _plain(value: object) -> object:
    """Return NumPy scalars and arrays, and paths, as JSON knows them."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def kept_at(steps: int) -> str:
    """Return the name of the checkpoint that is kept of a control step."""
    return f"step-{steps:06d}"


def reward_folder(task: str) -> Path:
    """Return where `agps reward` keeps what belongs to a task, by the name that it has where it was seen."""
    return Path("runs") / "reward" / task


def default_classifier(task: str) -> Path:
    """Return where `agps reward fit` writes a task's classifier."""
    return reward_folder(task) / "classifier.pt"


def folder_name(method: str) -> str:
    """Return a method's name as that of a folder: `./mine.py:Mine+agent` is `Mine+agent`."""
    return re.split(r"[:/]", method)[-1]
