import base64
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from agps_agent.conversation import compose
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.offline.grounding import GROUNDINGS, Grounding
from agps_agent.models.parsing import ReplyError, parse_answer
from agps_agent.models.profiles import load_profile
from agps_agent.models.replies import answered
from agps_agent.pictures import encode
from prompts.loader import load_prompt, load_task_prompt
from tests.agps_agent.scenes import LEFT, camera, draw, project
from tools.answers import PerceiveAnswer

FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "PerceiveAnswer", "schema": PerceiveAnswer.model_json_schema()},
}


def question() -> tuple[str, str]:
    task = load_task_prompt("usb_insertion")
    return load_prompt("perceive").render(
        task_description=task.description,
        point_format=load_profile("embedded").instructions(width=640, height=480),
        image_size="640 pixels wide, 480 high",
        requested_keypoints=task.requested_keypoints,
    )


def test_perceives_what_the_prompt_requests() -> None:
    frame = draw(camera())
    reply = EmbeddedVLM().invoke(compose(*question(), encode(frame.rgb)), response_format=FORMAT)
    answer = parse_answer(reply.text, PerceiveAnswer)
    assert [keypoint.label for keypoint in answer.keypoints] == ["port_left", "port_right"]
    assert answer.keypoints[0].point_2d is not None
    pixel = load_profile("embedded").to_pixel(answer.keypoints[0].point_2d, width=640, height=480)
    np.testing.assert_allclose(pixel, project(frame, LEFT[np.newaxis])[0], atol=0.5)


def test_unknown_thing_is_not_visible() -> None:
    system, user = question()
    messages = compose(system, user.replace("port_", "teapot_"), encode(draw(camera()).rgb))
    answer = parse_answer(EmbeddedVLM().invoke(messages, response_format=FORMAT).text, PerceiveAnswer)
    assert [keypoint.visible for keypoint in answer.keypoints] == [False, False]


def test_thing_that_it_cannot_find_is_refused_in_its_own_words() -> None:
    system, user = question()
    messages = compose(system, user.replace("port_", "teapot_"), encode(draw(camera()).rgb))
    reply = EmbeddedVLM().invoke(messages, response_format=FORMAT)
    with pytest.raises(ReplyError) as refusal:
        answered(reply)
    assert refusal.value.reason == "refused"
    assert "I know no keypoint `teapot_left`, `teapot_right`, only those whose names begin with " in str(refusal.value)
    assert "corner, hook, knot" in str(refusal.value) and "use --vlm URL" in str(refusal.value)


def test_finder_of_a_package_is_used_by_the_longest_name_that_fits() -> None:
    """Two finders for things whose names begin alike: the whole port, and its screw."""
    seen: list[str] = []

    def find_screw(rgb: np.ndarray) -> Grounding:
        seen.append("screw")
        return Grounding(points={"port_screw_left": (10.0, 20.0)}, confidence=0.5)

    GROUNDINGS.register("port_screw", find_screw)
    try:
        system, user = question()
        requested = user.replace("port_left", "port_screw_left").replace("port_right", "port_screw_right")
        messages = compose(system, requested, encode(draw(camera()).rgb))
        answer = parse_answer(EmbeddedVLM().invoke(messages, response_format=FORMAT).text, PerceiveAnswer)
    finally:
        GROUNDINGS.unregister("port_screw")
    assert seen == ["screw"]  # once for both
    assert [(keypoint.label, keypoint.visible) for keypoint in answer.keypoints] == [
        ("port_screw_left", True),
        ("port_screw_right", False),
    ]


def test_question_without_an_image_finds_nothing() -> None:
    system, user = question()
    reply = EmbeddedVLM().invoke([SystemMessage(system), HumanMessage(user)], response_format=FORMAT)
    assert not any(keypoint.visible for keypoint in parse_answer(reply.text, PerceiveAnswer).keypoints)


def test_tokens_are_estimated() -> None:
    reply = EmbeddedVLM().invoke(compose(*question(), encode(draw(camera()).rgb)), response_format=FORMAT)
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["input_tokens"] > 300  # the image alone


def test_free_questions_are_declined() -> None:
    assert "error" in json.loads(EmbeddedVLM().invoke("How are you?").text)


OTHER_PROCESS = """
import json, sys
import cv2
sys.modules["mujoco"] = None  # whoever needs the simulator fails
from agps_agent.conversation import compose
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.pictures import encode
image = cv2.cvtColor(cv2.imread(sys.argv[1]), cv2.COLOR_BGR2RGB)
asked = json.loads(open(sys.argv[2]).read())
messages = compose(asked["system"], asked["user"], encode(image))
print(EmbeddedVLM().invoke(messages, response_format=asked["format"]).text)
"""


def test_picture_from_disk_in_another_process_gives_the_same_answer(tmp_path: Path) -> None:
    """It has nothing but pixels to go by."""
    rgb = draw(camera(0.2)).rgb
    system, user = question()
    here = EmbeddedVLM().invoke(compose(system, user, encode(rgb)), response_format=FORMAT).text
    cv2.imwrite(str(tmp_path / "side.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    (tmp_path / "question.json").write_text(json.dumps({"system": system, "user": user, "format": FORMAT}))
    there = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "side.png"), str(tmp_path / "question.json")],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
        cwd=Path(__file__).parents[4],
    ).stdout.strip()
    assert there == here
    assert json.loads(here)["keypoints"][0]["visible"]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_openai_style_images_are_read_too(suffix: str) -> None:
    ok, data = cv2.imencode(suffix, cv2.cvtColor(draw(camera()).rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    url = f"data:image/{suffix[1:].replace('jpg', 'jpeg')};base64,{base64.b64encode(data.tobytes()).decode()}"
    system, user = question()
    content = [{"type": "text", "text": user}, {"type": "image_url", "image_url": {"url": url}}]
    reply = EmbeddedVLM().invoke([SystemMessage(system), HumanMessage(content=content)], response_format=FORMAT)
    assert parse_answer(reply.text, PerceiveAnswer).keypoints[0].visible
