"""A second question about an enlarged part of the image, and cameras that contradict a point."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agps_agent.ask import ask
from agps_agent.graph import Graph, build_graph
from agps_agent.models.offline.chat import read_question
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.profiles import load_profile
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from tests.agps_agent.scenes import LEFT, RIGHT, project, scene
from tests.agps_agent.scripted import GUIDE, HIDDEN, context, seen

TRUE = dict(zip(("port_left", "port_right"), project(scene().frames["side"], np.stack([LEFT, RIGHT])), strict=True))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return build_graph("usb_insertion")


def errors_px(keypoints: list[Any]) -> list[float]:
    return [float(np.linalg.norm(np.subtract(k["uv"], TRUE[k["label"]]))) for k in keypoints]


async def test_model_is_shown_a_part_and_its_points_are_of_the_whole(graph: Graph) -> None:
    settings = AgentSettings(max_views=1, second_look=True)
    asking = AgentContext(scene=scene(), model=EmbeddedVLM(), profile=load_profile("embedded"), settings=settings)
    answer = await ask(graph, asking, mode="guide")
    first, second, _ = (read_question(exchange.messages).image for exchange in answer.transcript)
    assert first is not None and second is not None
    assert second.shape == first.shape and not np.array_equal(first, second)
    assert answer.reason_key == "answered" and answer.cost.model_calls == 3
    assert max(errors_px(answer.state["keypoints"])) < 0.5


async def test_second_look_makes_coarse_points_fine(graph: Graph) -> None:
    """A model that writes whole pixels is at most half a pixel off in the part: an eighth of one in the whole."""

    def coarse(pixels: dict[str, Any]) -> dict[str, Any]:
        entries = [{"label": k, "point_2d": [round(float(x)) for x in uv], "visible": True} for k, uv in pixels.items()]
        return {"keypoints": entries}

    from tools.crop import crop_around

    crop = crop_around([tuple(map(round, uv)) for uv in TRUE.values()], width=640, height=480, margin_px=0.08 * 640)
    closer = {label: crop.to_part((float(uv[0]), float(uv[1]))) for label, uv in TRUE.items()}
    answer = await ask(graph, context(coarse(TRUE), coarse(closer), GUIDE, second_look=True), mode="guide")
    assert answer.reason_key == "answered", answer.reason
    assert max(errors_px(answer.state["keypoints"])) < 0.75 / crop.zoom


@pytest.mark.parametrize("second", ["I see nothing.", HIDDEN])
async def test_first_look_counts_when_the_second_is_of_no_use(graph: Graph, second: Any) -> None:
    answer = await ask(graph, context(seen(), second, GUIDE, second_look=True, max_repairs=0), mode="guide")
    assert answer.reason_key == "answered", answer.reason
    assert max(errors_px(answer.state["keypoints"])) < 0.1


async def test_point_that_another_camera_sees_through_is_refused(graph: Graph) -> None:
    at = scene(views=(0.0, np.pi))
    side = at.frames["side"]
    floating = replace(side, depth_m=(side.depth_m - 0.012 * (side.depth_m > 0)).astype(np.float32))
    at = replace(at, frames={**at.frames, "side": floating})
    answer = await ask(graph, context(seen(), at=at), mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, "cameras_disagree")
    assert "past port_left" in answer.reason
