"""The embedded model errs as it is told to: every number is measured over many replies of a fixed seed."""

import asyncio
import json

import numpy as np
import pytest

from agps_agent.ask import ask
from agps_agent.conversation import compose
from agps_agent.graph import build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.offline.flaws import Flaws
from agps_agent.models.profiles import load_profile
from agps_agent.pictures import encode
from agps_agent.state import AgentContext
from rl.types import ByteArray, FloatArray
from tests.agps_agent.models.offline.test_embedded import FORMAT, question
from tests.agps_agent.scenes import camera, draw, scene

WIDTH, HEIGHT = 640, 480
MIDDLE = np.array([[300.0, 240.0], [340.0, 240.0]])
DRAWS = 4_000


def pointed(flaws: Flaws, rgb: ByteArray) -> dict[str, FloatArray]:
    """The pixels that the model points at when it is shown an image."""
    model = EmbeddedVLM(config=flaws)
    answer = json.loads(model.invoke(compose(*question(), encode(rgb)), response_format=FORMAT).text)
    profile = load_profile("embedded")
    return {
        keypoint["label"]: np.array(profile.to_pixel(keypoint["point_2d"], width=WIDTH, height=HEIGHT))
        for keypoint in answer["keypoints"]
        if keypoint["visible"]
    }


def shifts(flaws: Flaws, points: FloatArray = MIDDLE) -> FloatArray:
    """By how much the points of many replies are moved. Shape (DRAWS, 2), [px]."""
    rng = np.random.default_rng(0)
    return np.array([flaws.shift(points, width=WIDTH, height=HEIGHT, rng=rng) for _ in range(DRAWS)])


@pytest.mark.parametrize("flaws", [Flaws(point_error_px=5.0), Flaws(miss_share=1.0)])
def test_points_of_one_reply_have_the_same_error(flaws: Flaws) -> None:
    rgb = draw(camera()).rgb
    exact, wrong = pointed(Flaws(), rgb), pointed(flaws, rgb)
    left, right = (wrong[label] - exact[label] for label in ("port_left", "port_right"))
    np.testing.assert_allclose(left, right, atol=0.002)  # the family writes three decimals of 0.64 px
    assert np.linalg.norm(left) > 0.1


def test_error_has_the_standard_deviation_that_is_asked_for_along_each_axis() -> None:
    moved = shifts(Flaws(point_error_px=3.0))
    np.testing.assert_allclose(moved.std(axis=0), 3.0, rtol=0.05)  # its own standard error is 1.1 %
    np.testing.assert_allclose(moved.mean(axis=0), 0.0, atol=0.2)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.06


def test_share_of_the_replies_is_grossly_wrong_and_stays_in_the_image() -> None:
    moved = shifts(Flaws(point_error_px=3.0, miss_share=0.2))
    missed = moved[np.linalg.norm(moved, axis=1) >= 120.0]  # a quarter of 480; 40 standard deviations
    assert len(missed) / DRAWS == pytest.approx(0.2, abs=0.02)
    ends = missed[:, np.newaxis] + MIDDLE
    assert ends.min() >= 0.0 and (ends <= [WIDTH - 1, HEIGHT - 1]).all()


def test_place_of_a_gross_miss_is_anywhere_in_the_image() -> None:
    ends = shifts(Flaws(miss_share=1.0)) + MIDDLE.mean(axis=0)
    counts, _, _ = np.histogram2d(*ends.T, bins=(3, 2), range=((0, WIDTH), (0, HEIGHT)))
    assert (counts[[0, 2]] > DRAWS / 8).all()  # each of the four outer sixths has 0.19 of the places


def test_points_that_fill_the_image_go_half_as_far_as_there_is_room() -> None:
    corners = np.array([[30.0, 40.0], [609.0, 439.0]])  # 30 px and 40 px are left on each side: 50 px at most
    lengths = np.linalg.norm(shifts(Flaws(miss_share=1.0), corners), axis=1)
    assert lengths.min() >= 25.0 and lengths.max() <= 50.0


def test_points_at_the_edge_stay_in_the_image_together() -> None:
    ends = shifts(Flaws(point_error_px=8.0), np.array([[2.0, 240.0]])) + [2.0, 240.0]
    assert ends[:, 0].min() == 0.0


def test_same_question_gets_the_same_error_and_another_seed_or_image_another() -> None:
    flaws, seeded = Flaws(point_error_px=5.0), Flaws(point_error_px=5.0, seed=1)
    first, second = draw(camera()).rgb, draw(camera(0.2)).rgb
    exact = {"port_left": (300.0, 200.0)}
    wrong = flaws.moved(exact, first, "Where is it?")
    assert flaws.moved(exact, first, "Where is it?") == wrong != exact
    others = [seeded.moved(exact, first, "Where is it?"), flaws.moved(exact, second, "Where is it?")]
    assert wrong not in [*others, flaws.moved(exact, first, "And now?")]
    assert pointed(flaws, first)["port_left"].tolist() == pointed(flaws, first)["port_left"].tolist()


def test_error_is_redrawn_with_every_image() -> None:
    """The draws that hang on the question are as wide as those of one generator."""
    images = [np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in range(200)]
    ends = np.array([Flaws(point_error_px=4.0).moved({"a": (320.0, 240.0)}, rgb, "?")["a"] for rgb in images])
    np.testing.assert_allclose(ends.std(axis=0), 4.0, rtol=0.2)  # its own standard error is 5 %


def test_thing_that_is_not_seen_is_not_pointed_at() -> None:
    assert pointed(Flaws(miss_share=1.0), draw(camera(), with_port=False).rgb) == {}


async def test_plan_is_made_without_error() -> None:
    erring = EmbeddedVLM(config=Flaws(point_error_px=2.0, miss_share=0.0))
    context = AgentContext(scene=scene(), model=erring, profile=load_profile("embedded"))
    answer = await ask(build_graph("usb_insertion"), context, mode="guide")
    last = answer.transcript[-1]
    assert last.node == "plan"
    assert erring.invoke(last.messages).text == EmbeddedVLM().invoke(last.messages).text == last.reply


async def test_question_that_is_given_up_does_not_wait_for_the_late_reply() -> None:
    held: list[float] = []
    model = EmbeddedVLM(config=Flaws(latency_s=3_600.0), pause=held.append)
    asked = asyncio.create_task(model.ainvoke("Where is it?"))
    done, _ = await asyncio.wait({asked}, timeout=0.5)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not done and held == []  # no thread waits on
