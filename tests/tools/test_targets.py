import numpy as np
import pytest

from tests.tools.scenes import PORT
from tools.errors import ToolRetry
from tools.targets import resolve_target


def test_target_is_a_label_two_labels_or_the_middle_of_left_and_right():
    for target in ("port", ("port_left", "port_right")):
        np.testing.assert_allclose(resolve_target(target, PORT), [0.5, 0.0, 0.055], atol=1e-12)
    np.testing.assert_allclose(resolve_target("port_left", PORT), [0.5, -0.01, 0.055], atol=1e-12)


def test_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(ToolRetry, match="known ones: port_left, port_right") as retry:
        resolve_target("socket", PORT)
    assert retry.value.reason == "unknown_keypoint"


def test_fraction_goes_beyond_the_second_of_two_labels():
    target = resolve_target(("port_left", "port_right"), PORT, fraction=1.5)
    np.testing.assert_allclose(target, [0.5, 0.02, 0.055], atol=1e-12)


def test_label_counts_in_any_case():
    np.testing.assert_allclose(resolve_target(("Port Left", "PORT-RIGHT"), PORT), [0.5, 0.0, 0.055], atol=1e-12)
    np.testing.assert_allclose(resolve_target("Port", PORT), [0.5, 0.0, 0.055], atol=1e-12)
