import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.transforms import pose
from rl.types import Box
from tools.errors import MemoryUnavailable
from tools.memory import EpisodicMemory, MemoryRecord, Target, read_records
from tools.memory.episodic import CANDIDATES
from tools.memory.index import VectorIndex

DIM = 8
EAST, NORTH = np.eye(DIM, dtype=np.float32)[:2]


def record(embedding=EAST, **fields) -> MemoryRecord:
    defaults = {
        "task": "usb_insertion",
        "mode": "guide",
        "calibration_hash": "cafe",
        "targets": {"port": Target(xyz=np.array([0.5, 0, 0.05]))},
        "felt": "port",
    }
    return MemoryRecord(embedding=np.asarray(embedding), **{**defaults, **fields})


def recall(memory: EpisodicMemory, embedding=EAST, **fields) -> str | None:
    found = memory.recall(np.asarray(embedding), **{"calibration_hash": "cafe", "min_similarity": 0.9, **fields})
    return found[0].id if found else None


def open_memory(directory: Path, dim: int = DIM) -> EpisodicMemory:
    return EpisodicMemory(directory, dim, "usb_insertion")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EpisodicMemory]:
    with open_memory(tmp_path / "memory") as opened:
        yield opened


def test_record_is_recalled_only_after_its_episode_succeeded(memory: EpisodicMemory):
    first = memory.remember(record())
    assert recall(memory) is None
    memory.mark(first, success=True)
    assert recall(memory) == first


def test_record_that_fails_when_reused_loses_its_standing_until_it_succeeds_again(memory: EpisodicMemory):
    first = memory.remember(record())
    memory.mark(first, success=True)
    memory.mark(first, success=False)
    assert recall(memory) is None
    assert (memory.get(first).uses, memory.get(first).failures) == (1, 1)
    memory.mark(first, success=True)
    assert recall(memory) == first
    assert (memory.get(first).uses, memory.get(first).failures) == (2, 1)


def test_recall_is_the_nearest_above_the_threshold(memory: EpisodicMemory):
    far = memory.remember(record(EAST + 0.4 * NORTH))
    near = memory.remember(record(EAST + 0.1 * NORTH))
    for record_id in (far, near):
        memory.mark(record_id, success=True)
    assert recall(memory, 3 * EAST) == near
    assert recall(memory, EAST, min_similarity=0.999) is None  # cos = 1 / sqrt(1.01) = 0.995
    assert recall(memory, NORTH) is None


def test_several_are_recalled_the_most_similar_first_and_of_equal_ones_the_newest(memory: EpisodicMemory):
    ids = [memory.remember(record(e)) for e in (EAST, EAST + 0.1 * NORTH, EAST)]
    assert memory.recall(EAST, calibration_hash="cafe", min_similarity=0.9) == ()
    for record_id in ids:
        memory.mark(record_id, success=True)
    found = memory.recall(EAST, calibration_hash="cafe", min_similarity=0.9)
    assert [r.id for r in found] == [ids[2], ids[0], ids[1]]


def test_no_more_than_a_handful_is_recalled(memory: EpisodicMemory):
    for record_id in [memory.remember(record()) for _ in range(CANDIDATES + 1)]:
        memory.mark(record_id, success=True)
    assert len(memory.recall(EAST, calibration_hash="cafe", min_similarity=0.9)) == CANDIDATES == 5


def test_of_equally_near_records_the_newest_is_recalled(memory: EpisodicMemory):
    for record_id in [memory.remember(record()) for _ in range(3)]:
        memory.mark(record_id, success=True)
    assert recall(memory) == record_id


def test_recall_asks_for_mode_and_calibration(memory: EpisodicMemory):
    box = Box(lower=np.zeros(3), upper=np.ones(3))
    pruned = memory.remember(record(mode="prune", box=box))
    memory.mark(pruned, success=True)
    assert recall(memory, mode="guide") is None
    assert recall(memory, calibration_hash="beef") is None
    assert recall(memory, mode="prune") == recall(memory) == pruned


def test_success_refines_the_target_with_where_the_arm_was(memory: EpisodicMemory):
    guided = memory.remember(record(p_tcp_tool=np.array([0.0, 0.001, 0.03])))
    final = pose(np.array([0.502, 0.004, 0.07]), np.diag([1.0, -1.0, -1.0]))
    memory.mark(guided, success=True, T_base_tcp_final=final)
    np.testing.assert_allclose(
        memory.get(guided).targets["port"].aim, [0.502, 0.003, 0.05], atol=1e-12
    )  # height stays that of the rim
    memory.mark(guided, success=False, T_base_tcp_final=np.eye(4))
    np.testing.assert_allclose(memory.get(guided).targets["port"].aim, [0.502, 0.003, 0.05], atol=1e-12)


def test_how_the_last_use_of_a_record_ended_is_remembered(tmp_path: Path):
    with open_memory(tmp_path) as memory:
        record_id = memory.remember(record())
        assert memory.get(record_id).ended is None
        memory.mark(record_id, success=False, ended="blocked")
    with open_memory(tmp_path) as memory:
        assert memory.get(record_id).ended == "blocked"
        memory.mark(record_id, success=True, ended="reached")
        assert memory.get(record_id).ended == "reached"


def test_memory_of_before_ends_were_noted_is_read(tmp_path: Path):
    with open_memory(tmp_path) as memory:
        record_id = memory.remember(record())
        memory.mark(record_id, success=True)
    log = tmp_path / "usb_insertion.jsonl"
    old = log.read_text().replace(', "ended": null', "")
    assert "ended" not in old
    log.write_text(old)
    with open_memory(tmp_path) as memory:
        assert (memory.get(record_id).success, memory.get(record_id).ended) == (True, None)


def test_everything_comes_back_after_reopening(tmp_path: Path):
    given = record(
        np.arange(DIM) / 7, plan="{}", felt="port", prompt_hash="abc", episode=4,
        box=Box(lower=np.zeros(3), upper=np.ones(3)), p_tcp_tool=np.array([0, 0, 0.03]),
    )  # fmt: skip
    with open_memory(tmp_path) as memory:
        record_id = memory.remember(given)
        memory.mark(record_id, success=True, T_base_tcp_final=np.eye(4), ended="contact")
        before = memory.get(record_id)
    with open_memory(tmp_path) as memory:
        after = memory.get(record_id)
        for name in MemoryRecord.__dataclass_fields__:
            if name not in ("box", "targets"):
                np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert after.box is not None and after.box.volume == 1.0
        np.testing.assert_array_equal(after.targets["port"].xyz, before.targets["port"].xyz)
        assert recall(memory, np.arange(DIM)) == record_id


def test_log_of_a_version_that_wrote_waypoints_is_read(tmp_path: Path):
    with open_memory(tmp_path) as memory:
        first = memory.remember(record())
        memory.mark(first, success=True)
    log = tmp_path / "usb_insertion.jsonl"
    log.write_text(log.read_text().replace('"targets":', '"waypoints": [], "targets":'))
    assert '"waypoints"' in log.read_text()
    with open_memory(tmp_path) as memory:
        assert recall(memory) == first


@pytest.mark.parametrize("damage", ["missing", "garbage", "no vectors", "cut short", "another's", "crashed"])
def test_index_is_built_again_from_the_log(tmp_path: Path, damage: str):
    with open_memory(tmp_path / "memory") as memory:
        ids = [memory.remember(record(e)) for e in np.eye(DIM)]
        memory.mark(ids[3], success=True)
    parent = tmp_path / "memory" / "usb_insertion.index"
    (index,) = (entry for entry in parent.iterdir() if entry.is_dir())
    if damage == "missing":
        shutil.rmtree(parent)
    elif damage == "garbage":
        (index / "chroma.sqlite3").write_bytes(b"no database" * 500)
    elif damage == "no vectors":
        for folder in index.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
    elif damage == "cut short":
        for file in index.rglob("*.bin"):
            os.truncate(file, file.stat().st_size // 2)
    elif damage == "another's":
        with open_memory(tmp_path / "other") as other:
            other.mark(other.remember(record(np.eye(DIM)[5], id="stranger")), success=True)
        shutil.rmtree(parent)
        shutil.copytree(tmp_path / "other" / "usb_insertion.index", parent)
    else:
        (parent / "closed.json").unlink()
    with open_memory(tmp_path / "memory") as memory:
        assert recall(memory, np.eye(DIM)[3]) == ids[3]
        assert recall(memory, np.eye(DIM)[5]) is None


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a killed process loses no page of either kind."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_every_acknowledged_record_survives_kill_9(quick_path: Path, rng: np.random.Generator):
    """Fifty writers are killed at any moment: while they open the memory, write, or rebuild its index."""
    acknowledged: list[str] = []
    command = [sys.executable, "-m", "tests.tools.memory.writer", str(quick_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writers:
        assert writers.stdin is not None and writers.stdout is not None
        for _ in range(50):
            writers.stdin.write("go\n")
            writers.stdin.flush()
            pid = int(writers.stdout.readline().removeprefix("pid "))
            line, wanted = "", rng.integers(0, 3)
            while wanted > 0 and (line := writers.stdout.readline().strip()) != "dead":
                acknowledged.append(line)
                wanted -= 1
            time.sleep(rng.uniform(0.0, 0.05))
            os.kill(pid, signal.SIGKILL)
            while (line := writers.stdout.readline().strip()) != "dead":
                acknowledged.append(line)
        writers.stdin.close()
    assert len(acknowledged) == len(set(acknowledged)) >= 25
    with open_memory(quick_path) as memory:
        assert set(acknowledged) <= {r.id for r in memory.records()}
        for record_id in acknowledged:
            assert recall(memory, memory.get(record_id).embedding) == record_id


def test_torn_last_line_is_cut_off_and_a_damaged_one_skipped(tmp_path: Path):
    log = tmp_path / "usb_insertion.jsonl"
    with open_memory(tmp_path) as memory:
        first, second = (memory.remember(record(e)) for e in (EAST, NORTH))
        memory.mark(second, success=True)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"\x00\xff not json\n" + b"".join(lines) + lines[0][: len(lines[0]) // 2])
    with open_memory(tmp_path) as memory:
        assert [r.id for r in memory.records()] == [first, second]
        third = memory.remember(record())
    with open_memory(tmp_path) as memory:
        assert [r.id for r in memory.records()] == [first, second, third]
        assert recall(memory, NORTH) == second


def test_folder_has_one_owner_at_a_time(tmp_path: Path):
    with (
        open_memory(tmp_path),
        pytest.raises(MemoryUnavailable, match=f"in use by process {os.getpid()}.*another folder"),
    ):
        open_memory(tmp_path)
    open_memory(tmp_path).close()


def test_other_process_gets_one_clear_sentence(tmp_path: Path):
    program = "import sys; from tools.memory import EpisodicMemory; EpisodicMemory(sys.argv[1], 8, 'usb_insertion')"
    with open_memory(tmp_path):
        other = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, timeout=600
        )
    assert other.returncode != 0
    assert f"MemoryUnavailable: The memory {tmp_path} is in use by process {os.getpid()}" in other.stderr


def test_owned_memory_can_be_read_meanwhile(tmp_path: Path):
    with open_memory(tmp_path) as memory:
        first = memory.remember(record())
        memory.mark(first, success=True)
        torn = tmp_path / "usb_insertion.jsonl"
        with torn.open("ab") as file:
            file.write(b'{"event": "reme')
        before = torn.read_bytes()
        assert [(r.id, r.success) for r in read_records(tmp_path, "usb_insertion")] == [(first, True)]
        assert torn.read_bytes() == before  # whoever reads repairs nothing
    assert read_records(tmp_path, "knot_hanging") == ()


def test_forgotten_record_is_gone_for_good(tmp_path: Path):
    with open_memory(tmp_path) as memory:
        first, second = (memory.remember(record(e)) for e in (EAST, NORTH))
        for record_id in (first, second):
            memory.mark(record_id, success=True)
        memory.forget(first)
        assert recall(memory, EAST) is None and recall(memory, NORTH) == second
        third = memory.remember(record(EAST))
        assert third not in (first, second)
        with pytest.raises(ConfigError, match="holds no record"):
            memory.forget(first)
    with open_memory(tmp_path) as memory:
        assert [r.id for r in memory.records()] == [second, third]
        memory.rebuild()
        assert recall(memory, NORTH) == second


def test_full_disk_loses_nothing_that_was_remembered(tmp_path: Path):
    with open_memory(tmp_path) as memory:
        first = memory.remember(record())
        memory.mark(first, success=True)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # A file may grow by 100 bytes more: half a line.
        resource.setrlimit(resource.RLIMIT_FSIZE, (memory._log.path.stat().st_size + 100, hard))
        try:
            with pytest.raises(MemoryUnavailable, match="cannot be written .*Nothing was remembered"):
                memory.remember(record(NORTH))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        second = memory.remember(record(NORTH))
        assert recall(memory) == first
    with open_memory(tmp_path) as memory:
        assert [r.id for r in memory.records()] == [first, second]


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """There is no room for the index, neither for a new entry nor for a new index; the log still fits."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VectorIndex, "_upsert", refuse)
    return monkeypatch


def test_what_is_in_the_log_is_remembered_although_the_index_cannot_be_built(
    memory: EpisodicMemory, no_index: pytest.MonkeyPatch
):
    first = memory.remember(record())
    memory.mark(first, success=True)
    second = memory.remember(record(NORTH))
    memory.forget(second)
    assert [r.id for r in read_records(memory.directory, memory.task)] == [r.id for r in memory.records()] == [first]
    with pytest.raises(MemoryUnavailable, match="cannot be built"):
        recall(memory)
    no_index.undo()
    assert recall(memory) == first


def test_closed_memory_writes_nothing_into_a_folder_that_may_be_anothers(tmp_path: Path):
    memory = open_memory(tmp_path)
    first = memory.remember(record())
    memory.close()
    before = (tmp_path / "usb_insertion.jsonl").read_bytes()
    for call in (lambda: memory.remember(record()), lambda: memory.mark(first, success=True), lambda: recall(memory)):
        with pytest.raises(MemoryUnavailable, match="is closed"):
            call()
    assert (tmp_path / "usb_insertion.jsonl").read_bytes() == before


def test_several_threads_may_use_it(memory: EpisodicMemory):
    def work(index: int) -> None:
        for _ in range(4):
            memory.mark(memory.remember(record(np.eye(DIM)[index])), success=True)
            recall(memory, np.eye(DIM)[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({r.id for r in memory.records()}) == 12
    assert all(recall(memory, np.eye(DIM)[index]) for index in range(3))


def test_what_does_not_belong_is_refused(memory: EpisodicMemory, tmp_path: Path):
    for embedding in (np.zeros(DIM), np.full(DIM, np.nan), np.ones(DIM + 1)):
        with pytest.raises(ConfigError, match="embedding"):
            memory.remember(record(embedding))
    with pytest.raises(ConfigError, match="does not belong"):
        memory.remember(record(task="knot_hanging"))
    with pytest.raises(ConfigError, match="holds no record 'nobody'"):
        memory.mark("nobody", success=True)
    assert len(memory) == 0
    memory.remember(record())
    memory.close()
    with pytest.raises(ConfigError, match="length 8, the encoder gives 16"):
        open_memory(tmp_path / "memory", dim=16)
    open_memory(tmp_path / "memory").close()


def test_unwritable_folder_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MemoryUnavailable, match="cannot be opened"):
        open_memory(tmp_path / "file" / "memory")
