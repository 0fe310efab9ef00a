"""The emulator's own process: renders, answers the sockets, and owns the process of the arm.

    python -m rl.robots.emulator.process

It reads its configuration from standard input, writes one line with its addresses, and ends when standard input is
closed: however its owner dies, nothing is left behind.
"""

import concurrent.futures
import json
import logging
import multiprocessing
import os
import pickle
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl.robots.clock import Clock
from rl.robots.emulator.cameras import CameraStudio
from rl.robots.emulator.pace import Pace
from rl.robots.emulator.profiles import CameraProfile, header, task_cameras
from rl.robots.emulator.shared import SharedScene
from rl.robots.engine import mujoco
from rl.robots.mujoco import apply_variation, build_model, nominal_arrays
from rl.tasks.base import SimulatedTask

FAULTS = ("reflex", "freeze", "die", "slow", "force", "gripper", "camera_stall", "clear")
"""What `FAULT` knows."""
HOST = "127.0.0.1"
"""Nothing here is reachable from another machine."""
_FRAME = struct.Struct("<Qd")
_EVER_S = 1e9
_ANSWER_S = 5.0
_PACE_S = 30.0
"""Longest wait until the arm has measured its pace, [s]."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EmulatorConfig:
    """What the process is started with."""

    task: SimulatedTask
    profiles: tuple[CameraProfile, ...]
    seed: int = 0
    port: int = 0
    """TCP port of cameras and truth; 0: any free one."""
    hostname: str | None = None
    """Loopback address of the arm; None: the first free one."""
    slowdown: float | None = None
    """Host seconds per second of the station; None: what this computer needs."""


class SceneServer:
    """Serves frames, truth, resets and faults to any number of connections."""

    def __init__(self, config: EmulatorConfig, ask_arm: Callable[[str, Any], str], memory: Any, model: Any) -> None:
        self._config, self._ask_arm = config, ask_arm
        self._model = model
        self._scene = SharedScene(model, memory)
        self._data = mujoco.MjData(model)
        self._truth_lock = threading.Lock()
        self._nominal = nominal_arrays(model)
        names = [model.site(i).name for i in range(model.nsite)]
        self._sites = {name.removeprefix("truth/"): i for i, name in enumerate(names) if name.startswith("truth/")}
        bodies = config.task.scene_mjcf().truth_bodies
        self._bodies = {name: model.body(body).id for name, body in bodies.items()}
        self.studio = CameraStudio(config.task, model, self._scene, config.profiles)
        self._vary(config.seed)

    def _vary(self, seed: int) -> None:
        """Show lights, colours and camera places of an episode; movable bodies come from the arm's process."""
        variation = self._config.task.sample_scene(np.random.default_rng(seed))
        with self.studio.model_lock:
            apply_variation(self._model, mujoco.MjData(self._model), self._nominal, variation)

    def truth(self) -> dict[str, list[float]]:
        """Return the scene's named points, base frame, [m]."""
        with self._truth_lock:
            self._scene.read(self._data)
            mujoco.mj_kinematics(self._model, self._data)
            points = {name: self._data.site_xpos[i].tolist() for name, i in self._sites.items()}
            return points | {name: self._data.xpos[i].tolist() for name, i in self._bodies.items()}

    def answer(self, line: str) -> str:
        """Return the reply to a line that is not about a camera."""
        command, *values = line.split()
        if command == "TRUTH":
            return json.dumps(self.truth())
        if command == "STEPS":
            return f"{self._ask_arm('steps', None)} {time.process_time():.3f}"
        if command == "RESET" and len(values) == 1 and values[0].isdecimal():
            reply = self._ask_arm("reset", int(values[0]))
            self._vary(int(values[0]))
            return reply
        if command == "FAULT" and values:
            return self._fault(values[0], values[1:])
        return "error: write CAMERA <name>, TRUTH, RESET <seed> or FAULT <name> [value]"

    def _fault(self, name: str, values: list[str]) -> str:
        if name not in FAULTS:
            return f"error: there is no fault {name}; use one of {', '.join(FAULTS)}"
        numbers = values[1:2] if name == "camera_stall" else values[:1] if name in ("freeze", "slow", "force") else []
        if any(not _is_number(value) for value in numbers) or (name in ("slow", "force") and not numbers):
            return f"error: {name} needs a number, got {' '.join(values) or 'nothing'}"
        if name in ("camera_stall", "clear"):
            cameras = values[:1] if name == "camera_stall" else list(self.studio.names)
            if not cameras or cameras[0] not in self.studio.names:
                return f"error: camera_stall needs one of {', '.join(self.studio.names)}"
            duration_s = 0.0 if name == "clear" else float(values[1]) if len(values) > 1 else _EVER_S
            for camera in cameras:
                self.studio.stall(camera, duration_s)
        if name == "camera_stall":
            return "ok"
        return self._ask_arm("fault", (name, values))

    def serve(self, connection: socket.socket) -> None:
        """Talk to one client until it leaves."""
        try:
            with connection, connection.makefile("r", encoding="utf-8", newline="\n") as lines:
                for line in lines:
                    command, _, name = line.strip().partition(" ")
                    if command == "CAMERA" and name in self.studio.names:
                        self._stream(connection, name)
                    elif command == "CAMERA":
                        known = ", ".join(self.studio.names)
                        connection.sendall(f"error: there is no camera {name}; there are {known}\n".encode())
                    elif command:
                        connection.sendall(f"{self.answer(line)}\n".encode())
        except (OSError, ValueError) as error:
            _logger.info("A client left: %s", error)

    def _stream(self, connection: socket.socket, name: str) -> None:
        profile = next(profile for profile in self._config.profiles if profile.name == name)
        head = json.dumps(header(task_cameras(self._config.task)[name], profile))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(f"{head}\n".encode())
        self.studio.watch(name, +1)
        try:
            number = -1
            while True:
                frame = self.studio.next_frame(name, number)
                number = frame.number
                connection.sendall(_FRAME.pack(number, frame.time_s) + frame.rgb.tobytes() + frame.depth.tobytes())
        finally:
            self.studio.watch(name, -1)

    def accept(self, listener: socket.socket) -> None:
        """Take connections for ever, one thread each."""
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()


def _is_number(text: str) -> bool:
    try:
        return float(text) >= 0.0
    except ValueError:
        return False


def _start_arm(config: EmulatorConfig, model: Any) -> tuple[str, Callable[[str, Any], str], Any]:
    """Start the arm's process; return its address, how to ask it, and the memory it writes."""
    from rl.robots.emulator.fci import run_arm

    context = multiprocessing.get_context("spawn")
    memory = context.RawArray("d", SharedScene.size(model))
    ours, theirs = context.Pipe()
    process = context.Process(
        target=run_arm, args=(config.task, config.seed, config.hostname, memory, theirs), daemon=True
    )
    process.start()
    theirs.close()
    hostname = str(ours.recv())
    lock = threading.Lock()

    def ask(kind: str, value: Any) -> str:
        with lock:
            try:
                ours.send((kind, value))
                if kind == "fault" and value[0] == "die":
                    process.join(_ANSWER_S)
                    return "ok"
                wait_s = _PACE_S if kind == "pace" else _ANSWER_S
                return str(ours.recv()) if ours.poll(wait_s) else "error: the arm does not answer"
            except (OSError, EOFError):
                return "error: the arm's process has ended"

    return hostname, ask, memory


def main() -> int:
    """Read the configuration, start everything, render until the owner is gone."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    (size,) = struct.unpack("<Q", sys.stdin.buffer.read(8))
    config: EmulatorConfig = pickle.loads(sys.stdin.buffer.read(size))
    model = build_model(config.task)
    try:
        address, ask, memory = _start_arm(config, model)
    except ImportError as error:
        sys.stdout.write(json.dumps({"lacks": str(error)}) + "\n")
        return 1
    os.nice(5)  # images may be late, the arm may not
    server = SceneServer(config, ask, memory, model)
    told = _set_clock(config, ask, server.studio)
    with socket.create_server((HOST, config.port)) as listener:
        threading.Thread(target=server.accept, args=(listener,), daemon=True).start()
        threading.Thread(target=_end_with_owner, daemon=True).start()
        sys.stdout.write(json.dumps({"ip": address, "port": listener.getsockname()[1], **told}) + "\n")
        sys.stdout.flush()
        server.studio.run()
    return 0


def _set_clock(config: EmulatorConfig, ask: Callable[[str, Any], str], studio: CameraStudio) -> dict[str, Any]:
    """Let arm and cameras run by the clock that was asked for, or that this computer keeps; return what it is."""
    if config.slowdown is not None:
        clock, why = Clock(config.slowdown), f"1 s of the station takes {config.slowdown:g} s, as asked for"
    else:
        pace = _measure(ask, studio)
        clock, why = pace.clock, str(pace)
    ask("clock", clock)
    studio.clock = clock
    return {"slowdown": clock.slowdown, "why": why}


def _measure(ask: Callable[[str, Any], str], studio: CameraStudio) -> Pace:
    """Return how fast the arm runs while the cameras are rendered."""
    studio.look()  # the first time is another one
    looks_s = [0.0]
    with concurrent.futures.ThreadPoolExecutor(1) as asking:
        measured = asking.submit(ask, "pace", None)
        while not measured.done():
            began_s = time.monotonic()
            studio.look()
            looks_s.append(time.monotonic() - began_s)
    rate, step_s = measured.result().split()
    return Pace(rate=float(rate), step_s=float(step_s), look_s=max(looks_s))


def _end_with_owner() -> None:
    while sys.stdin.buffer.read(4096):
        time.sleep(0.1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
