"""How the simulated fingers hold something soft: its points near the TCP are tied to the hand while they are closed.

Friction alone lifts a coarse cloth three times in four; a tie made when the fingers close lifts it each time, at no
cost. Ties are `connect` equalities, which the model has beforehand, inactive: one `mj_step` call per control step stays
enough.
"""

from typing import Any

import numpy as np

from rl.tasks.base import SoftGrasp
from rl.types import FloatArray

MODEL_ARRAYS = ("eq_obj2id", "eq_data", "geom_conaffinity")
"""What a grasp changes in the model, not in the state."""


def ties_mjcf(grasp: SoftGrasp) -> str:
    """Return the equalities that a grasp makes active, for `<equality>`."""
    return "".join(
        f'<connect name="tie_{i}" body1="hand" body2="{grasp.bodies[0]}" anchor="0 0 0" active="false" '
        'solref=".02 1" solimp=".9 .95 .001"/>'
        for i in range(grasp.points)
    )


class Grasp:
    """Ties points of one model to its hand. What it knows is in the model and its data: a snapshot has it all."""

    def __init__(self, model: Any, grasp: SoftGrasp) -> None:
        self._model = model
        self._reach = grasp.reach
        self._bodies = np.array([model.body(name).id for name in grasp.bodies])
        self._ties = np.array([model.equality(f"tie_{i}").id for i in range(grasp.points)])
        self._geoms = np.array([model.geom(name).id for name in grasp.finger_geoms], dtype=int)
        self._conaffinity = model.geom_conaffinity[self._geoms].copy()
        self._hand, self._tcp = model.body("hand").id, model.site("tcp").id

    def held(self, data: Any) -> bool:
        """Return whether something is tied to the hand."""
        return bool(data.eq_active[self._ties].any())

    def release(self, data: Any) -> None:
        """Untie everything and let the fingers touch it again."""
        data.eq_active[self._ties] = 0
        self._model.geom_conaffinity[self._geoms] = self._conaffinity

    def tie(self, data: Any) -> None:
        """Tie the points within reach, nearest to the TCP first, where they are; nothing if there are none."""
        in_tcp = (data.xpos[self._bodies] - data.site_xpos[self._tcp]) @ data.site_xmat[self._tcp].reshape(3, 3)
        inside = np.all((in_tcp >= self._reach.lower) & (in_tcp <= self._reach.upper), axis=1)
        nearest = np.argsort(np.where(inside, np.linalg.norm(in_tcp, axis=1), np.inf), kind="stable")
        for tie, index in zip(self._ties, nearest[: int(inside.sum())], strict=False):
            body = self._bodies[index]
            self._model.eq_obj2id[tie] = body
            self._model.eq_data[tie, :3] = self._in_hand(data, data.xpos[body])
            self._model.eq_data[tie, 3:6] = 0.0
            data.eq_active[tie] = 1
        if self.held(data):  # the pads would drag what they hold along when they open
            self._model.geom_conaffinity[self._geoms] = 0

    def _in_hand(self, data: Any, position: FloatArray) -> FloatArray:
        offset = position - data.xpos[self._hand]
        return np.asarray(offset @ data.xmat[self._hand].reshape(3, 3))
