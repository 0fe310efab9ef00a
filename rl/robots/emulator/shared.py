"""The scene's configuration in memory that the process of the arm writes and the process of the cameras reads."""

from typing import Any

import numpy as np

from rl.types import FloatArray


class SharedScene:
    """One writer, any number of readers, no lock: a reader takes again what was written while it read."""

    def __init__(self, model: Any, memory: Any) -> None:
        """Lay the arrays of a model over the memory."""
        self._array = np.frombuffer(memory, dtype=np.float64)
        if self._array.size != self.size(model):
            raise ValueError(f"The memory has {self._array.size} numbers; this model needs {self.size(model)}.")
        self._state = self._array[2:]

    @staticmethod
    def size(model: Any) -> int:
        """Return how many numbers a model needs: a count, the time, positions, movable bodies."""
        return 2 + int(model.nq) + 7 * int(model.nmocap)

    def write(self, data: Any, time_s: float) -> None:
        """Publish a configuration and the time of the station's clock that it is from, [s]."""
        self._array[0] += 1.0  # odd: being written
        self._state[:] = np.concatenate([data.qpos, data.mocap_pos.ravel(), data.mocap_quat.ravel()])
        self._array[1] = time_s
        self._array[0] += 1.0

    def read(self, data: Any) -> float:
        """Set the configuration in a model's data and return the time it is from, [s]."""
        while True:
            count = self._array[0]
            state: FloatArray = self._state.copy()
            time_s = float(self._array[1])
            if count == self._array[0] and count % 2 == 0:
                break
        nq, nmocap = data.qpos.size, data.mocap_pos.shape[0]
        data.qpos[:] = state[:nq]
        data.mocap_pos[:] = state[nq : nq + 3 * nmocap].reshape(nmocap, 3)
        data.mocap_quat[:] = state[nq + 3 * nmocap :].reshape(nmocap, 4)
        return time_s
