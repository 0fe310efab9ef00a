"""The calibration of one camera on one mount, as a JSON file."""

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rl.errors import AgpsError, ConfigError
from rl.guard import FARTHEST_M, is_pose
from rl.robots.station import Mount
from rl.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class CameraCalibration:
    """Where a camera sits on its mount, and how well that is known."""

    camera: str
    """Name in the station file."""
    serial: str
    mount: Mount
    width: int
    height: int
    """Of the profile that was calibrated, [px]: intrinsics change with it."""
    T_mount_cam: tuple[tuple[float, ...], ...]
    """Camera pose, OpenCV axes: T_tcp_cam for mount `hand`, T_base_cam for `world`. Shape (4, 4), [m]."""
    residual_mm: float
    """Root mean square position error on held-out views, [mm]."""
    residual_deg: float
    """Root mean square rotation error on held-out views, [deg]."""
    poses: int
    """Views that were used."""
    date: str
    """ISO date and time, UTC."""
    board: str
    """Board, e.g. `charuco 8x6 25.00 mm`."""

    @property
    def T(self) -> FloatArray:
        """`T_mount_cam` as an array. Shape (4, 4), [m]."""
        return np.array(self.T_mount_cam, float)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            AgpsError: If the disk refuses.
        """
        path = Path(path)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise AgpsError(
                f"Cannot write {path}: {error.strerror or error}; make room, or name another file."
            ) from error

    @classmethod
    def load(cls, path: Path) -> "CameraCalibration":
        """Return the calibration in a file.

        Raises:
            ConfigError: If there is none, or it is damaged or not a rigid pose.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            calibration = _ADAPTER.validate_python(content)
            T = calibration.T
        except FileNotFoundError:
            raise ConfigError(f"There is no calibration {path}; `agps calibrate` makes one.") from None
        except (OSError, ValueError, ValidationError) as error:
            raise ConfigError(f"{path} is no camera calibration or damaged; run `agps calibrate` again.") from error
        if not is_pose(T) or not np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-6):
            raise ConfigError(
                f"T_mount_cam in {path} is not a rigid pose in m within {FARTHEST_M:g} m; run `agps calibrate` again."
            )
        if not (0.0 <= calibration.residual_mm < np.inf and 0.0 <= calibration.residual_deg < np.inf):
            raise ConfigError(f"{path} holds a residual that is no error; run `agps calibrate` again.")
        return calibration


_ADAPTER = TypeAdapter(CameraCalibration)
