"""Starts and ends an emulator in processes of its own."""

import importlib.util
import json
import logging
import os
import pickle
import select
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rl.errors import ConfigError, HardwareFault
from rl.robots.clock import REAL_TIME, Clock
from rl.robots.emulator.client import EmulatorClient
from rl.robots.emulator.process import HOST, EmulatorConfig
from rl.robots.emulator.profiles import CameraProfile, check_profiles, default_profiles
from rl.robots.emulator.station import write_station
from rl.tasks.base import SimulatedTask
from rl.types import FloatArray

logger = logging.getLogger(__name__)

START_S = 180.0
"""Longest wait until the emulator answers, [s]."""


class Emulator:
    """An FR3 with gripper and cameras over a task's scene, behind the real protocols.

    ```python
    with Emulator(UsbInsertion()) as emulator:
        station = load_station(emulator.station)
    ```

    It ends with the block, and with this process however that ends.
    """

    def __init__(
        self,
        task: SimulatedTask,
        *,
        station: Path | None = None,
        cameras: Sequence[CameraProfile] | None = None,
        image_size: tuple[int, int] = (424, 240),
        fps: int = 10,
        port: int = 0,
        hostname: str | None = None,
        seed: int = 0,
        slowdown: float | None = None,
    ) -> None:
        """Describe it; nothing is started.

        Args:
            task: Scene and start of the arm.
            station: Station file to write; one in a temporary folder if None.
            cameras: What the cameras are; the task's, see `default_profiles`, if None.
            image_size: Width and height of the cameras where `cameras` is None, [px].
            fps: Their frames per second.
            port: TCP port of cameras, truth and faults; 0: any free one.
            hostname: Loopback address of the arm; None: the first free one.
            seed: Of the scene.
            slowdown: Host seconds per second of the station's clock; None: as many as this computer needs, which is
                measured when it starts.

        Raises:
            ConfigError: If the task has no such camera, or the slowdown is out of range.
        """
        if slowdown is not None:
            Clock(slowdown)  # refuses
        self._task = task
        chosen = default_profiles(task, image_size=image_size, fps=fps) if cameras is None else cameras
        self.cameras: tuple[CameraProfile, ...] = tuple(chosen)
        """What the cameras are."""
        check_profiles(task, self.cameras)
        self._config = EmulatorConfig(
            task=task, profiles=self.cameras, seed=seed, port=port, hostname=hostname, slowdown=slowdown
        )
        self._wanted_station = station
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.ip = ""
        """Address of the arm and the gripper."""
        self.port = 0
        """Port of cameras, truth and faults on 127.0.0.1."""
        self.station = Path()
        """The station file."""
        self.clock = REAL_TIME
        """The station's, once it has started."""
        self.pace = ""
        """Why it is that one: what was measured, in words."""

    def start(self) -> "Emulator":
        """Start the processes and write the station file.

        Raises:
            ConfigError: If franky-sim is missing.
            HardwareFault: If the emulator does not come up.
        """
        if importlib.util.find_spec("franky_sim") is None:
            raise ConfigError("The emulator needs franky-sim; run `pip install 'agps[emulator]'`.")
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rl.robots.emulator.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the owner, whose end ends this
        )
        try:
            addresses = self._hello(pickle.dumps(self._config))
        except BaseException:
            self.close()
            raise
        self.ip, self.port = addresses["ip"], addresses["port"]
        self.clock, self.pace = Clock(addresses["slowdown"]), addresses["why"]
        if self.clock.slowdown > 1.0:
            logger.info("The emulator's clock is slower than real time: %s.", self.pace)
        if self._wanted_station is None:
            self._folder = tempfile.TemporaryDirectory(prefix="agps-emulator-")
        self.station = self._wanted_station or Path(self._folder.name if self._folder else ".") / "station.toml"
        write_station(
            self.station,
            self._task,
            self.cameras,
            ip=self.ip,
            host=HOST,
            port=self.port,
            slowdown=self.clock.slowdown,
        )
        return self

    def _hello(self, config: bytes) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(struct.pack("<Q", len(config)) + config)
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; what it said is read below
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        line = process.stdout.readline() if ready else b""
        if not line:
            reason = "did not answer" if not ready else "ended"
            raise HardwareFault(f"The emulator {reason} while it started; what it wrote is above.")
        addresses: dict[str, Any] = json.loads(line)
        if "lacks" in addresses:
            raise ConfigError(
                f"The emulator cannot load what it needs ({addresses['lacks']}); run `pip install 'agps[emulator]'`."
            )
        return addresses

    @property
    def url(self) -> str:
        """Address of the scene, as in a station's `truth`."""
        return f"emulator://{HOST}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process runs (the arm in it may have died of a fault)."""
        return self._process is not None and self._process.poll() is None

    def truth(self) -> dict[str, FloatArray]:
        """Return the scene's named points, base frame, each (3,), [m]."""
        client = EmulatorClient(self.url)
        try:
            return client.truth()
        finally:
            client.close()

    def reset(self, seed: int) -> None:
        """Draw the scene of another episode; the arm stays where it is."""
        client = EmulatorClient(self.url)
        try:
            client.reset(seed)
        finally:
            client.close()

    def fault(self, name: str, *values: object) -> None:
        """Plant a fault, see `EmulatorClient.fault`."""
        client = EmulatorClient(self.url)
        try:
            client.fault(name, *values)
        finally:
            client.close()

    def clocks_s(self) -> tuple[float, float, float]:
        """Return the arm's own clock, and the CPU time of arm and cameras, see `EmulatorClient.clocks_s`."""
        client = EmulatorClient(self.url)
        try:
            return client.clocks_s()
        finally:
            client.close()

    def wait(self) -> int:
        """Wait until the process ends and return its exit code."""
        return self._process.wait() if self._process is not None else 0

    def close(self) -> None:
        """End the processes and remove the temporary folder."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()  # the process ends when its standard input does
                    except BrokenPipeError:
                        pass
            try:
                process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> "Emulator":
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self.close()
