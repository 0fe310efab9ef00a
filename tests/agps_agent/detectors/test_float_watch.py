"""FLOAT as a run's detector: whether the newest frames alone count, by what it is compared with."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from agps_agent.detectors import FloatConfig
from agps_agent.detectors.float_watch import FloatWatch
from rl.types import Observation, RobotState

Path = npt.NDArray[np.float64]
ROBOT = RobotState(T_base_tcp=np.eye(4), twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)
SEEN = Observation(images={}, state=np.zeros(2, np.float32), robot=ROBOT, T_base_ref=np.eye(4), step=0)


@pytest.mark.parametrize(
    ("references", "own", "local", "watches"),
    [
        (8, 8, None, True),
        (8, 4, None, True),
        (8, 3, None, False),
        (8, 0, None, False),
        (7, 7, None, False),
        (8, 0, True, True),
        (8, 8, False, False),
    ],
)
def test_local_term_counts_where_enough_references_are_the_run_s_own(
    good_rollout: Callable[[], Path], references: int, own: int, local: bool | None, watches: bool
) -> None:
    """A rollout that turns away at its end is seen by the newest frames first."""
    watch = FloatWatch(60, FloatConfig(local=local, local_from=8))
    watch.note_own(own)
    assert watch.fit([good_rollout() for _ in range(references)])
    watch.reset()
    rollout = good_rollout()
    rollout[12:] = -3.0 * rollout[12:]
    reasons = [watch.update(SEEN, frame).reason for frame in rollout]
    assert ("local" in reasons) == watches
    assert any(reasons)
