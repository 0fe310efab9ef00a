from dataclasses import replace

import numpy as np
import pytest

from agps_agent import perceiving
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.profiles import load_profile
from agps_agent.state import AgentContext, AgentFault
from prompts.loader import load_task_prompt
from tests.agps_agent.scenes import LEFT, PORT, project, scene
from tests.agps_agent.scripted import context, seen
from tools.perception import Point


def points(*given: tuple[str, float]) -> dict[str, Point]:
    """Keypoints at these distances along y from the port's middle."""
    return {
        label: Point(label=label, camera="side", uv=np.ones(2), xyz=PORT + [0.0, offset_y, 0.0], depth_spread_m=0.0)
        for label, offset_y in given
    }


@pytest.mark.parametrize(("offset", "reason"), [(0.5, "outside_workspace"), (0.08, "implausible_keypoints")])
def test_keypoints_that_cannot_be_are_refused(offset: float, reason: str) -> None:
    found = points(("port_left", -0.0088), ("port_right", offset))
    task = load_task_prompt("usb_insertion")
    with pytest.raises(AgentFault) as error:
        perceiving._check_distances(perceiving._reachable(found, task, context()), task)
    assert error.value.reason == reason


RIGHT_MAY_BE_HIDDEN = replace(load_task_prompt("usb_insertion"), optional=frozenset({"port_right"}))


async def test_labels_count_in_any_case_and_the_exact_one_first() -> None:
    answer = seen()
    answer["keypoints"][0]["label"], answer["keypoints"][1]["label"] = "Port Left", "PORT_RIGHT"
    asking = context(answer)
    assert list(await perceiving.find_keypoints(asking)) == ["port_left", "port_right"]
    assert len(asking.transcript) == 1
    decoy = {"label": "port left", "point_2d": [1.0, 1.0], "visible": True}
    exact = await perceiving.look(context({"keypoints": [*seen()["keypoints"], decoy]}), context().frame)
    assert exact["port_left"] == tuple(seen()["keypoints"][0]["point_2d"])


async def test_keypoint_that_may_be_hidden_is_left_out() -> None:
    answer = seen()
    answer["keypoints"][1] |= {"point_2d": None, "visible": False}
    assert list(await perceiving.find_keypoints(context(answer, words=RIGHT_MAY_BE_HIDDEN))) == ["port_left"]


@pytest.mark.parametrize("hidden", [["port_left"], ["port_left", "port_right"]])
async def test_keypoint_that_the_task_needs_is_not_left_out(hidden: list[str]) -> None:
    answer = seen()
    for entry in answer["keypoints"]:
        if entry["label"] in hidden:
            entry |= {"point_2d": None, "visible": False}
    with pytest.raises(AgentFault, match=f"does not see {', '.join(hidden)}"):
        await perceiving.find_keypoints(context(answer, words=RIGHT_MAY_BE_HIDDEN))


def test_keypoint_out_of_reach_is_left_out_only_if_the_task_can_do_without() -> None:
    found = points(("port_left", -0.0088), ("port_right", 0.5))
    assert list(perceiving._reachable(found, RIGHT_MAY_BE_HIDDEN, context())) == ["port_left"]
    with pytest.raises(AgentFault, match="port_right at .* outside of what the tool can reach"):
        perceiving._reachable(found, load_task_prompt("usb_insertion"), context())


def test_keypoint_inside_of_something_lies_behind_what_is_measured() -> None:
    at = context()
    uv = tuple(project(at.frame, LEFT[np.newaxis])[0])
    surface = perceiving.measure(at, at.frame, "port_left", uv).xyz
    inside = replace(load_task_prompt("usb_insertion"), behind_m={"port_left": 0.01})
    moved = perceiving.measure(context(words=inside), at.frame, "port_left", uv).xyz - surface
    assert moved @ at.frame.T_base_cam[:3, 2] == pytest.approx(0.01)


def test_second_view_is_the_one_from_the_other_side() -> None:
    asking = context(at=scene(views=(0.0, 0.3, np.pi)))
    asking = AgentContext(scene=asking.scene, model=asking.model, profile=asking.profile)
    assert [frame.name for frame in perceiving.views(asking)] == ["side", "view_2"]


async def test_keypoint_beside_something_nearer_is_looked_at_from_elsewhere() -> None:
    """There the depth may be that of the plug, not of the rim."""
    at = scene(views=(0.0, np.pi))
    u, v = project(at.frames["side"], LEFT[np.newaxis])[0].round().astype(int)
    at.frames["side"].depth_m[v - 1 : v + 2, u - 1] -= 0.02
    asking = AgentContext(scene=at, model=EmbeddedVLM(), profile=load_profile("embedded"))
    found = await perceiving.find_keypoints(asking)
    assert [point.camera for point in found.values()] == ["view_1", "view_1"]
