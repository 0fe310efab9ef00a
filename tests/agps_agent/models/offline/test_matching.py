from dataclasses import replace

import numpy as np
import pytest

from agps_agent.models.offline.matching import Match, View, find_places, make_template
from rl.types import RGBDFrame
from tests.agps_agent.scenes import LEFT, PORT, camera, draw, project


def found(frame: RGBDFrame, *, turn_rad: float = 0.2) -> Match:
    """The likeliest place of the left end of the port, which was marked as seen from straight ahead."""
    reference = draw(camera())
    template = make_template("port_left", reference, tuple(project(reference, LEFT[np.newaxis])[0]))
    assert template is not None
    return find_places([template], View.of(frame), turn_rad=turn_rad)[0]


@pytest.mark.parametrize(("azimuth", "distance_m"), [(0.0, 0.42), (0.15, 0.42), (-0.2, 0.42), (0.1, 0.55), (0.0, 0.33)])
def test_place_is_found_from_elsewhere_and_from_further_away(azimuth: float, distance_m: float) -> None:
    frame = draw(camera(azimuth, distance_m=distance_m))
    place = found(frame)
    np.testing.assert_allclose(place.uv, project(frame, LEFT[np.newaxis])[0], atol=3.0)
    np.testing.assert_allclose(place.p_base, LEFT, atol=0.004)
    assert place.score > 0.7


@pytest.mark.parametrize("gain", [(0.6, 0.6, 0.6), (1.4, 1.4, 1.4), (1.2, 1.0, 0.8)])
def test_place_is_found_in_other_light(gain: tuple[float, float, float]) -> None:
    frame = draw(camera(0.1))
    lit = replace(frame, rgb=np.clip(frame.rgb * np.array(gain), 0, 255).astype(np.uint8))
    np.testing.assert_allclose(found(lit).uv, project(frame, LEFT[np.newaxis])[0], atol=3.0)


def test_what_is_not_there_is_little_alike() -> None:
    assert found(draw(camera(0.1), with_port=False)).score < 0.4


def test_place_that_something_hides_is_little_alike() -> None:
    """A blue block stands before the whole port."""
    assert found(draw(camera(), cover=PORT + [0.02, 0.0, 0.02])).score < 0.5


def test_mark_without_depth_gives_no_template() -> None:
    frame = draw(camera())
    assert make_template("port_left", replace(frame, depth_m=np.zeros_like(frame.depth_m)), (320.0, 240.0)) is None


def test_same_shape_in_another_place_is_told_by_its_colour() -> None:
    """Red where it was grey and grey where it was black: no light does that."""
    frame = draw(camera())
    painted = frame.rgb.copy()
    painted[(frame.rgb > 200).all(axis=2)] = (200, 20, 10)
    assert found(replace(frame, rgb=painted)).score < found(frame).score - 0.25
