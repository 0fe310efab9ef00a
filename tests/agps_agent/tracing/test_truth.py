import gc

import numpy as np

from agps_agent.tracing.truth import Truths
from tests.tools.scenes import scene


def test_truth_is_kept_as_long_as_its_scene() -> None:
    truths, asked, unasked = Truths(), scene(), scene()
    for number, at in enumerate((asked, unasked)):
        truths.note(at, {"port": np.full(3, float(number))})
    np.testing.assert_array_equal(truths.of(asked)["port"], np.zeros(3))
    del unasked, at
    gc.collect()
    assert len(truths) == 1 and truths.of(scene()) == {}
