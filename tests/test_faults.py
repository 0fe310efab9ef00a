"""What goes wrong in a lab at night: each fault is one clear line or one counted refusal, and no data is lost."""

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.cli.main import main
from agps_agent.detectors import FloatConfig, FloatDetector
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.server import serve_model
from agps_agent.report import write_report
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import Progress
from agps_agent.run.recording import Recorder
from agps_agent.run.training import train
from rl.errors import AgpsError
from tests.agps_agent.report.synthetic import make_run
from tests.agps_agent.run.test_training import Listening, configure
from tests.agps_agent.trained import train_with_report
from tools.errors import MemoryUnavailable
from tools.memory import EpisodicMemory, MemoryRecord
from tools.memory.index import VectorIndex

DEAD_URL = "http://127.0.0.1:9/v1"


def ask_answer(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> dict[str, Any]:
    assert main(["ask", "usb_insertion", "--seed", "7", "--out", str(folder), "--json", *more]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)  # one object and nothing else
    return answer


@pytest.mark.parametrize("mode", ["prune", "guide"])
def test_ask_gives_the_same_answer_through_a_socket(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = ask_answer(capsys, tmp_path / "local", "--mode", mode)
    with serve_model(EmbeddedVLM()) as server:
        remote = ask_answer(capsys, tmp_path / "remote", "--mode", mode, "--vlm", server.url)
        server.shutdown()
    assert local["kind"] == mode and Path(local["picture"]).is_file()
    assert {key: remote[key] for key in ("kind", "guidance", "keypoints")} == {
        key: local[key] for key in ("kind", "guidance", "keypoints")
    }


def test_answer_that_cannot_be_saved_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "usb_insertion", "--mode", "prune", "--out", "/dev/null/answer"]) == 1
    assert capsys.readouterr().err == (
        "agps: Cannot save /dev/null/answer: Not a directory; make room, or name another --out.\n"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of a few steps, with demonstrations, checkpoint and recording."""
    config, run = configure(tmp_path_factory.mktemp("faults") / "run", demos=1, max_env_steps=30)
    train_with_report(config, run, Listening())
    return run


@pytest.fixture
def run(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy to be damaged."""
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_training_with_a_dead_url_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "usb_insertion", "--run-dir", str(tmp_path / "run"), "--vlm", DEAD_URL]
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "No model server answers at http://127.0.0.1:9/v1/models" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--vlm", DEAD_URL], "No model server answers"),
        (["--drq.gamma", "0.5"], "resume with the run's own configuration"),
        (["--agent.camera", "ceiling"], "no camera 'ceiling'"),
    ],
)
def test_resume_that_fails_changes_neither_settings_nor_checkpoint(
    option: list[str], words: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, checkpoint = run.config.read_bytes(), content(run.checkpoints)
    assert main(["train", "usb_insertion", "--run-dir", str(run.path), "--resume", *option]) == 2
    assert words in capsys.readouterr().err
    assert run.config.read_bytes() == settings and content(run.checkpoints) == checkpoint


class InterruptingAt:
    """Presses Ctrl-C when a phase begins."""

    def __init__(self, phase: str) -> None:
        self.phase = phase

    def update(self, progress: Progress) -> None:
        if progress.phase == self.phase:
            raise KeyboardInterrupt


def test_interrupt_before_the_checkpoint_is_read_does_not_replace_it(run: RunDirectory) -> None:
    config = RunConfig.model_validate(json.loads(run.config.read_text())["config"])
    checkpoint = content(run.checkpoints)
    with pytest.raises(KeyboardInterrupt):
        train(config, run, InterruptingAt("demos"), resume=True)
    assert content(run.checkpoints) == checkpoint


def test_demonstrations_of_another_size_stop_a_resume(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = run.demos / "demos.json"
    manifest.write_text(manifest.read_text().replace('"image_size": 64', '"image_size": 128'))
    assert main(["train", "usb_insertion", "--run-dir", str(run.path), "--resume"]) == 2
    assert "are of image_size 128, not 64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "argv", "words"),
    [
        ("demos/episode_000.npz", ["demos", "list", "{}/demos"], "episode_000.npz is damaged"),
        ("demos/episode_000.npz", ["demos", "show", "{}/demos"], "episode_000.npz is damaged"),
        ("demos/demos.json", ["demos", "list", "{}/demos"], "demos.json is not JSON"),
        ("checkpoints/last/algorithm.zip", ["eval", "{}"], "is damaged, or of another version"),
        ("checkpoints/last/state.pt", ["train", "usb_insertion", "--run-dir", "{}", "--resume"], "is damaged"),
        ("recording.rrd", ["view", "{}", "--check"], "recording.rrd is damaged"),
        ("summary.json", ["report", "{}"], "summary.json is not JSON"),
    ],
)
def test_damaged_file_is_one_line(
    file: str, argv: list[str], words: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    size = (run.path / file).stat().st_size
    (run.path / file).write_bytes(bytes(size))
    assert main([part.format(run.path) for part in argv]) in (1, 2)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and words in err


Fill = Callable[[Callable[[], bool]], None]


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """The disk is full while a condition holds: what is written does not reach it."""

    def fill(is_full: Callable[[], bool]) -> None:
        sync = os.fsync

        def fsync(descriptor: int) -> None:
            if is_full():
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    return fill


def short_training(path: Path) -> list[str]:
    argv = ["train", "usb_insertion", "--run-dir", str(path), "--method", "serl", "--demos", "1", "--threads", "1"]
    argv += ["--drq.batch-size", "16"]
    return [*argv, "--max-env-steps", "44", "--checkpoint-every", "20", "--eval-every", "0", "--eval-episodes", "1"]


def test_disk_that_fills_up_ends_the_training_and_a_resume_goes_on(
    tmp_path: Path, fill_disk: Fill, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path / "run")
    fill_disk(lambda: (run.checkpoints / "last").exists() and (run.checkpoints / ".last.new").exists())
    assert main(short_training(run.path)) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"agps: Cannot save {run.checkpoints / 'last'}: No space left on device; "
        "the earlier checkpoint is kept; make room and resume from it."
    )
    assert [entry.name for entry in run.checkpoints.iterdir()] == ["last"]
    monkeypatch.undo()
    assert main(["train", "usb_insertion", "--run-dir", str(run.path), "--resume"]) == 0
    assert run.read_summary()["env_steps"] == 44


def test_disk_that_fills_up_before_the_first_checkpoint_leaves_the_demonstrations(
    tmp_path: Path, fill_disk: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path / "run")
    fill_disk(lambda: (run.checkpoints / ".last.new").exists())
    assert main(short_training(run.path)) == 1
    assert capsys.readouterr().err.endswith("No space left on device; make room there.\n")
    assert main(["demos", "list", str(run.demos)]) == 0


def test_rollouts_that_cannot_be_written_are_said(run: RunDirectory) -> None:
    run.metrics.unlink()
    run.metrics.symlink_to("/dev/full")
    with pytest.raises(AgpsError, match=r"Cannot append to .*metrics\.jsonl: No space left on device"):
        run.append_metrics({"episode": 1})


def test_full_disk_leaves_the_old_report(tmp_path: Path, fill_disk: Fill) -> None:
    run = make_run(tmp_path / "run", episodes=3)
    before = write_report(run).read_bytes()
    fill_disk(lambda: True)
    with pytest.raises(AgpsError, match=r"Cannot write .*report\.html: No space left on device"):
        write_report(run)
    assert run.report.read_bytes() == before


def test_full_disk_costs_the_recording_and_not_the_run(
    tmp_path: Path, fill_disk: Fill, caplog: pytest.LogCaptureFixture
) -> None:
    fill_disk(lambda: True)
    recorder = Recorder(tmp_path / "recording.rrd")
    with caplog.at_level(logging.WARNING):
        recorder.close()
    assert "The recording is lost: Cannot write" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_detector(tmp_path: Path, fill_disk: Fill, rng: np.random.Generator) -> None:
    detector = FloatDetector(FloatConfig(min_demos=5, alpha=0.3)).fit([rng.normal(size=(8, 4)) for _ in range(6)])
    detector.save(tmp_path / "float.npz")
    before = (tmp_path / "float.npz").read_bytes()
    fill_disk(lambda: True)
    with pytest.raises(AgpsError, match="No space left on device"):
        detector.save(tmp_path / "float.npz")
    assert content(tmp_path) == {tmp_path / "float.npz": before}


def test_memory_without_an_index_says_so_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        record = MemoryRecord(task="usb_insertion", mode="guide", embedding=np.ones(4), calibration_hash="c")
        name = memory.remember(record)
        memory.mark(name, success=True)
        monkeypatch.setattr(VectorIndex, "_query", refuse)
        monkeypatch.setattr(VectorIndex, "_connect", refuse)
        for _ in range(2):
            with pytest.raises(MemoryUnavailable, match="cannot be built"):
                memory.recall(np.ones(4), calibration_hash="c", min_similarity=0.5)
        monkeypatch.undo()
        recalled = memory.recall(np.ones(4), calibration_hash="c", min_similarity=0.5)
    assert [record.id for record in recalled] == [name]
