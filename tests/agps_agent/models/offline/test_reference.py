import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agps_agent.ask import ask
from agps_agent.graph import build_graph
from agps_agent.keypoints.store import MarkedImage, MarkedKeypoints, save_keypoints
from agps_agent.models.library import open_model
from agps_agent.models.offline.matching import Match
from agps_agent.models.offline.reference import Alike, ReferenceConfig, ReferenceVLM, choose, limits
from agps_agent.perceiving import look
from agps_agent.state import AgentContext, AgentFault
from prompts.loader import KeypointDistance, load_task_prompt
from rl.errors import ConfigError
from tests.agps_agent.keypoints.test_store import marked
from tests.agps_agent.scenes import LEFT, RIGHT, project, scene
from tools.scene import Scene

WORDS = load_task_prompt("usb_insertion")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The port, marked in two images."""
    images = (*marked(0.0).images, *marked(0.3).images)
    save_keypoints(MarkedKeypoints(task="usb_insertion", images=images), tmp_path / "marks")
    return tmp_path / "marks"


def context(folder: Path, at: Scene) -> AgentContext:
    model, profile = open_model(f"reference,folder={folder}", tasks=(WORDS,), profile=None)
    return AgentContext(scene=at, model=model, profile=profile, task_prompt=WORDS)


def test_marked_keypoints_are_found_in_a_new_image(folder: Path) -> None:
    asking = context(folder, scene(views=(0.15,)))
    seen = asyncio.run(look(asking, asking.frame))
    true = project(asking.frame, np.array([LEFT, RIGHT]))
    np.testing.assert_allclose([seen["port_left"], seen["port_right"]], true, atol=3.0)


def test_keypoints_that_are_not_there_are_not_seen(folder: Path) -> None:
    asking = context(folder, scene(with_port=False))
    assert asyncio.run(look(asking, asking.frame)) == {}


def test_it_says_how_sure_it_is(folder: Path) -> None:
    asking = context(folder, scene(views=(0.15,)))
    asyncio.run(look(asking, asking.frame))
    assert '"confidence": 0.' in asking.transcript[-1].reply


def test_graph_plans_with_it_as_with_any_other_model(folder: Path) -> None:
    answer = asyncio.run(ask(build_graph("usb_insertion"), context(folder, scene()), mode="guide"))
    assert answer.reason_key == "answered"
    assert [call["name"] for call in answer.state["plan"]["calls"]] == ["translate", "search"]


def test_image_without_depth_shows_it_nothing(folder: Path) -> None:
    asking = context(folder, scene())
    blind = replace(asking.frame, depth_m=np.zeros_like(asking.frame.depth_m))
    assert asyncio.run(look(asking, blind)) == {}


def test_task_without_marks_is_refused_when_the_model_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no marked keypoints in .*; `agps keypoints mark TASK` makes some"):
        ReferenceVLM(tasks=(WORDS,), config=ReferenceConfig(folder=str(tmp_path)))


def test_keypoint_that_nobody_marked_is_named_with_what_to_do(tmp_path: Path) -> None:
    (image,) = marked().images
    only = MarkedImage(frame=image.frame, marks={"port_left": image.marks["port_left"]})
    save_keypoints(MarkedKeypoints(task="usb_insertion", images=(only,)), tmp_path)
    with pytest.raises(ConfigError, match="I know no keypoint `port_right`; mark it with `agps keypoints mark usb_"):
        ReferenceVLM(tasks=(WORDS,), config=ReferenceConfig(folder=str(tmp_path)))


def test_marks_of_another_task_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="are of usb_insertion, not of towel_folding"):
        ReferenceVLM(tasks=(load_task_prompt("towel_folding"),), config=ReferenceConfig(folder=str(folder)))


def test_model_that_is_asked_about_a_task_without_marks_declines(tmp_path: Path) -> None:
    """Made for no task in particular, as behind a server."""
    model = ReferenceVLM(config=ReferenceConfig(folder=str(tmp_path)))
    asking = replace(context_of(model), model=model)
    with pytest.raises(AgentFault, match="no marked keypoints") as fault:
        asyncio.run(look(asking, asking.frame))
    assert fault.value.reason == "refused"


def context_of(model: ReferenceVLM) -> AgentContext:
    from agps_agent.models.profiles import load_profile

    return AgentContext(scene=scene(), model=model, profile=load_profile("reference"), task_prompt=WORDS)


@pytest.mark.parametrize(
    ("setting", "said"), [("turn-deg=200", "less than or equal to 180|at most 180"), ("sure=1", "no setting sure")]
)
def test_wrong_setting_is_refused(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_model(f"reference,{setting}", tasks=(), profile=None)


def place(x: float, score: float) -> Match:
    return Match(uv=(0.0, 0.0), p_base=np.array([x, 0.0, 0.0]), score=score)


PAIR = KeypointDistance(between=("a", "b"), min_m=0.05, max_m=0.06)


def test_places_that_cannot_be_together_are_not_taken_together() -> None:
    """0.9 + 0.8 lie on each other; 0.9 + 0.6 are as far apart as they must be."""
    chosen = choose({"a": [place(0.0, 0.9)], "b": [place(0.0, 0.8), place(0.055, 0.6)]}, [PAIR])
    assert {label: match.score for label, match in chosen.items()} == {"a": 0.9, "b": 0.6}


def test_of_two_that_cannot_be_together_the_likelier_one_stays() -> None:
    assert list(choose({"a": [place(0.0, 0.7)], "b": [place(0.0, 0.8)]}, [PAIR])) == ["b"]


def test_a_quarter_of_the_way_from_what_looks_like_a_keypoint_to_itself_is_its_limit() -> None:
    """0.4 + 0.22 x (1.0 - 0.4), but at least 0.08 above, and never below 0.5 or above 0.9."""
    alike = {
        label: Alike(itself=1.0, elsewhere=elsewhere)
        for label, elsewhere in zip("abcd", (0.4, 0.7, 0.1, 0.85), strict=True)
    }
    assert limits(alike) == pytest.approx({"a": 0.532, "b": 0.78, "c": 0.5, "d": 0.9})


def test_keypoint_that_nothing_looked_like_must_be_as_much_alike_as_the_strictest_other() -> None:
    alike = {"a": Alike(itself=1.0, elsewhere=0.774), "b": Alike(itself=1.0, elsewhere=None)}
    assert limits(alike) == pytest.approx({"a": 0.854, "b": 0.854})


def test_keypoints_that_nothing_looked_like_have_the_least_limit() -> None:
    assert limits({"a": Alike(itself=1.0, elsewhere=None)}) == {"a": 0.5}
