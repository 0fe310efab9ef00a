"""The seam between the environment and an arm: fake, simulated or real."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np

from rl.types import CONTROL_RATE_HZ as CONTROL_RATE_HZ
from rl.types import ByteArray, FloatArray, RGBDFrame, RobotState

CLOSED_BELOW = 0.5
"""Opening below which fingers hold what is between them."""


class Backend(Protocol):
    """One arm with a gripper and cameras that follows TCP targets."""

    def reset(self, T_base_tcp: FloatArray, rng: np.random.Generator) -> RobotState:
        """Bring arm and scene to the start of an episode, tare the wrench and return the first measurement.

        Args:
            T_base_tcp: Start pose of the TCP. Shape (4, 4), [m].
            rng: Source of everything that is random about the scene.
        """

    def command(self, T_base_target: FloatArray, gripper_opening: float) -> RobotState:
        """Follow a guarded target for one control period and return the measurement at its end.

        Args:
            T_base_target: Pose of the TCP to hold. Shape (4, 4), [m].
            gripper_opening: 0 closed, 1 open.
        """

    def policy_images(self, image_size: int) -> dict[str, ByteArray]:
        """Return the square image of each policy camera, shape (image_size, image_size, 3)."""

    def capture(self, cameras: Collection[str] | None = None) -> tuple[RGBDFrame, ...]:
        """Return full-resolution RGB-D of the named agent cameras, of all if None; the default one is the first."""

    def truth(self) -> Mapping[str, FloatArray]:
        """Return named points in the base frame that only a simulator knows, each (3,), [m]; empty on a real arm."""

    def snapshot(self) -> Any:
        """Return everything that `restore` needs to continue from here, bit for bit."""

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of this backend."""

    def close(self) -> None:
        """Release simulators, sockets and cameras."""
