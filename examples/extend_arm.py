"""An arm of one's own in place of an FR3: it obeys at once (docs/extend/arm.md).

python examples/extend_arm.py
agps doctor --station station.toml --task usb_insertion
agps train usb_insertion --robot station --station station.toml --method serl --dry-run
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rl.envs.robot import RobotEnv, limits_at
from rl.errors import HardwareFault
from rl.robots.base import Arm
from rl.robots.cameras import CameraRig
from rl.robots.clock import REAL_TIME, Clock
from rl.robots.real.backend import StationBackend
from rl.robots.station import load_station
from rl.tasks import get_task
from rl.transforms import TOOL_DOWN, pose
from rl.types import Box, FloatArray, RobotState

HERE = Path(__file__).resolve().parent
STATION = f"""
[arm]
kind = "{HERE}/extend_arm.py:PointArm"
ip = "192.0.2.7"
[workspace]
lower = [0.40, -0.10, 0.05]
upper = [0.60, 0.10, 0.30]
"""
CAMERA = """
[[cameras]]
name = "{name}"
kind = "{here}/extend_camera.py:FlatCamera"
device = "{name}"
mount = "{mount}"
"""


@dataclass(frozen=True, kw_only=True)
class PointConfig:
    """What [arm] may say."""

    ip: str
    """Address of the controller."""


class PointArm(Arm):
    """Its TCP is where it was told to be; no force is felt."""

    config_class = PointConfig

    def __init__(self, config: PointConfig, workspace: Box, *, clock: Clock = REAL_TIME) -> None:
        self._T, self._follows = pose((workspace.lower + workspace.upper) / 2, TOOL_DOWN), False

    def measure(self) -> RobotState:
        return RobotState(T_base_tcp=self._T.copy(), twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=1.0)

    def pose_at(self, time_s: float) -> FloatArray:
        return self._T.copy()  # an arm that moves remembers: rl.robots.real.history.PoseHistory

    def start(self) -> None:
        self._follows = True

    def command(self, T_base_target: FloatArray) -> None:
        if not self._follows:
            raise HardwareFault("The arm was stopped and follows no targets; call start.")
        self._T = T_base_target.copy()

    def move_to(self, T_base_tcp: FloatArray, *, speed_m_s: float = 0.1) -> None:
        self.command(T_base_tcp)  # an arm that takes its time: rl.robots.real.line.follow_line

    def hold(self) -> None:
        """Stay: it is at rest already."""

    def stop(self) -> None:
        self._follows = False

    def close(self) -> None:
        self.stop()


def write_station(folder: Path) -> Path:
    """Write the station of this arm, with the cameras of USB insertion, and return the file."""
    mounts = {"wrist_1": "hand", "wrist_2": "hand", "side": "world"}
    cameras = [CAMERA.format(name=name, here=HERE, mount=mount) for name, mount in mounts.items()]
    file = folder / "station.toml"
    file.write_text("".join([STATION, *cameras]))
    return file


def run_episode(station_file: Path, *, steps: int = 20) -> list[FloatArray]:
    """Return where the TCP was after each step of an episode that moves along +x, [m]."""
    station = load_station(station_file)
    task = get_task("usb_insertion")
    backend = StationBackend(task, station, cameras=CameraRig(station.cameras, task, clock=station.clock))
    env = RobotEnv(task, backend, limits=limits_at(task, station.workspace), clock=station.clock)
    env.reset(seed=0)
    forward = np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0], np.float32)
    places = [env.step(forward)[4]["observation"].robot.T_base_tcp[:3, 3] for _ in range(steps)]
    env.halt()
    env.close()
    return places


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for place in run_episode(write_station(Path(folder))):
            print(place.round(4))
