"""A fleet on two machines, which are two network namespaces of this one, as docs/fleet.md says to start it.

Everything is killed at random moments, and the far machine is cut off. Run it by hand: `pytest -m slow -s FILE`.
"""

import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.run.directory import RunDirectory
from tests.agps_agent.fleet.bad_line import BadLine, open_tun
from tests.agps_agent.fleet.counted import check_that_each_episode_counts_once

# Not imported here: Ray reads when it is imported whether tokens are wanted.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'agps[distributed]'"
)
psutil: Any = pytest.importorskip("psutil", reason="psutil finds the processes to kill")

KILLS = int(os.environ.get("AGPS_FLEET_KILLS", "50"))
"""Kills of each kind of process; a tenth of them on a bad line."""
FAR, NEAR_IP, FAR_IP, PORT = "agps-far", "10.77.13.1", "10.77.13.2", 6391
NEAR_END, FAR_END = "agps-near0", "agps-far0"
PARTITION_S = 10.0
DELAY_S, LOST = 0.05, 0.01
"""Of the bad line: each packet is so late on its way, and this share of them never arrives."""
BACK_S = 240.0
"""Longest time until what was killed takes part again on a slow machine, [s]."""
BIN = Path(sys.executable).parent


def call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@dataclass
class Machines:
    """The head here, and a machine with an address of its own in a namespace."""

    folder: Path
    env: dict[str, str]
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    line: BadLine | None = None

    def start(self, name: str, *command: str | Path) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.started[name] = subprocess.Popen(
            [str(part) for part in command],
            env=self.env,
            cwd=self.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def start_head(self) -> None:
        size = f"--object-store-memory={200 * 2**20}"
        here = f"--node-ip-address={NEAR_IP}"
        self.start("head", BIN / "ray", "start", "--head", here, f"--port={PORT}", "--num-cpus=1", size, "--block")

    def start_far(self) -> None:
        size, here = f"--object-store-memory={100 * 2**20}", f"--node-ip-address={FAR_IP}"
        join = (f"--address={NEAR_IP}:{PORT}", '--resources={"far": 1}', "--num-cpus=1", size, here, "--block")
        self.start("far", "ip", "netns", "exec", FAR, BIN / "ray", "start", *join)

    def kill_far(self) -> None:
        """End every process of the far machine, as a power cut does."""
        told = subprocess.run(["ip", "netns", "pids", FAR], capture_output=True, text=True, check=True)
        for process in told.stdout.split():
            os.kill(int(process), signal.SIGKILL)
        self.started.pop("far").wait()

    def cut_off(self) -> None:
        call("ip", "link", "set", NEAR_END, "down")
        time.sleep(PARTITION_S)
        call("ip", "link", "set", NEAR_END, "up")

    def start_memory(self) -> None:
        self.start("memory", BIN / "chroma", "run", "--path", self.folder / "memory", "--port", "8391")

    def kill(self, name: str) -> None:
        process = self.started.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(params=["good line", "bad line"])
def machines(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machines]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces want root")
    env = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "OMP_NUM_THREADS": "1"}
    env.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)  # tests keep clusters to this machine; this one has two
    env |= {"RAY_worker_niceness": "0", "RAY_agent_register_timeout_ms": "120000", "RAY_USAGE_STATS_ENABLED": "0"}
    made = Machines(tmp_path, env)
    with ExitStack() as opened:
        opened.callback(subprocess.run, ["ip", "netns", "del", FAR], check=False, capture_output=True)
        try:
            call("ip", "netns", "add", FAR)
            made.line = lay_line(opened, is_bad=request.param == "bad line")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this machine has no network namespaces, or no such line between them: {error}")
        opened.callback(subprocess.run, [BIN / "ray", "stop", "--force"], env=env, check=False, capture_output=True)
        opened.callback(subprocess.run, f"ip netns pids {FAR} | xargs -r kill -9", shell=True, check=False)
        opened.callback(lambda: [made.kill(name) for name in list(made.started)])
        made.start_head()
        time.sleep(20.0)
        made.start_far()
        made.start_memory()
        yield made


def lay_line(opened: ExitStack, *, is_bad: bool) -> BadLine | None:
    """Lay a line between here and the namespace."""
    line = None
    if is_bad:
        ends = open_tun(NEAR_END), open_tun(FAR_END)
        for end in ends:
            opened.callback(os.close, end)
        call("ip", "link", "set", FAR_END, "netns", FAR)
        line = BadLine(ends, delay_s=DELAY_S, lost=LOST)
        opened.callback(line.close)
    else:
        call("ip", "link", "add", NEAR_END, "type", "veth", "peer", "name", FAR_END, "netns", FAR)
        opened.callback(subprocess.run, ["ip", "link", "del", NEAR_END], check=False, capture_output=True)
    call("ip", "addr", "add", f"{NEAR_IP}/24", "dev", NEAR_END)
    call("ip", "link", "set", NEAR_END, "up")
    call("ip", "-n", FAR, "addr", "add", f"{FAR_IP}/24", "dev", FAR_END)
    call("ip", "-n", FAR, "link", "set", FAR_END, "up")
    call("ip", "-n", FAR, "link", "set", "lo", "up")
    return line


def process_of(kind: str) -> int | None:
    """A process of this kind of actor; None while there is none."""
    for process in psutil.process_iter(["name", "cmdline"]):
        if kind in " ".join(process.info["cmdline"] or ()) and "ray::" in " ".join(process.info["cmdline"] or ()):
            return int(process.pid)
    return None


def end_one(machines: Machines, kind: str) -> bool:
    """Kill, or cut off; return whether there was something to kill."""
    if kind == "far machine":
        machines.kill_far()
        machines.start_far()
    elif kind == "partition":
        machines.cut_off()
    elif kind == "memory server":
        machines.kill("memory")
        time.sleep(1.0)
        machines.start_memory()
    else:
        process = process_of(kind)
        if process is None:
            return False
        os.kill(process, signal.SIGKILL)
    return True


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_fleet_on_two_machines_survives_what_is_killed_and_cut_off(machines: Machines) -> None:
    folder = machines.folder
    (folder / "fleet.toml").write_text(
        f'[[robots]]\nname = "near"\n[[robots]]\nname = "far"\nnode = "far"\nfolder = "{folder}/far"\n'
    )
    run = RunDirectory(folder / "run")
    small = ("--drq.batch-size=16", "--drq.learning-starts=20", "--drq.hidden-size=32", "--drq.channels=8")
    machines.start(
        *("run", BIN / "agps", "train", "usb_insertion", "--fleet", "fleet.toml", "--ray", f"{NEAR_IP}:{PORT}"),
        *("--run-dir", run.path, "--demos", "1", "--max-env-steps", "1000000", "--eval-every", "0", "--pace", "10"),
        *("--eval-episodes", "1", "--checkpoint-every", "500", "--task-options.horizon", "15", "--agent-demos", "0"),
        *("--pretrain-steps", "10", "--memory", "http://127.0.0.1:8391", "--when-behind", "continue", *small),
    )
    kinds = ("LearnerActor", "RobotActor", "PoolActor", "memory server", "far machine")
    kills = KILLS if machines.line is None else -(-KILLS // 10)
    wanted = [kind for kind in kinds for _ in range(kills)] + ["partition"] * (1 + kills // 10)
    rng = np.random.default_rng(0)
    rng.shuffle(wanted)
    done: Counter[str] = Counter()
    episodes = 0
    for kind in wanted:
        episodes = await_episodes(machines, run, episodes + 2)
        time.sleep(float(rng.uniform(0.0, 2.0)))
        done[kind] += end_one(machines, kind)
        print(f"{sum(done.values())} of {len(wanted)}: {kind}, after {episodes} episodes", flush=True)
    await_episodes(machines, run, episodes + 6)
    process = machines.started["run"]
    process.send_signal(signal.SIGINT)
    process.wait(timeout=300.0)
    lives = check_that_each_episode_counts_once(run)
    print(dict(done), f"{sum(count for *_, count in lives)} episodes of {len(lives)} processes, each once", flush=True)
    print("packets:", "all" if machines.line is None else dict(machines.line.counts), flush=True)
    assert {robot for robot, _, _ in lives} == {"near", "far"}


def await_episodes(machines: Machines, run: RunDirectory, count: int) -> int:
    """Wait until so many episodes were learned from, and return how many are."""
    until = time.monotonic() + BACK_S
    while time.monotonic() < until:
        assert machines.started["run"].poll() is None, (machines.folder / "run.log").read_text()[-2000:]
        rows = run.read_metrics() if run.metrics.is_file() else []
        episodes = sum(row["kind"] == "episode" for row in rows)
        if episodes >= count:
            return episodes
        time.sleep(0.2)
    raise AssertionError(f"learning has stopped: {(machines.folder / 'run.log').read_text()[-3000:]}")
