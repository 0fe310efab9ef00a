import json

import numpy as np
import pytest

from agps_agent.measure.grounding import bench_grounding
from agps_agent.measure.swaps import pairs_of, swapped
from agps_agent.models.faults import FaultPlan
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.server import serve_model
from prompts.loader import task_names
from rl.errors import ConfigError
from tests.agps_agent.scenes import LEFT, PORT, RIGHT, camera, draw
from tools.perception import is_shown, project


@pytest.mark.parametrize("task", task_names())
def test_keypoints_are_found_where_the_simulator_has_them(task: str) -> None:
    counts: list[int] = []
    numbers = bench_grounding(task, scenes=2, absent=1, seed=3, report=counts.append)
    assert counts == [1, 2, 3]
    assert numbers["median_px"] < 4.0 and numbers["median_mm"] < 5.0
    assert (numbers["missed"], numbers["swapped"], numbers["absent_rejected"]) == (0.0, 0.0, 1.0)
    assert numbers["shown"] + numbers["hidden"] == 3 * len(numbers["keypoints"])
    json.dumps(numbers)


def test_keypoint_behind_something_counts_as_hidden() -> None:
    seen, covered = draw(camera()), draw(camera(), cover=PORT + [0.012, -0.005, 0.012])
    shown = [is_shown(frame, LEFT, 0.006) for frame in (seen, covered)]
    assert shown == [True, False]


def test_keypoint_outside_of_the_image_counts_as_hidden() -> None:
    assert not is_shown(draw(camera()), LEFT + [0.0, 1.0, 0.0], 0.006)


def test_scene_without_a_useful_answer_is_neither_missed_nor_rejected() -> None:
    with serve_model(EmbeddedVLM(), faults=FaultPlan(("prose",), share=0.5, seed=1)) as server:
        numbers = bench_grounding("usb_insertion", scenes=5, absent=3, seed=3, vlm=server.url)
        server.shutdown()
    assert numbers["faults"] == {"not_json": numbers["unanswered"]} and 0 < numbers["unanswered"] < 8
    assert numbers["shown"] + numbers["hidden"] == 2 * (8 - numbers["unanswered"])
    assert (numbers["missed"], numbers["absent_rejected"]) == (0.0, 1.0)


def test_model_that_never_answers_tells_nothing() -> None:
    with serve_model(EmbeddedVLM(), faults=FaultPlan(("prose",))) as server:
        with pytest.raises(ConfigError, match="no useful answer in any of 2 scenes; the last time: "):
            bench_grounding("usb_insertion", scenes=1, absent=1, vlm=server.url)
        server.shutdown()


def test_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="no prompt for task 'juggling'"):
        bench_grounding("juggling")


def test_keypoints_called_alike_but_for_the_side_are_a_pair() -> None:
    assert pairs_of(["port_left", "plug_tip", "port_right", "left_lid"]) == [("port_left", "port_right")]
    assert pairs_of(["cleft", "cright"]) == []


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [((0, 2), (1, -3), set()), ((1, 2), (0, -3), {"l", "r"}), ((1, 2), (1, -3), set())],
)
def test_keypoints_that_are_given_each_others_place_are_swapped(left, right, expected) -> None:
    frame, truth = draw(camera()), {"l": LEFT, "r": RIGHT}
    at = [project(frame, point)[0] for point in truth.values()]
    found = {name: (at[which][0] + off, at[which][1]) for name, (which, off) in {"l": left, "r": right}.items()}
    assert swapped(frame, found, truth, [("l", "r")]) == expected


def test_hidden_half_of_a_pair_cannot_be_swapped() -> None:
    frame = draw(camera())
    u, v = project(frame, RIGHT)[0]
    assert swapped(frame, {"l": (u, v), "r": (u, v)}, {"l": LEFT}, [("l", "r")]) == set()


def test_error_is_that_to_the_projected_truth() -> None:
    frame = draw(camera())
    pixel, depth_m = project(frame, PORT)
    p = frame.T_base_cam[:3, :3] @ (np.linalg.inv(frame.K) @ [*pixel, 1.0] * depth_m) + frame.T_base_cam[:3, 3]
    np.testing.assert_allclose(p, PORT, atol=1e-9)
