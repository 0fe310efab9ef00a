"""Runs of `agps reproduce` on the machines of a Ray cluster: what they leave comes home, whoever is killed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agps_agent.fleet import guest
from agps_agent.fleet.cluster import open_cluster
from agps_agent.fleet.guest import Guest, News, pack, sweep, unpack
from rl.ownership import own, owner_of
from tests.clocks import until

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'agps[distributed]'"
)
GRID = """
title = "Tiny"
question = "Does it come home?"
seeds = 1
eval_episodes = 1
options = "--method serl --demos 0 --max-env-steps 80 --curve-episodes 1 --checkpoint-every 20 --record-every 0"

[[cells]]
name = "serl"
task = "usb_insertion"
panel = "USB insertion"
label = "SERL"
options = "--eval-every 40"
"""
FAR = """
title = "Far"
question = "And from further away?"
runs_of = "tiny.toml"
eval_episodes = 1

[[conditions]]
name = "start-2"
label = "2x"
start_scale = 2
"""
LONG = GRID.replace("--max-env-steps 80", "--max-env-steps 100000")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of one core: it takes seconds to start."""
    with open_cluster() as ray:
        yield ray.get_runtime_context().gcs_address


def reproduce(folder: Path, address: str, name: str = "tiny.toml", grid: str = GRID) -> "subprocess.Popen[str]":
    (folder / "tiny.toml").write_text(grid)
    return subprocess.Popen(
        [sys.executable, "-m", "agps_agent.cli", "reproduce", name, "--ray", address],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def said(process: "subprocess.Popen[str]") -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


@needs_ray
@pytest.mark.timeout(600)
def test_run_and_what_is_measured_of_it_come_home_whole(address: str, tmp_path: Path) -> None:
    run = tmp_path / "runs/tiny/serl-seed0"
    out = said(reproduce(tmp_path, address))
    assert "with 1 at a time" in out or "1 run to do" in out
    assert "All 1 run is finished." in out
    assert json.loads((run / "summary.json").read_text())["env_steps"] == 80
    assert {"config.json", "metrics.jsonl", "checkpoints", "report.html"} <= {path.name for path in run.iterdir()}
    assert not list(run.glob(".*")) and not (run / "owner.lock").exists()
    log = (tmp_path / "runs/tiny/logs/serl-seed0.txt").read_text()
    assert "The policy alone succeeds" in log and "Report: runs/tiny/serl-seed0/report.html" in log
    assert json.loads((run / "config.json").read_text())["config"]["run_dir"] == "runs/tiny/serl-seed0"
    (tmp_path / "far.toml").write_text(FAR)
    assert "1 run is measured." in said(reproduce(tmp_path, address, name="far.toml"))
    assert [path.name for path in (tmp_path / "runs/far/serl-seed0").iterdir()] == ["start-2.json"]


@needs_ray
@pytest.mark.timeout(600)
def test_run_that_is_told_to_end_is_saved_and_goes_on_from_there(address: str, tmp_path: Path) -> None:
    run = tmp_path / "runs/tiny/serl-seed0"
    runner = reproduce(tmp_path, address, grid=LONG)
    until(lambda: (run / "metrics.jsonl").exists())
    assert owner_of(run) is not None and not (run / "config.json").exists()  # rows come home on the way
    runner.send_signal(signal.SIGTERM)
    runner.communicate(timeout=300)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["ended_by"] == "interrupted" and owner_of(run) is None
    steps = summary["env_steps"]
    assert steps > 0
    config = json.loads((run / "config.json").read_text())
    config["config"]["max_env_steps"] = steps + 40
    (run / "config.json").write_text(json.dumps(config))
    said(reproduce(tmp_path, address, grid=GRID.replace("--max-env-steps 80", f"--max-env-steps {steps + 40}")))
    assert json.loads((run / "summary.json").read_text())["env_steps"] == steps + 40
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["env_steps"] for row in rows if row.get("kind") == "resume"] == [steps]


@needs_ray
@pytest.mark.timeout(600)
def test_runner_may_be_killed(address: str, tmp_path: Path) -> None:
    run = tmp_path / "runs/tiny/serl-seed0"
    runner = reproduce(tmp_path, address)
    until(lambda: owner_of(run) is not None)
    runner.kill()
    runner.communicate(timeout=60)
    assert "elsewhere" in said(reproduce(tmp_path, address)) and owner_of(run) is None
    assert (tmp_path / "runs/tiny/logs/serl-seed0.txt").read_text().count("The policy alone succeeds") == 1


@needs_ray
@pytest.mark.timeout(300)
def test_cluster_that_is_not_there_is_told(tmp_path: Path) -> None:
    runner = reproduce(tmp_path, "127.0.0.1:9")
    out, _ = runner.communicate(timeout=120)
    assert runner.returncode == 1 and "There is no Ray cluster at 127.0.0.1:9 (" in out
    assert not (tmp_path / "runs").exists()


# --- one command on this machine, without Ray -----------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders of guests lie."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def wait_for_end(command: Guest) -> tuple[str, dict[str, bytes], int]:
    output, files = b"", {}
    while True:
        news: News = command.news()
        output, files = output + news.output, files | dict(news.files)
        if news.code is not None:
            return output.decode(), files, news.code
        time.sleep(0.05)


def test_command_finds_what_was_sent_along_and_says_how_it_ended(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(GRID)
    far = str(tmp_path / "tiny.toml")
    command = Guest({far: pack(tmp_path / "tiny.toml"), "runs": None}, "runs", ["reproduce", far, "--dry-run"])
    output, files, code = wait_for_end(command)
    assert code == 0 and "1 run to do, at most 80 control steps" in output and files == {}
    assert command.folder() is None
    command.clear()
    assert list(temporary.iterdir()) == []


def test_rows_are_sent_as_they_change_and_what_says_that_all_is_whole_is_not(temporary: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("config.json", "summary.json", "metrics.jsonl", "recording.rrd"):
        (run / name).write_text(name)
    command = Guest({"run": pack(run)}, "run", ["--version"])
    assert wait_for_end(command)[1] == {"metrics.jsonl": b"metrics.jsonl"}
    assert command.news().files == {}
    there = next(temporary.glob("*/run"))
    (there / "metrics.jsonl").write_text("more")
    assert command.news().files == {"metrics.jsonl": b"more"}
    content = command.folder()
    assert content is not None
    unpack(content, tmp_path / "home")
    assert (tmp_path / "home/run/metrics.jsonl").read_text() == "more" and (tmp_path / "home/run/checkpoints").is_dir()
    command.clear()


def test_lock_stays_where_it_is_and_what_is_linked_is_packed_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    descriptor = own(run)
    (run / "one").write_bytes(os.urandom(200_000))
    os.link(run / "one", run / "two")
    content = pack(run)
    os.close(descriptor)
    unpack(content, tmp_path / "home")
    assert sorted(path.name for path in (tmp_path / "home/run").iterdir()) == ["one", "two"]
    assert (tmp_path / "home/run/two").read_bytes() == (run / "one").read_bytes()
    assert len(content) < 300_000


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(temporary: Path) -> None:
    used, left = (temporary / f"{guest.PREFIX}{name}" for name in ("used", "left"))
    descriptor = own(used)
    (left / "0").mkdir(parents=True)
    (left / "owner.lock").write_text("1\n")
    sweep()
    assert used.is_dir() and not left.exists()
    os.close(descriptor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are told of their parent's end on Linux")
def test_command_ends_with_the_process_that_started_it(temporary: Path) -> None:
    program = (
        "import time; from agps_agent.fleet.guest import Guest\n"
        "command = Guest({'o': None}, 'o', ['serve-model', '--port', '0'])\n"
        "print(command._process.pid, flush=True); time.sleep(600)"
    )
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root, "TMPDIR": str(temporary)}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not Path(f"/proc/{child}").exists() or "State:\tZ" in Path(f"/proc/{child}/status").read_text())
